"""`balance-gen doctor`: find where the chain from metrics to notifications breaks."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, Parser, add_format
from balance.commands.options import add_grafana_token
from balance.finding import report
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

if TYPE_CHECKING:
    from balance.live.doctor import Diagnosis


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("--balance", metavar="URL", action="append", help="metrics of the service; default: prometheus.targets")
    parser.add_argument("--prometheus", metavar="URL", help="default: provisioning.url of the settings")
    parser.add_argument("--alertmanager", metavar="URL", help="default: the first of prometheus.alertmanagers")
    parser.add_argument("--grafana", metavar="URL", help="default: grafana_url; each of the four can be off")
    add_format(parser)
    add_grafana_token(parser)


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print the state of each link and every finding with its cure; exit code 1 if there are any."""
    from balance.generate.expected import addresses, expected, grafana_token
    from balance.live.doctor import examine

    diagnosis = examine(expected(bundle, settings), addresses(options, settings), grafana_token(options.grafana_token_file))
    if options.format == "json":
        sys.stdout.write(report(diagnosis.findings, diagnosis.summary()))
    else:
        sys.stdout.write(text(diagnosis))
    return EXIT_FINDINGS if diagnosis.findings else EXIT_OK


def text(diagnosis: Diagnosis) -> str:
    """The diagnosis as lines: each link of the chain, and its findings below it."""
    lines = []
    for link in diagnosis.links:
        state = link.state.upper() if link.findings else link.state
        lines.append(f"{link.name:13} {state:14} {'' if link.findings else link.words}".rstrip())
        for finding in link.findings:
            lines += [
                f"    {finding.severity}: {finding.subject} {finding.what} [{finding.check}]",
                f"        at {finding.where}",
                f"        cure: {finding.cure}",
            ]
    return "".join(f"{line}\n" for line in lines)


COMMAND = Command(
    "doctor",
    "find out why there is no data or why no alert fires; exit 1 if there are findings",
    run,
    arguments,
    "balance-gen doctor\nbalance-gen doctor --prometheus http://127.0.0.1:9090 --grafana off",
)
