"""`balance-gen lint` and `balance-gen explain`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from datetime import date

from balance.commandline import FINDINGS, FINE, show
from balance.finding import annotation, report
from balance.generate import build
from balance.lint.check import Inputs
from balance.lint.run import CHECKS, named, run
from balance.monitoring.bundle import Bundle
from balance.monitoring.runbooks import read
from balance.monitoring.settings import Settings


def lint(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print the findings; exit code 1 if there are any."""
    today = date.today() if options.reviews else None
    boards = {name: json.loads(text) for name, text in build.boards(bundle, settings).items()}
    findings, waived = run(Inputs(bundle, settings, read(bundle.runbooks), today, boards), daily=options.reviews)
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
    return FINDINGS if findings else FINE


def explain(options: Namespace, _bundle: Bundle, _settings: Settings) -> int:
    """Print what a check is about, or list all checks."""
    if options.check:
        check = named(options.check)
        print(f"{check.id} ({check.severity})\n\n{check.explanation}")
    else:
        for check in CHECKS.values():
            print(f"{check.id}\t{check.severity}\t{check.title}")
    return FINE
