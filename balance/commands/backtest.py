"""`balance-gen backtest`: how often alerts would have fired over the history of a Prometheus, and suggested thresholds."""

from __future__ import annotations

import json
import math
import time
from argparse import Namespace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from balance.catalog.model import number
from balance.commandline import EXIT_OK, Command, Parser, add_format, progress
from balance.commands.options import seconds
from balance.errors import BalanceError
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.text import duration

if TYPE_CHECKING:
    from balance.live.backtest import BacktestResult, Period

_NAMES = ("p50", "p90", "p99", "p99.9", "most")


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("alert", nargs="*", metavar="ALERT", help="names of alerts; default: all")
    parser.add_argument("--prometheus", metavar="URL", required=True, help="Prometheus with the history, e.g. http://127.0.0.1:9090")
    parser.add_argument("--since", metavar="DURATION", default="7d", help="how far to look back; default: 7d")
    parser.add_argument("--until", metavar="TIME", help="end of the period, e.g. 2026-11-22T12:00:00Z; default: now")
    parser.add_argument("--step", metavar="DURATION", help="time between two evaluations; default: prometheus.evaluation_interval")
    add_format(parser)


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print how often each alert fired and what its expression measured; progress goes to stderr on a terminal."""
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
        _table([["alert", "fired", "total", "longest", "now", "unit", "threshold", *_NAMES, "suggested"], *map(_row, outcomes)])
    return EXIT_OK


def _period(options: Namespace, settings: Settings) -> Period:
    from balance.live.backtest import Period

    step = seconds("--step", options.step) if options.step else settings.prometheus.evaluation_interval
    since = seconds("--since", options.since)
    try:
        until = int(datetime.fromisoformat(options.until).astimezone(UTC).timestamp()) if options.until else int(time.time())
    except ValueError:
        raise BalanceError(f"invalid time {options.until!r}", where="--until", cure="write it like 2026-11-22T12:00:00Z") from None
    end = until // step * step
    return Period(end - since // step * step, end, step)


def _row(outcome: BacktestResult) -> list[str]:
    trial = outcome.trial
    still_firing = sum(not episode.ended for episode in outcome.episodes)
    measured = [f"{value:.3g}" for value in outcome.quantiles] or ["no data", *[""] * (len(_NAMES) - 1)]
    return [
        trial.name, str(len(outcome.episodes)), duration(outcome.seconds), duration(outcome.longest), str(still_firing),
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
    "show how often alerts would have fired in the past, and suggest thresholds",
    run,
    arguments,
    "balance-gen backtest --prometheus http://127.0.0.1:9090\n"
    "balance-gen backtest BalanceHighErrorRate --prometheus http://127.0.0.1:9090 --since 30d",
)
