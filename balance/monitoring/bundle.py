"""A bundle: a catalog with everything that is made from it."""

from __future__ import annotations

from collections.abc import Iterable

from balance.catalog.model import Threshold
from balance.catalog.registry import Catalog
from balance.errors import MonitoringError, Problem
from balance.monitoring.alerts import Alert, RecordingRule
from balance.monitoring.dashboards import Dashboard
from balance.promql.ast import Comparison, Scaled
from balance.promql.selectors import Expr, Selector
from balance.record import Record


class Bundle(Record):
    """What one source declares, or several together. Raises `MonitoringError` with every name that is used twice."""

    catalog: Catalog
    dashboards: tuple[Dashboard, ...] = ()
    alerts: tuple[Alert, ...] = ()
    recording_rules: tuple[RecordingRule, ...] = ()

    def validate(self) -> None:
        problems = [
            *_duplicates("dashboard", (dashboard.name for dashboard in self.dashboards)),
            *_duplicates("dashboard uid", (dashboard.uid for dashboard in self.dashboards)),
            *_duplicates("alert", (alert.name for alert in self.alerts)),
            *_duplicates("recording rule", (rule.record for rule in self.recording_rules)),
        ]
        problems += [
            Problem(where, f"selects {selector.metric.name}, which is not in the catalog {self.catalog.name!r}", "declare the metric there")
            for where, expr in self.expressions()
            for selector in expr.walk()
            if isinstance(selector, Selector) and selector.metric not in self.catalog
        ]
        problems += [
            Problem(where, f"uses the threshold {threshold.name!r}, which the catalog {self.catalog.name!r} does not declare so", "use the catalog's")
            for where, threshold in self.thresholds()
            if threshold not in self.catalog
        ]
        if problems:
            raise MonitoringError(problems=problems)

    def thresholds(self) -> Iterable[tuple[str, Threshold]]:
        """Every threshold that is compared with, scaled by or drawn, with the place where it is used."""
        for where, expr in self.expressions():
            for node in expr.walk():
                if isinstance(node, (Comparison, Scaled)):
                    yield where, node.threshold
        for dashboard in self.dashboards:
            for panel in dashboard.panels:
                for threshold in panel.thresholds:
                    yield f"dashboard {dashboard.name!r}, panel {panel.title!r}", threshold

    def expressions(self) -> Iterable[tuple[str, Expr]]:
        """Every expression with the place where it is used."""
        for dashboard in self.dashboards:
            for panel in dashboard.panels:
                for query in panel.queries:
                    yield f"dashboard {dashboard.name!r}, panel {panel.title!r}", query.expr
        for alert in self.alerts:
            yield f"alert {alert.name}", alert.condition.comparison
            if alert.condition.missing:
                yield f"alert {alert.name}", alert.condition.missing
        for rule in self.recording_rules:
            yield f"recording rule {rule.record}", rule.expr


def merge(bundles: Iterable[Bundle]) -> Bundle:
    """Several bundles over one catalog as one."""
    first, *others = bundles
    for other in others:
        if other.catalog is not first.catalog:
            raise MonitoringError(f"sources with two catalogs: {first.catalog.name}, {other.catalog.name}", cure="choose one with --source")
        first = first.replace(
            dashboards=first.dashboards + other.dashboards,
            alerts=first.alerts + other.alerts,
            recording_rules=first.recording_rules + other.recording_rules,
        )
    return first


def _duplicates(kind: str, names: Iterable[str]) -> list[Problem]:
    seen: set[str] = set()
    problems = []
    for name in names:
        if name in seen:
            problems.append(Problem(f"{kind} {name!r}", "is declared twice", "rename one of them"))
        seen.add(name)
    return problems
