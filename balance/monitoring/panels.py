"""Words for panels that show one metric, one figure, one alert. The help of the metric describes the panel where nothing else does."""

from __future__ import annotations

from typing import Any

from balance.catalog.model import SECONDS, STATE, Counter, Gauge, Histogram, Metric, number
from balance.errors import MonitoringError
from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.dashboards import Link, Panel, Query, State
from balance.promql import RATE_WINDOW, quantile, rate, series, sum_by
from balance.promql.ast import Aggregation
from balance.promql.selectors import Expr

Labels = str | tuple[str, ...]
"""One label, or several."""


def rate_panel(metric: Counter, title: str = "", *, by: Labels = (), stacked: bool = True, **options: Any) -> Panel:
    """What a counter counts, per second, for each combination of the labels `by`. `options` are those of `Panel`."""
    labels = _labels(by)
    query = Query(sum_by(rate(series(metric).over(RATE_WINDOW)), *labels), _legend(labels) or "all")
    return Panel(title or titled(metric), options.pop("description", metric.help), (query,), stacked=stacked, **options)


def value_panel(*metrics: Gauge, title: str = "", **options: Any) -> Panel:
    """Every series of one or several gauges of one unit; where there are several, each is called by its name."""
    queries = tuple(Query(series(metric), _legend((*metric.label_names, "instance"), metric.name if metrics[1:] else "")) for metric in metrics)
    return Panel(title or titled(metrics[0]), options.pop("description", metrics[0].help), queries, **options)


def quantile_panel(metric: Histogram, title: str = "", *, by: Labels = (), quantiles: tuple[float, ...] = (0.5, 0.99), **options: Any) -> Panel:
    """Quantiles of what a histogram observed, for each combination of the labels `by`."""
    labels = _labels(by)
    queries = tuple(Query(quantile(q, series(metric), RATE_WINDOW, *labels), _legend(labels, f"p{100 * q:g}")) for q in quantiles)
    return Panel(title or titled(metric), options.pop("description", metric.help), queries, **options)


def latency_panel(metric: Histogram, title: str = "", **options: Any) -> Panel:
    """How long something takes: half of the times, and all but one in a hundred, are shorter. `options` are those of `quantile_panel`."""
    if metric.unit != SECONDS:
        raise MonitoringError(f"is in {metric.unit}", where=f"latency_panel of {metric.name}", cure="take quantile_panel for what is no time")
    return quantile_panel(metric, title, **options)


def heatmap_panel(metric: Histogram, title: str = "", **options: Any) -> Panel:
    """How often each bucket of a histogram was hit, over time."""
    query = Query(sum_by(rate(series(metric).buckets.over(RATE_WINDOW)), "le"), "{{le}}")
    return Panel(title or titled(metric), options.pop("description", metric.help), (query,), kind="heatmap", **options)


def stat_panel(title: str, expr: Expr, **options: Any) -> Panel:
    """One figure, large, with its curve behind it."""
    return Panel(title, options.pop("description"), (Query(expr, options.pop("legend", title)),), kind="stat", **{"width": 4, "height": 4, **options})


def table_panel(title: str, columns: dict[str, Expr], **options: Any) -> Panel:
    """A row for each combination of labels, which all columns share; in each cell a curve and its last value."""
    return Panel(title, options.pop("description"), tuple(Query(expr, name) for name, expr in columns.items()), kind="table", **options)


def text_panel(title: str, text: str, **options: Any) -> Panel:
    """Words, in Markdown."""
    return Panel(title, options.pop("description", title), (), kind="text", text=text, **{"width": 24, "height": 4, **options})


def condition_panel(condition: Condition, title: str = "", **options: Any) -> Panel:
    """What an alert compares, with the threshold drawn if it is one that can be chosen; a state as a timeline, red where the condition holds."""
    branches, threshold = condition.branches, condition.threshold
    queries = tuple(Query(branch.expr, _legend(tuple(sorted(branch.expr.labels)), str(place) if branches[1:] else ""))
                    for place, branch in enumerate(branches, 1))  # fmt: skip
    kept = tuple(branch.threshold for branch in branches if not branch.threshold.fixed)
    if condition.expr.unit == STATE and threshold.fixed and not isinstance(condition.expr, Aggregation):
        bad = int(threshold.value)
        options = {"kind": "state-timeline", "states": (State(bad, "Wrong", "red"), State(1 - bad, "Fine", "green")), **options}
    alarm = "below" if condition.operator in ("<", "<=") else "above"
    description = options.pop("description", f"Something is wrong {_holds(condition)}")
    return Panel(title or _words(threshold.name), description, queries, thresholds=kept, **{"alarm": alarm, **options})


def alert_panel(alert: Alert, **options: Any) -> Panel:
    """What an alert compares, called by the alert's name, with a link to its runbook."""
    shown = f"What {alert.name} ({alert.severity}) compares. It holds {_holds(alert.condition)}"
    return condition_panel(alert.condition, alert.name, **{"description": shown, "links": (Link("Runbook", runbook=alert.name),), **options})


def titled(metric: Metric) -> str:
    """The name of a metric as a title: ``shop_orders_total`` is Shop Orders, ``shop_wait_seconds`` Shop Wait."""
    return _words(metric.name.removesuffix("_total").removesuffix("_seconds").removesuffix("_bytes"))


_HOLDS = {">": "above", ">=": "from", "<": "below", "<=": "up to", "==": "at", "!=": "except at"}


def _holds(condition: Condition) -> str:
    threshold = condition.threshold
    return f"{_HOLDS[condition.operator]} {number(threshold.value) if threshold.fixed else 'the line'}: {threshold.reason}"


def _words(name: str) -> str:
    return name.replace("_", " ").title()


def _labels(by: Labels) -> tuple[str, ...]:
    return (by,) if isinstance(by, str) else by


def _legend(labels: tuple[str, ...], name: str = "") -> str:
    return " ".join([*(f"{{{{{label}}}}}" for label in labels), *([name] if name else [])])
