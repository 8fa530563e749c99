"""Checks of coverage: metrics and conditions are on panels, thresholds are drawn, windows hold enough samples."""

from __future__ import annotations

from collections.abc import Iterator

from balance.catalog.model import Threshold
from balance.errors import Problem
from balance.lint.check import Inputs, check
from balance.promql.ast import Times
from balance.promql.selectors import Expr
from balance.promql.text import duration, seconds

MIN_SAMPLES = 4
"""Scrapes per window, so that a rate survives one that fails (prometheus.io: "Choose what range to use with rate()")."""


@check("metric-unplotted", "error")
def metric_unplotted(inputs: Inputs) -> Iterator[Problem]:
    """A metric that is on no panel.

    It costs memory in the service and in Prometheus, and nobody sees it. Add it to a panel, or give the reason in `Bundle(unplotted={...})`. Exempt
    are deprecated metrics without a successor, and metrics whose panel went away because the settings switch off its alert.
    """
    off = (metric for alert in inputs.bundle.switched_off for metric in alert.condition.whole.metrics())
    plotted = inputs.bundle.plotted.union(off)
    for metric in inputs.bundle.catalog:
        if metric not in plotted and metric not in inputs.bundle.unplotted and not metric.to_be_removed:
            yield Problem(
                f"catalog {inputs.bundle.catalog.name}", "is on no panel", "plot it, or give the reason: Bundle(unplotted={...})", metric.name
            )


@check("metric-needlessly-unplotted", "warning")
def metric_needlessly_unplotted(inputs: Inputs) -> Iterator[Problem]:
    """A metric that is listed in `unplotted` but is on a panel.

    The reason no longer holds: remove the metric from `unplotted`.
    """
    plotted = inputs.bundle.plotted
    for metric in inputs.bundle.unplotted:
        if metric in plotted:
            yield Problem(
                f"catalog {inputs.bundle.catalog.name}",
                "is listed as unplotted but is on a panel",
                "remove it from Bundle(unplotted={...})",
                metric.name,
            )


@check("alert-without-panel", "error")
def alert_without_panel(inputs: Inputs) -> Iterator[Problem]:
    """An alert whose condition is on no panel.

    Whoever is paged wants to see the exact expression that the alert compares, and when it started. Give a panel a query with the expression of the
    condition; the links in the alert and in its runbook then lead to that panel.
    """
    plots = inputs.bundle.plots()
    for alert in inputs.bundle.alerts:
        if alert.condition.expr not in plots:
            yield Problem(f"alert {alert.name}", "has no panel that plots its condition", "plot condition.expr on a panel", alert.name)


@check("threshold-undrawn", "warning")
def threshold_undrawn(inputs: Inputs) -> Iterator[Problem]:
    """A panel that plots an alert's condition without its threshold.

    Without the line, a curve shows how much, but not whether it is too much. Give the panel `thresholds=(...)`, or a query scaled by the threshold.
    Thresholds that are fixed by definition (up or down) need no line.
    """
    drawn: dict[Expr, set[Threshold]] = {}
    for dashboard in inputs.bundle.dashboards:
        for panel in dashboard.panels:
            lines = {node.threshold for query in panel.queries for node in query.expr.walk() if isinstance(node, Times)}
            for query in panel.queries:
                drawn.setdefault(query.expr, set()).update(lines, panel.thresholds)
    for alert in inputs.bundle.alerts:
        condition = alert.condition
        if condition.expr in drawn and not condition.threshold.fixed and condition.threshold not in drawn[condition.expr]:
            yield Problem(
                f"alert {alert.name}",
                f"is plotted without its threshold {condition.threshold.name!r}",
                "add it to the panel's thresholds",
                alert.name,
            )


@check("window-sparse", "warning")
def window_sparse(inputs: Inputs) -> Iterator[Problem]:
    """A range window with too few samples at the scrape interval.

    A rate needs two samples. With fewer than four scrapes per window, one failed scrape leaves a gap, and the `for` of an alert starts again.
    Scrape more often, or use a longer window. (Fewer than two samples are rejected outright.)
    """
    interval = inputs.settings.prometheus.scrape_interval
    lengths = {seconds(window, inputs.settings.scope) for _, expr in inputs.bundle.expressions() for window in expr.windows()}
    for length in sorted(lengths):
        if length < MIN_SAMPLES * interval:
            problem = f"hold fewer than {MIN_SAMPLES} samples, with a scrape every {duration(interval)}"
            yield Problem("prometheus.scrape_interval", problem, f"at most {duration(length // MIN_SAMPLES)}", f"windows of {duration(length)}")
