"""Checks of dashboards and texts: the names in them exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from balance.errors import BalanceError, Problem, suggestion
from balance.lint.check import Inputs, check


@check("query-twice", "warning")
def query_twice(inputs: Inputs) -> Iterator[Problem]:
    """A panel with the same query twice.

    The second curve hides the first, and each costs Prometheus a query. Remove one, or fix the copy that was not changed.
    """
    for dashboard in inputs.bundle.dashboards:
        for panel in dashboard.panels:
            if len({query.expr for query in panel.queries}) < len(panel.queries):
                yield Problem(f"dashboard {dashboard.name!r}", "has the same query twice", "remove one", panel.title)


@check("words-unknown-name", "error")
def words_unknown_name(inputs: Inputs) -> Iterator[Problem]:
    """A text that names an alert or metric that does not exist.

    "Above the line, BalanceSlow fires": the alert was renamed and the text was not. Checked are words that start like all alerts (with the name of
    the service) and names that start with that of the catalog.
    """
    catalog = inputs.bundle.catalog
    alerts = {alert.name for alert in inputs.bundle.alerts}
    prefixes = {found[0] for name in alerts if (found := re.match("[A-Z][a-z0-9]*", name))}
    alert_like = re.compile(rf"\b{prefixes.pop()}[A-Z]\w*") if len(prefixes) == 1 else None
    metric_like = re.compile(rf"\b{re.escape(catalog.name)}_\w+")
    for where, text in _texts(inputs):
        for name in dict.fromkeys(alert_like.findall(text)) if alert_like else ():
            if name not in inputs.bundle.mentionable:
                yield Problem(where, "is an unknown alert", suggestion(name, alerts), name)
        for name in dict.fromkeys(metric_like.findall(text)):
            try:
                catalog.metric(name)
            except BalanceError as error:
                yield Problem(where, "is an unknown metric", error.problems[0].cure, name)


def _texts(inputs: Inputs) -> Iterator[tuple[str, str]]:
    for dashboard in inputs.bundle.dashboards:
        yield f"dashboard {dashboard.name!r}", dashboard.description
        for panel in dashboard.panels:
            yield f"dashboard {dashboard.name!r}, panel {panel.title!r}", panel.description
    for alert in inputs.bundle.alerts:
        yield f"alert {alert.name}", f"{alert.summary} {alert.description}"
    for metric in inputs.bundle.catalog:
        yield f"catalog {inputs.bundle.catalog.name}", metric.help
