"""The commands that print or write one family of generated files: `balance-gen alerts`, `rules`, `mixin` and so on."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from balance.commandline import EXIT_OK, Command, Parser
from balance.errors import BalanceError
from balance.generate import build, store
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import RULERS, Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("--out", metavar="DIR", type=Path, help="write into this directory instead of printing")


def ruler_arguments(parser: Parser) -> None:
    """Declare the options of the commands that print rules."""
    parser.add_argument("--ruler", choices=RULERS, help="program that evaluates the rules; default: prometheus")
    arguments(parser)


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print the one file of the family, or write all of them into a directory."""
    artifacts = build.FAMILIES[options.command](bundle, settings)
    if options.out is not None:
        store.write(options.out, artifacts)
        return EXIT_OK
    if not artifacts:
        raise BalanceError(f"the sources declare nothing for {options.command}", cure="declare it in the Bundle, or name another --source")
    if len(artifacts) > 1:
        raise BalanceError(f"{options.command} makes {len(artifacts)} files", cure="give a directory: --out DIR")
    sys.stdout.write(artifacts[0].text)
    return EXIT_OK


COMMANDS = (
    Command(
        "alerts", "print the alerts as a Prometheus rule file", run, ruler_arguments,
        "balance-gen alerts > prometheus-alerts.yaml\nbalance-gen alerts --set thresholds.error_ratio=0.02 --set job=edge",
    ),
    Command(
        "rules", "print recording rules and alerts as a Prometheus rule file", run, ruler_arguments,
        "balance-gen rules --settings settings.yaml > rules.yaml\nbalance-gen rules --ruler mimir > rules.yaml",
    ),
    Command(
        "ruletests", "write promtool unit tests for every alert (needs --out)", run, arguments,
        "balance-gen ruletests --out .",
    ),
    Command(
        "prometheus", "print the configuration of Prometheus", run, arguments,
        "balance-gen prometheus --set 'prometheus.targets=[10.0.0.5:9090]' > prometheus.yml",
    ),
    Command(
        "alertmanager", "write the configuration and templates of Alertmanager (needs --out)", run, arguments,
        "balance-gen alertmanager --out .",
    ),
    Command(
        "mixin", "write the jsonnet mixin (needs --out)", run, arguments,
        "balance-gen mixin --out vendor/balance",
    ),
    Command(
        "kubernetes", "write PrometheusRule, ServiceMonitor, dashboard ConfigMaps and the workload (needs --out)", run, arguments,
        "balance-gen kubernetes --out . --set kubernetes.namespace=edge",
    ),
    Command(
        "provisioning", "write Grafana provisioning for the dashboards and the data source (needs --out)", run, arguments,
        "balance-gen provisioning --out . --set provisioning.url=http://prometheus:9090",
    ),
    Command(
        "runbooks", "write a runbook for each alert and the metrics reference (needs --out)", run, arguments,
        "balance-gen runbooks --out .",
    ),
    Command(
        "catalog", "print the catalog as JSON", run, arguments,
        "balance-gen catalog",
    ),
    Command(
        "settings", "print every setting with its meaning and current value, as Markdown", run, arguments,
        "balance-gen settings --settings settings.yaml > settings.md",
    ),
)  # fmt: skip
