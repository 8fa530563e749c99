"""`balance-gen adopt`: a catalog, a dashboard and alerts written from an existing `/metrics`."""

from __future__ import annotations

import sys
from argparse import Namespace

from balance.commandline import EXIT_OK, Command, Parser
from balance.commands.options import add_scrape
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    add_scrape(parser)
    parser.add_argument("--name", default="", help="name of the service; default: the most common metric prefix")


def run(options: Namespace, _bundle: Bundle, _settings: Settings) -> int:
    """Print a Python module that declares the metrics of a scrape."""
    from balance.live import scrape
    from balance.live.adopt import adopt
    from balance.live.starter import module

    adopted = adopt(scrape.read(options.source_of_metrics), options.name)
    sys.stdout.write(module(adopted))
    for family, reason in adopted.ignored.items():
        print(f"skipped: {family} {reason}", file=sys.stderr)
    print(f"{len(adopted.metrics)} families adopted, {len(adopted.ignored)} skipped", file=sys.stderr)
    return EXIT_OK


COMMAND = Command(
    "adopt",
    "print a Python module with a catalog, a dashboard and alerts for an existing /metrics",
    run,
    arguments,
    "balance-gen adopt http://127.0.0.1:8000/metrics --name shop > shop.py",
    foreign=("source_of_metrics",),
)
