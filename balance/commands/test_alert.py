"""`balance-gen test-alert`: send a synthetic alert through a running Alertmanager."""

from __future__ import annotations

import argparse
from functools import partial

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, Parser
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

MAX_SECONDS = 86400


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="name of an alert, e.g. BalanceDown")
    parser.add_argument("--alertmanager", metavar="URL", required=True, help="e.g. http://127.0.0.1:9093")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="how long to wait for the notification; default: group_wait plus 30")


def run(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    """Send the alert, wait for its notifications and resolve it; exit code 1 if a receiver did not get one."""
    from balance.generate.synthetic_alert import send

    arrived = send(options.name, options.alertmanager, options.timeout, bundle, settings, partial(print, flush=True))
    return EXIT_OK if arrived else EXIT_FINDINGS


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"invalid number of seconds {text!r} (0 to {MAX_SECONDS})")
    return seconds


COMMAND = Command(
    "test-alert",
    "send a synthetic alert through Alertmanager, wait for its notifications, resolve it",
    run,
    arguments,
    "balance-gen test-alert BalanceDown --alertmanager http://127.0.0.1:9093",
)
