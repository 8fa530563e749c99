"""Words for panels that show one metric: how fast it goes up, what it is, how it is distributed. The help of the metric describes the panel."""

from __future__ import annotations

from typing import Any

from balance.catalog.model import Counter, Gauge, Histogram
from balance.monitoring.alerts import Condition
from balance.monitoring.dashboards import Panel, Query
from balance.promql import RATE_WINDOW, quantile, rate, series, sum_by


def rate_panel(title: str, metric: Counter, *by: str, stacked: bool = True, **options: Any) -> Panel:
    """What a counter counts, per second, for each combination of the labels `by`. `options` are those of `Panel`."""
    query = Query(sum_by(rate(series(metric).over(RATE_WINDOW)), *by), _legend(by) or "all")
    return Panel(title, options.pop("description", metric.help), (query,), stacked=stacked, **options)


def value_panel(title: str, *metrics: Gauge, **options: Any) -> Panel:
    """Every series of one or several gauges of one unit; where there are several, each is called by its name."""
    queries = tuple(Query(series(metric), _legend((*metric.label_names, "instance"), metric.name if metrics[1:] else "")) for metric in metrics)
    return Panel(title, options.pop("description", metrics[0].help), queries, **options)


def quantile_panel(title: str, metric: Histogram, *by: str, quantiles: tuple[float, ...] = (0.5, 0.99), **options: Any) -> Panel:
    """Quantiles of what a histogram observed, for each combination of the labels `by`."""
    queries = tuple(Query(quantile(q, series(metric), RATE_WINDOW, *by), _legend(by, f"p{100 * q:g}")) for q in quantiles)
    return Panel(title, options.pop("description", metric.help), queries, **options)


def condition_panel(title: str, condition: Condition, **options: Any) -> Panel:
    """What an alert compares, with the threshold drawn if it is one that can be chosen."""
    queries = (Query(condition.expr, _legend(tuple(sorted(condition.expr.labels)))),)
    return Panel(title, options.pop("description"), queries, thresholds=() if condition.threshold.fixed else (condition.threshold,), **options)


def _legend(labels: tuple[str, ...], name: str = "") -> str:
    return " ".join([*(f"{{{{{label}}}}}" for label in labels), *([name] if name else [])])
