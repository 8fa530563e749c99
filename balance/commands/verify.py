"""`balance-gen verify`: compare a scrape with the catalog."""

from __future__ import annotations

from argparse import Namespace

from balance.commandline import Command, Parser, add_format, print_findings
from balance.commands.options import add_scrape
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    add_scrape(parser)
    add_format(parser)


def run(options: Namespace, bundle: Bundle, _settings: Settings) -> int:
    """Print how a scrape differs from the catalog; exit code 1 if it does."""
    from balance.live import scrape
    from balance.live.verify import verify

    result = verify(scrape.read(options.source_of_metrics), bundle.catalog)
    return print_findings(options.format, result.findings, result.summary())


COMMAND = Command(
    "verify",
    "compare a scrape with the catalog; exit 1 if they differ",
    run,
    arguments,
    "balance-gen verify http://127.0.0.1:9090/metrics\nbalance-gen verify metrics.txt --format json",
)
