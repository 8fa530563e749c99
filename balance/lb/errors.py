"""Errors of the load balancer that a person can cause; the command line prints their problems and exits with 2."""

from __future__ import annotations

from balance.errors import BalanceError


class ConfigError(BalanceError):
    """A configuration that cannot be read or contradicts itself; carries every problem found."""


class StartError(BalanceError):
    """A correct configuration that this machine cannot serve: an address in use, a privileged port, no such user."""
