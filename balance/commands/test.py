"""`balance-gen test`: promtool and amtool over what is generated."""

from __future__ import annotations

import sys
from argparse import Namespace

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, add_format, show
from balance.finding import report
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print a line for each alert, findings, and how many alerts are tested."""
    from balance.generate.promtool import prove

    proof = prove(bundle, settings)
    findings = proof.all_findings
    total = len(proof.verdicts)
    if options.format == "json":
        cases = sum(verdict.cases for verdict in proof.verdicts)
        sys.stdout.write(report(findings, {"alerts": total, "tested": proof.tested, "cases": cases}))
    else:
        for verdict in proof.verdicts:
            print(f"{'FAILED' if verdict.findings else 'ok'}\t{verdict.alert}\t{verdict.cases} cases")
        show(findings)
        print(f"alerts tested: {proof.tested} / {total}")
    return EXIT_FINDINGS if findings or proof.tested < total else EXIT_OK


COMMAND = Command(
    "test",
    "have promtool and amtool judge rules, generated tests of every alert, configurations and routes",
    run,
    add_format,
    "balance-gen test\nbalance-gen test --settings settings.yaml --format json",
)
