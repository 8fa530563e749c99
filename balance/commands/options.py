"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

from balance.commandline import Parser
from balance.config.kinds import Duration, KindError
from balance.errors import BalanceError

MAX_SECONDS = 1000 * 7 * 24 * 3600


def add_out(parser: Parser) -> None:
    """Declare the directory of the generated files."""
    parser.add_argument("--out", metavar="DIR", type=Path, default="generated", help="directory of the generated files; default: generated")


def add_scrape(parser: Parser) -> None:
    """Declare the argument that says where to read a scrape."""
    parser.add_argument("source_of_metrics", metavar="URL|FILE", help="a /metrics URL, a file with its text, or - for standard input")


def add_grafana_token(parser: Parser) -> None:
    """Declare the file with Grafana's token."""
    parser.add_argument("--grafana-token-file", metavar="FILE", help="file with the token of a service account; default: the variable GRAFANA_TOKEN")


def seconds(option: str, text: str) -> int:
    """The whole seconds of an option's duration, such as 6h. Raises `BalanceError` if it is invalid or zero."""
    try:
        return int(Duration(0, MAX_SECONDS, whole=True).parse(text))
    except KindError as error:
        raise BalanceError(error.what, where=option, cure=error.cure) from None
