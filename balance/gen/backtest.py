"""`balance-gen backtest`: what the alerts would have done over the history of a Prometheus, and thresholds that would have fitted it."""

from __future__ import annotations

import json
import math
import time
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from balance.catalog.model import Histogram, number
from balance.commandline import FINE, progress
from balance.config.units import length
from balance.errors import BalanceError, suggestion
from balance.live.backtest import QUANTILES, Outcome, Period, Trial, backtest
from balance.live.prometheus import Prometheus
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.text import duration, text
from balance.render import rules

_NAMES = ("p50", "p90", "p99", "p99.9", "most")


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print what came of each alert; a terminal sees progress on stderr."""
    period = _period(options, settings)
    server = Prometheus(options.prometheus)
    trials = _trials(bundle, settings, options.alert)
    outcomes = [backtest(server, trial, period) for trial in progress(trials, lambda trial: trial.name, len(trials))]
    if options.format == "json":
        document = {"period": {"start": period.start, "end": period.end, "step": period.step}, "alerts": [_json(outcome) for outcome in outcomes]}
        print(json.dumps(document, indent=2))
    else:
        _table([["alert", "fired", "in all", "longest", "now", "unit", "threshold", *_NAMES, "suggested"], *map(_row, outcomes)])
    return FINE


def _period(options: Namespace, settings: Settings) -> Period:
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


def _trials(bundle: Bundle, settings: Settings, names: list[str]) -> list[Trial]:
    alerts = {alert.name: alert for alert in bundle.alerts}
    for name in names:
        if name not in alerts:
            raise BalanceError(f"no alert {name!r}", cure=suggestion(name, alerts))
    evaluated = {rule["alert"]: rule for group in rules.evaluate(bundle, settings)["alerts"]["groups"] for rule in group["rules"]}
    bounds = {threshold: metric.buckets for metric in bundle.catalog if isinstance(metric, Histogram) for threshold in metric.thresholds}
    scope = settings.scope
    return [
        Trial(
            name,
            evaluated[name]["expr"],
            int(length(evaluated[name]["for"]) or 0),
            int(length(evaluated[name].get("keep_firing_for", "0s")) or 0),
            text(alert.condition.expr, scope),
            alert.condition.operator,
            alert.condition.threshold,
            scope.value(alert.condition.threshold),
            bounds.get(alert.condition.threshold, ()),
        )
        for name, alert in alerts.items()
        if not names or name in names
    ]


def _row(outcome: Outcome) -> list[str]:
    trial = outcome.trial
    open_ones = sum(not episode.ended for episode in outcome.episodes)
    measured = [f"{value:.3g}" for value in outcome.quantiles] or ["no data", *[""] * (len(QUANTILES) - 1)]
    return [
        trial.name, str(len(outcome.episodes)), duration(outcome.seconds), duration(outcome.longest), str(open_ones),
        str(outcome.unit), f"{trial.operator} {number(trial.value)}", *measured, "-" if outcome.suggested is None else number(outcome.suggested),
    ]  # fmt: skip


def _table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _json(outcome: Outcome) -> dict[str, Any]:
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
