"""A bundle: a catalog with its dashboards, alerts, rules, objectives, routing and runbooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from balance.catalog.model import Metric, Threshold
from balance.catalog.registry import Catalog
from balance.errors import MonitoringError, Problem
from balance.monitoring.alerts import Alert, RecordingRule
from balance.monitoring.dashboards import Dashboard, Panel
from balance.monitoring.routing import Routing
from balance.monitoring.samples import Samples
from balance.monitoring.slo import Slo
from balance.monitoring.workload import Workload
from balance.promql.ast import Comparison, Times
from balance.promql.selectors import Expr


@dataclass(frozen=True)
class Waiver:
    """A finding of `balance-gen lint` that is accepted: the id of the check, the subject of the finding, and the reason."""

    check: str
    subject: str
    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise MonitoringError("waives a finding without a reason", where=f"{self.check}, {self.subject}", cure="say why it may stay")


@dataclass(frozen=True)
class Bundle:
    """The declarations of one source, or of several sources together.

    `folder`: Grafana's folder for the dashboards. `runbooks`: packages with a folder of runbooks (see `balance.monitoring.runbooks`).
    `unplotted`: metrics that no panel shows, with the reason. `switched_off`: alerts that settings removed from `alerts`; texts may still
    mention them. `workload`: the service in its container. `samples`: synthetic data for previews. `runtimes`: the names from
    `balance.catalog.standard.RUNTIMES` that the setting `runtime` may choose.

    Raises `MonitoringError` with every duplicate name and every metric or threshold that the catalog does not declare.
    """

    catalog: Catalog
    dashboards: tuple[Dashboard, ...] = ()
    alerts: tuple[Alert, ...] = ()
    recording_rules: tuple[RecordingRule, ...] = ()
    slos: tuple[Slo, ...] = ()
    routing: Routing | None = None
    folder: str = ""
    runbooks: tuple[str, ...] = ()
    unplotted: Mapping[Metric, str] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    switched_off: tuple[Alert, ...] = ()
    workload: Workload | None = None
    samples: Samples | None = None
    runtimes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = [
            *_duplicates("dashboard", (dashboard.name for dashboard in self.dashboards)),
            *_duplicates("dashboard uid", (dashboard.uid for dashboard in self.dashboards)),
            *_duplicates("alert", (alert.name for alert in self.alerts)),
            *_duplicates("objective", (slo.name for slo in self.slos)),
            *_duplicates("recording rule", (rule.record for rule in self.recording_rules)),
        ]
        problems += [
            Problem(where, f"selects {metric.name}, which is not in the catalog {self.catalog.name!r}", "declare the metric there")
            for where, expr in self.expressions()
            for metric in sorted((metric for metric in expr.metrics() if metric not in self.catalog), key=lambda metric: metric.name)
        ]
        problems += [
            Problem(
                f"dashboard {board.name!r}, annotation {annotation.name!r}", f"selects {metric.name}, which is not in the catalog", "declare it there"
            )
            for board in self.dashboards
            for annotation in board.annotations
            for metric in annotation.expr.metrics()
            if metric not in self.catalog
        ]
        own = {threshold for slo in self.slos for threshold in slo.thresholds}
        problems += [
            Problem(
                where,
                f"uses the threshold {threshold.name!r}, which the catalog {self.catalog.name!r} does not declare with these values",
                "use the catalog's",
            )
            for where, threshold in self.thresholds()
            if threshold not in self.catalog and threshold not in own
        ]
        problems += [
            Problem(f"unplotted {metric.name}", *(("is not in the catalog", "declare the metric there") if reason else ("has no reason", "say why")))
            for metric, reason in self.unplotted.items()
            if metric not in self.catalog or not reason
        ]
        if self.routing:
            problems += self.routing.inhibition_problems({alert.name: alert for alert in self.alerts})
        if problems:
            raise MonitoringError(problems=problems)

    @property
    def mentionable(self) -> frozenset[str]:
        """The names of all alerts, including those that are switched off."""
        return frozenset(alert.name for alert in (*self.alerts, *self.switched_off))

    @property
    def declared_thresholds(self) -> tuple[Threshold, ...]:
        """The thresholds of the catalog and of the objectives."""
        return (*self.catalog.thresholds, *(threshold for slo in self.slos for threshold in slo.thresholds))

    @property
    def plotted(self) -> frozenset[Metric]:
        """The metrics that panels show."""
        return frozenset(
            metric for dashboard in self.dashboards for panel in dashboard.panels for query in panel.queries for metric in query.expr.metrics()
        )

    def plots(self) -> dict[Expr, tuple[Dashboard, Panel]]:
        """By plotted expression, the panel that shows it, preferably on the main dashboard."""
        found: dict[Expr, tuple[Dashboard, Panel]] = {}
        for dashboard in sorted(self.dashboards, key=lambda dashboard: not dashboard.main):
            for panel in dashboard.panels:
                for query in panel.queries:
                    found.setdefault(query.expr, (dashboard, panel))
        return found

    def thresholds(self) -> Iterable[tuple[str, Threshold]]:
        """Every use of a threshold in an expression or a panel, with its place."""
        for where, expr in self.expressions():
            for node in expr.walk():
                if isinstance(node, (Comparison, Times)):
                    yield where, node.threshold
        for dashboard in self.dashboards:
            for panel in dashboard.panels:
                for threshold in panel.thresholds:
                    yield f"dashboard {dashboard.name!r}, panel {panel.title!r}", threshold

    def expressions(self) -> Iterable[tuple[str, Expr]]:
        """Every expression of panels, alerts and recording rules, with its place."""
        for dashboard in self.dashboards:
            for panel in dashboard.panels:
                for query in panel.queries:
                    yield f"dashboard {dashboard.name!r}, panel {panel.title!r}", query.expr
        for alert in self.alerts:
            yield f"alert {alert.name}", alert.condition.whole
        for rule in self.recording_rules:
            yield f"recording rule {rule.record}", rule.expr


def merge(bundles: Iterable[Bundle]) -> Bundle:
    """Combine bundles over one catalog. Raises `MonitoringError` for two catalogs, workloads or routings."""
    first, *others = bundles
    for other in others:
        if other.catalog is not first.catalog:
            raise MonitoringError(f"sources with two catalogs: {first.catalog.name}, {other.catalog.name}", cure="choose one with --source")
        if first.workload and other.workload:
            raise MonitoringError("two sources declare a workload", cure="choose one with --source")
        if first.routing and other.routing:
            raise MonitoringError("two sources declare a routing", cure="choose one with --source")
        first = replace(
            first,
            dashboards=first.dashboards + other.dashboards,
            alerts=first.alerts + other.alerts,
            recording_rules=first.recording_rules + other.recording_rules,
            slos=first.slos + tuple(slo for slo in other.slos if slo not in first.slos),
            routing=first.routing or other.routing,
            folder=first.folder or other.folder,
            runbooks=tuple(dict.fromkeys(first.runbooks + other.runbooks)),
            unplotted={**first.unplotted, **other.unplotted},
            waivers=first.waivers + other.waivers,
            workload=first.workload or other.workload,
            samples=first.samples or other.samples,
            runtimes=tuple(dict.fromkeys(first.runtimes + other.runtimes)),
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
