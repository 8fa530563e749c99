"""`balance-gen test`: run promtool and amtool on the generated files."""

from __future__ import annotations

import sys
from argparse import Namespace

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, add_format, show
from balance.finding import report
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print a line for each alert, the findings, and how many alerts are tested; exit code 1 if a test fails or is missing."""
    from balance.generate.promtool import check_bundle

    checked = check_bundle(bundle, settings)
    findings = checked.all_findings
    total = len(checked.results)
    if options.format == "json":
        cases = sum(result.cases for result in checked.results)
        sys.stdout.write(report(findings, {"alerts": total, "tested": checked.tested, "cases": cases}))
    else:
        for result in checked.results:
            print(f"{'FAILED' if result.findings else 'ok'}\t{result.alert}\t{result.cases} cases")
        show(findings)
        print(f"alerts tested: {checked.tested} / {total}")
    return EXIT_FINDINGS if findings or checked.tested < total else EXIT_OK


COMMAND = Command(
    "test",
    "run promtool and amtool on the rules, the tests of every alert, the configurations and the routes",
    run,
    add_format,
    "balance-gen test\nbalance-gen test --settings settings.yaml --format json",
)
