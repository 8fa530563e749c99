"""`balance-gen preview`: dashboards as HTML pages without a Grafana, in a directory or served."""

from __future__ import annotations

import argparse
from pathlib import Path

from balance.commandline import EXIT_OK, Command, Parser
from balance.config.units import parse_duration
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
        "--serve", metavar="[HOST:]PORT", nargs="?", const=PORT, help=f"serve them on this machine, and follow the sources; default: {PORT}"
    )
    parser.add_argument("--prometheus", metavar="URL", help="where the figures are from; default: synthetic samples")
    parser.add_argument("--since", metavar="DURATION", help=f"how far to look back there; default: {SINCE}")
    parser.add_argument("--refresh", metavar="SECONDS", type=int, default=0, help=argparse.SUPPRESS)


def run(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    """Write a page for each dashboard, or serve them."""
    if (options.out is None) == (options.serve is None):
        raise BalanceError("needs a directory for its pages, or an address to serve them", where="preview", cure="give --out DIR or --serve")
    if options.since and not options.prometheus:
        raise BalanceError("looks back in a Prometheus", where="--since", cure="give --prometheus URL as well")
    if options.serve is not None:
        from balance.generate.preview_server import serve

        serve(options)
        return EXIT_OK
    from balance.generate.pages import made_up, measured, pages

    if options.prometheus:
        seconds = int(parse_duration(options.since or SINCE) or 0)
        if not seconds:
            raise BalanceError(f"invalid duration {options.since!r}", where="--since", cure="write a number with its unit: 30m, 6h, 7d")
        stage = measured(bundle, settings, options.prometheus, seconds)
    else:
        stage = made_up(bundle, settings)
    store.apply(options.out, (store.Change(artifact.path, None, artifact.text) for artifact in pages(stage, options.refresh)))
    return EXIT_OK


COMMAND = Command(
    "preview",
    "draw every dashboard as an HTML page, without a Grafana",
    run,
    arguments,
    "balance-gen preview --out pages\nbalance-gen preview --serve\nbalance-gen preview --out pages --prometheus http://127.0.0.1:9090",
)
