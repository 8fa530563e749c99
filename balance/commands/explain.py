"""`balance-gen explain`: what a check of `lint` is about."""

from __future__ import annotations

from argparse import Namespace

from balance.commandline import EXIT_OK, Command, Parser
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("check", nargs="?", metavar="CHECK", help="the name in brackets behind a finding")


def run(options: Namespace, _bundle: Bundle, _settings: Settings) -> int:
    """Print what a check is about, or list all checks."""
    from balance.lint.run import CHECKS, find_check

    if options.check:
        check = find_check(options.check)
        print(f"{check.id} ({check.severity})\n\n{check.explanation}")
    else:
        for check in CHECKS.values():
            print(f"{check.id}\t{check.severity}\t{check.title}")
    return EXIT_OK


COMMAND = Command(
    "explain",
    "say what a check of lint is about; without a name, list them",
    run,
    arguments,
    "balance-gen explain\nbalance-gen explain window-sparse",
)
