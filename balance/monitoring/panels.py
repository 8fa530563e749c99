"""Panels of one metric, one number or one alert. By default, the help text of the metric describes the panel."""

from __future__ import annotations

from typing import Any

from balance.catalog.model import SECONDS, STATE, Counter, Gauge, Histogram, Metric, number
from balance.errors import MonitoringError
from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.dashboards import Link, Panel, Query, State
from balance.promql import RATE_WINDOW, quantile, rate, series, sum_by
from balance.promql.ast import Aggregation
from balance.promql.selectors import Expr

LabelOrLabels = str | tuple[str, ...]
"""One label name, or several."""


def rate_panel(metric: Counter, title: str = "", *, by: LabelOrLabels = (), stacked: bool = True, **options: Any) -> Panel:
    """The rate of a counter per second, for each combination of the labels `by`. `options` are those of `Panel`."""
    labels = _labels(by)
    query = Query(sum_by(rate(series(metric).over(RATE_WINDOW)), *labels), _legend(labels) or "all")
    return Panel(title or default_title(metric), options.pop("description", metric.help), (query,), stacked=stacked, **options)


def value_panel(*metrics: Gauge, title: str = "", **options: Any) -> Panel:
    """All series of one or several gauges of one unit; several gauges have their name in the legend. `options` are those of `Panel`."""
    queries = tuple(Query(series(metric), _legend((*metric.label_names, "instance"), metric.name if metrics[1:] else "")) for metric in metrics)
    return Panel(title or default_title(metrics[0]), options.pop("description", metrics[0].help), queries, **options)


def quantile_panel(
    metric: Histogram, title: str = "", *, by: LabelOrLabels = (), quantiles: tuple[float, ...] = (0.5, 0.99), **options: Any
) -> Panel:
    """Quantiles (0 to 1) of a histogram, for each combination of the labels `by`. `options` are those of `Panel`."""
    labels = _labels(by)
    queries = tuple(Query(quantile(q, series(metric), RATE_WINDOW, *labels), _legend(labels, f"p{100 * q:g}")) for q in quantiles)
    return Panel(title or default_title(metric), options.pop("description", metric.help), queries, **options)


def latency_panel(metric: Histogram, title: str = "", **options: Any) -> Panel:
    """Median and 99th percentile of a histogram in seconds. `options` are those of `quantile_panel`. Raises `MonitoringError` for other units."""
    if metric.unit != SECONDS:
        raise MonitoringError(f"latency_panel() needs a histogram in seconds, got {metric.unit}", where=metric.name, cure="use quantile_panel()")
    return quantile_panel(metric, title, **options)


def heatmap_panel(metric: Histogram, title: str = "", **options: Any) -> Panel:
    """A heatmap of a histogram: observations by bucket over time. `options` are those of `Panel`."""
    query = Query(sum_by(rate(series(metric).buckets.over(RATE_WINDOW)), "le"), "{{le}}")
    return Panel(title or default_title(metric), options.pop("description", metric.help), (query,), kind="heatmap", **options)


def stat_panel(title: str, expr: Expr, **options: Any) -> Panel:
    """One large number with a sparkline. `options` are those of `Panel`, of which `description` is required, and `legend`."""
    return Panel(title, options.pop("description"), (Query(expr, options.pop("legend", title)),), kind="stat", **{"width": 4, "height": 4, **options})


def table_panel(title: str, columns: dict[str, Expr], **options: Any) -> Panel:
    """A table: a row for each combination of labels, which all `columns` share; each cell has a sparkline and its last value."""
    return Panel(title, options.pop("description"), tuple(Query(expr, name) for name, expr in columns.items()), kind="table", **options)


def text_panel(title: str, text: str, **options: Any) -> Panel:
    """A panel of Markdown text. `options` are those of `Panel`."""
    return Panel(title, options.pop("description", title), (), kind="text", text=text, **{"width": 24, "height": 4, **options})


def condition_panel(condition: Condition, title: str = "", **options: Any) -> Panel:
    """The expression of a condition, with its threshold unless that is fixed; a state is a timeline, red while the condition holds."""
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
    """The expression of an alert, titled with its name, with a link to its runbook."""
    shown = f"What {alert.name} ({alert.severity}) compares. It holds {_holds(alert.condition)}"
    return condition_panel(alert.condition, alert.name, **{"description": shown, "links": (Link("Runbook", runbook=alert.name),), **options})


def default_title(metric: Metric) -> str:
    """The default title for a metric: ``shop_orders_total`` becomes Shop Orders, ``shop_wait_seconds`` Shop Wait."""
    return _words(metric.name.removesuffix("_total").removesuffix("_seconds").removesuffix("_bytes"))


_HOLDS = {">": "above", ">=": "from", "<": "below", "<=": "up to", "==": "at", "!=": "except at"}


def _holds(condition: Condition) -> str:
    threshold = condition.threshold
    return f"{_HOLDS[condition.operator]} {number(threshold.value) if threshold.fixed else 'the line'}: {threshold.reason}"


def _words(name: str) -> str:
    return name.replace("_", " ").title()


def _labels(by: LabelOrLabels) -> tuple[str, ...]:
    return (by,) if isinstance(by, str) else by


def _legend(labels: tuple[str, ...], name: str = "") -> str:
    return " ".join([*(f"{{{{{label}}}}}" for label in labels), *([name] if name else [])])
