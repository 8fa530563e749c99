"""`balance-gen preview`: draw dashboards as HTML pages without Grafana, into a directory or served over HTTP."""

from __future__ import annotations

import argparse
from pathlib import Path

from balance.commandline import EXIT_OK, Command, Parser
from balance.commands.options import seconds
from balance.errors import BalanceError
from balance.generate import store
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

SINCE = "6h"
PORT = "8300"


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("--out", metavar="DIR", type=Path, help="write the pages into this directory")
    parser.add_argument(
        "--serve", metavar="[HOST:]PORT", nargs="?", const=PORT, help=f"serve the pages, and update them when the sources change; default: {PORT}"
    )
    parser.add_argument("--prometheus", metavar="URL", help="query this Prometheus; default: synthetic samples")
    parser.add_argument("--since", metavar="DURATION", help=f"how far to look back in Prometheus; default: {SINCE}")
    parser.add_argument("--refresh", metavar="SECONDS", type=int, default=0, help=argparse.SUPPRESS)


def run(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    """Write a page for each dashboard, or serve them."""
    if (options.out is None) == (options.serve is None):
        raise BalanceError("needs either --out or --serve", where="preview", cure="give --out DIR or --serve")
    if options.since and not options.prometheus:
        raise BalanceError("needs --prometheus", where="--since", cure="give --prometheus URL as well")
    if options.serve is not None:
        from balance.generate.preview_server import serve

        serve(options)
        return EXIT_OK
    from balance.generate.pages import pages, recorded_pages, synthetic_pages

    if options.prometheus:
        stage = recorded_pages(bundle, settings, options.prometheus, seconds("--since", options.since or SINCE))
    else:
        stage = synthetic_pages(bundle, settings)
    store.write(options.out, pages(stage, options.refresh))
    return EXIT_OK


COMMAND = Command(
    "preview",
    "draw every dashboard as an HTML page, without Grafana",
    run,
    arguments,
    "balance-gen preview --out pages\nbalance-gen preview --serve\nbalance-gen preview --out pages --prometheus http://127.0.0.1:9090",
)
