"""`balance-gen explain`: explain a check of `lint`."""

from __future__ import annotations

from argparse import Namespace

from balance.commandline import EXIT_OK, Command, Parser
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("check", nargs="?", metavar="CHECK", help="id of a check, in brackets after a finding; default: list all checks")


def run(options: Namespace, _bundle: Bundle, _settings: Settings) -> int:
    """Print the explanation of a check, or list all checks."""
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
    "explain a check of lint, or list all checks",
    run,
    arguments,
    "balance-gen explain\nbalance-gen explain window-sparse",
)
