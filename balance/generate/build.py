"""From bundle and settings to artifacts: every generated file, by family.

Nothing is read or written, except the cache of rule tests, which changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import RULERS, Settings
from balance.render.artifact import Artifact

Family = Callable[[Bundle, Settings], list[Artifact]]
Result = TypeVar("Result")


def _cached(make: Callable[[Bundle, Settings], Result]) -> Callable[[Bundle, Settings], Result]:
    """Keep the latest result, which several families need."""
    last: list[tuple[Bundle, Settings, Result]] = []

    def cached(bundle: Bundle, settings: Settings) -> Result:
        if not (last and last[0][0] is bundle and last[0][1] is settings):
            last[:] = [(bundle, settings, make(bundle, settings))]
        return last[0][2]

    return cached


@_cached
def boards(bundle: Bundle, settings: Settings) -> dict[str, str]:
    """Every dashboard as JSON text, by name."""
    from balance.render import grafana

    return {dashboard.name: grafana.render(dashboard, settings) for dashboard in bundle.dashboards}


@_cached
def _evaluated(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    from balance.render import rules

    return rules.evaluate(bundle, settings)


def dashboards(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """One file for each dashboard."""
    return [Artifact(f"dashboards/{name}.json", text) for name, text in boards(bundle, settings).items()]


def alerts(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The alerts as a rule file."""
    from balance.render import rules

    return [Artifact("alerts.yaml", rules.rule_file(_evaluated(bundle, settings), "alerts", **_ruler(bundle, settings)))]


def all_rules(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Recording rules and alerts in one rule file."""
    from balance.render import rules

    return [Artifact("rules.yaml", rules.rule_file(_evaluated(bundle, settings), "rules", "alerts", **_ruler(bundle, settings)))]


def rule_files(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Alerts and recording rules in one file each; a group with both kinds gets a file of its own."""
    from balance.render import rules

    return rules.rule_files(bundle, _evaluated(bundle, settings), **_ruler(bundle, settings))


def _ruler(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    return {"ruler": RULERS[settings.ruler], "namespace": bundle.catalog.name}


def ruletests(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Tests of every alert for promtool; those of unchanged alerts come from the user's cache."""
    from balance.generate import cache
    from balance.render import ruletests

    return list(ruletests.artifacts(bundle, settings, cache.cached(ruletests.texts)))


def prometheus(_: Bundle, settings: Settings) -> list[Artifact]:
    """The configuration of Prometheus."""
    from balance.render.prometheus import configuration

    return [Artifact("prometheus/prometheus.yml", configuration(settings))]


def alertmanager(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The configuration of Alertmanager and its templates; nothing if the bundle declares no routing."""
    from balance.render import alertmanager as render

    if bundle.routing is None:
        return []
    return [
        Artifact("alertmanager/alertmanager.yml", render.configuration(bundle.routing, settings)),
        Artifact(f"alertmanager/{render.TEMPLATES}", render.templates()),
    ]


def mixin(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The jsonnet mixin with everything that it imports."""
    from balance.render import rules

    return rules.mixin(bundle, settings, {f"{name}.json": text for name, text in boards(bundle, settings).items()})


def kubernetes(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Kubernetes manifests: rules, scrape targets, dashboards and the workload."""
    from balance.render import rules
    from balance.render.kubernetes import objects

    groups = rules.groups(_evaluated(bundle, settings), "rules", "alerts")
    return objects(bundle, settings, groups, boards(bundle, settings))


def provisioning(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Grafana provisioning: dashboards and data source."""
    from balance.render import provisioning

    return provisioning.provisioning(bundle, settings)


def settings_page(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Every setting with its value."""
    from balance.generate.settings_page import page

    return [Artifact("settings.md", page(bundle, settings))]


def runbooks(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """A page for each alert, their index, and the metrics reference."""
    from balance.render import markdown

    return markdown.runbooks(bundle, settings, _evaluated(bundle, settings))


def catalog(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The catalog as JSON."""
    from balance.render.catalog import catalog_json

    return [Artifact("catalog.json", catalog_json(bundle.catalog, settings, bundle.slos))]


FAMILIES: dict[str, Family] = {
    "alerts": alerts, "rules": all_rules, "ruletests": ruletests, "prometheus": prometheus, "alertmanager": alertmanager, "mixin": mixin,
    "kubernetes": kubernetes, "provisioning": provisioning, "runbooks": runbooks, "catalog": catalog, "settings": settings_page,
}  # fmt: skip
"""The family that the command of each name prints."""

WRITTEN: tuple[Family, ...] = (
    dashboards, rule_files, ruletests, prometheus, alertmanager, mixin, kubernetes, provisioning, runbooks, catalog, settings_page,
)  # fmt: skip
"""The families that `write` writes."""


def everything(bundle: Bundle, settings: Settings, progress: Callable[[Sequence[Family]], Iterable[Family]] = iter) -> list[Artifact]:
    """All artifacts, sorted by path. `progress` wraps the iteration over the families, for example to show how far it is."""
    artifacts = [artifact for family in progress(WRITTEN) for artifact in family(bundle, settings)]
    return sorted(artifacts, key=lambda artifact: artifact.path)
