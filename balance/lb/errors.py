"""Errors that users can cause; the command line prints their problems and exits with 2."""

from __future__ import annotations

from balance.errors import BalanceError


class ConfigError(BalanceError):
    """A configuration that is unreadable or invalid; carries all problems."""


class StartError(BalanceError):
    """A valid configuration that cannot be served here: an address in use, a privileged port, an unreadable file."""
