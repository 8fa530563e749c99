"""`balance-gen backtest`: what the alerts would have done over the history of a Prometheus, and thresholds that would have fitted it."""

from __future__ import annotations

import json
import math
import time
from argparse import Namespace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from balance.catalog.model import number
from balance.commandline import EXIT_OK, Command, Parser, add_format, progress
from balance.config.units import length
from balance.errors import BalanceError
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.text import duration

if TYPE_CHECKING:
    from balance.live.backtest import BacktestResult, Period

_NAMES = ("p50", "p90", "p99", "p99.9", "most")


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("alert", nargs="*", metavar="ALERT", help="which ones; default: all")
    parser.add_argument("--prometheus", metavar="URL", required=True, help="where the history is, e.g. http://127.0.0.1:9090")
    parser.add_argument("--since", metavar="DURATION", default="7d", help="how far to look back; default: 7d")
    parser.add_argument("--until", metavar="TIME", help="from when, e.g. 2026-11-22T12:00:00Z; default: now")
    parser.add_argument("--step", metavar="DURATION", help="between two evaluations; default: prometheus.evaluation_interval")
    add_format(parser)


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print what came of each alert; a terminal sees progress on stderr."""
    from balance.generate.trials import trials
    from balance.live.backtest import backtest
    from balance.live.prometheus import Prometheus

    period = _period(options, settings)
    server = Prometheus(options.prometheus)
    wanted = trials(bundle, settings, options.alert)
    outcomes = [backtest(server, trial, period) for trial in progress(wanted, lambda trial: trial.name, len(wanted))]
    if options.format == "json":
        document = {"period": {"start": period.start, "end": period.end, "step": period.step}, "alerts": [_json(outcome) for outcome in outcomes]}
        print(json.dumps(document, indent=2))
    else:
        _table([["alert", "fired", "in all", "longest", "now", "unit", "threshold", *_NAMES, "suggested"], *map(_row, outcomes)])
    return EXIT_OK


def _period(options: Namespace, settings: Settings) -> Period:
    from balance.live.backtest import Period

    step = _seconds("--step", options.step) if options.step else settings.prometheus.evaluation_interval
    since = _seconds("--since", options.since)
    try:
        until = int(datetime.fromisoformat(options.until).astimezone(UTC).timestamp()) if options.until else int(time.time())
    except ValueError:
        raise BalanceError(f"{options.until!r} is no time", where="--until", cure="write it like 2026-11-22T12:00:00Z") from None
    end = until // step * step
    return Period(end - since // step * step, end, step)


def _seconds(option: str, given: str) -> int:
    seconds = int(length(given) or 0)
    if not seconds:
        raise BalanceError(f"invalid duration {given!r}", where=option, cure="write a number with its unit: 30s, 12h, 7d")
    return seconds


def _row(outcome: BacktestResult) -> list[str]:
    trial = outcome.trial
    open_ones = sum(not episode.ended for episode in outcome.episodes)
    measured = [f"{value:.3g}" for value in outcome.quantiles] or ["no data", *[""] * (len(_NAMES) - 1)]
    return [
        trial.name, str(len(outcome.episodes)), duration(outcome.seconds), duration(outcome.longest), str(open_ones),
        str(outcome.unit), f"{trial.operator} {number(trial.value)}", *measured, "-" if outcome.suggested is None else number(outcome.suggested),
    ]  # fmt: skip


def _table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _json(outcome: BacktestResult) -> dict[str, Any]:
    trial = outcome.trial
    return {
        "alert": trial.name,
        "fired": len(outcome.episodes),
        "seconds": outcome.seconds,
        "longest": outcome.longest,
        "episodes": [{"labels": dict(one.labels), "start": one.start, "end": one.end, "ended": one.ended} for one in outcome.episodes],
        "unit": str(outcome.unit),
        "operator": trial.operator,
        "threshold": trial.value,
        "samples": outcome.samples,
        "quantiles": {name: value if math.isfinite(value) else None for name, value in zip(_NAMES, outcome.quantiles, strict=False)},
        "suggested": outcome.suggested,
    }


COMMAND = Command(
    "backtest",
    "say how often the alerts would have fired, and which thresholds would have fitted",
    run,
    arguments,
    "balance-gen backtest --prometheus http://127.0.0.1:9090\n"
    "balance-gen backtest BalanceHighErrorRate --prometheus http://127.0.0.1:9090 --since 30d",
)
