"""`balance-gen lint`: check the sources."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from datetime import date

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, Parser, add_format, show
from balance.finding import annotation, report
from balance.generate import build
from balance.monitoring.bundle import Bundle
from balance.monitoring.runbooks import read
from balance.monitoring.settings import Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("--reviews", action="store_true", help="only list runbooks whose last review is more than a quarter old")
    add_format(parser, "github")


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print the findings; exit code 1 if there are any."""
    from balance.lint.check import Inputs
    from balance.lint.run import CHECKS
    from balance.lint.run import run as run_checks

    today = date.today() if options.reviews else None
    boards = {name: json.loads(text) for name, text in build.boards(bundle, settings).items()}
    findings, waived = run_checks(Inputs(bundle, settings, read(bundle.runbooks), today, boards), daily=options.reviews)
    summary = {
        "checks": sum(check.daily == options.reviews for check in CHECKS.values()),
        "errors": sum(finding.severity == "error" for finding in findings),
        "warnings": sum(finding.severity == "warning" for finding in findings),
        "waived": waived,
    }
    if options.format == "json":
        sys.stdout.write(report(findings, summary))
    else:
        if options.format == "github":
            sys.stdout.writelines(f"{annotation(finding)}\n" for finding in findings)
        else:
            show(findings)
        print(", ".join(f"{count} {name}" for name, count in summary.items()), file=sys.stderr)
    return EXIT_FINDINGS if findings else EXIT_OK


COMMAND = Command(
    "lint",
    "check the sources for mistakes; exit 1 if there are any",
    run,
    arguments,
    "balance-gen lint\nbalance-gen lint --format json",
)
