"""Bundle and settings to artifacts: every generated file, by family. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import RULERS, Settings
from balance.render.artifact import Artifact

Family = Callable[[Bundle, Settings], list[Artifact]]
Made = TypeVar("Made")


def _shared(make: Callable[[Bundle, Settings], Made]) -> Callable[[Bundle, Settings], Made]:
    """What several families need is made once, for the bundle and settings that were given last."""
    last: list[tuple[Bundle, Settings, Made]] = []

    def made(bundle: Bundle, settings: Settings) -> Made:
        if not (last and last[0][0] is bundle and last[0][1] is settings):
            last[:] = [(bundle, settings, make(bundle, settings))]
        return last[0][2]

    return made


@_shared
def boards(bundle: Bundle, settings: Settings) -> dict[str, str]:
    """Every dashboard as JSON text, by name."""
    from balance.render import grafana

    return {dashboard.name: grafana.render(dashboard, settings) for dashboard in bundle.dashboards}


@_shared
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
    """Alerts and recording rules in a file each, what has a group of its own in a file for both: the mixin is evaluated once for all."""
    from balance.render import rules

    return rules.rule_files(bundle, _evaluated(bundle, settings), **_ruler(bundle, settings))


def _ruler(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    return {"ruler": RULERS[settings.ruler], "namespace": bundle.catalog.name}


def ruletests(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Tests of every alert for promtool."""
    from balance.render import ruletests

    return list(ruletests.artifacts(bundle, settings))


def prometheus(_: Bundle, settings: Settings) -> list[Artifact]:
    """Prometheus' configuration."""
    from balance.render.prometheus import configuration

    return [Artifact("prometheus/prometheus.yml", configuration(settings))]


def alertmanager(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Alertmanager's configuration and its templates."""
    from balance.render import alertmanager as render

    if bundle.routing is None:
        return []
    return [
        Artifact("alertmanager/alertmanager.yml", render.configuration(bundle.routing, settings)),
        Artifact(f"alertmanager/{render.TEMPLATES}", render.templates()),
    ]


def mixin(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The jsonnet mixin with all that it imports."""
    from balance.render import rules

    return rules.mixin(bundle, settings, {f"{name}.json": text for name, text in boards(bundle, settings).items()})


def kubernetes(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Objects for Kubernetes: rules, what to scrape, dashboards."""
    from balance.render import rules
    from balance.render.kubernetes import objects

    groups = rules.groups(_evaluated(bundle, settings), "rules", "alerts")
    return objects(bundle, settings, groups, boards(bundle, settings))


def provisioning(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Grafana's provisioning: dashboards and data source."""
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
"""What a command of that name prints."""

WRITTEN: tuple[Family, ...] = (
    dashboards, rule_files, ruletests, prometheus, alertmanager, mixin, kubernetes, provisioning, runbooks, catalog, settings_page,
)  # fmt: skip
"""What `write` writes: each thing once."""


def everything(bundle: Bundle, settings: Settings, follow: Callable[[Sequence[Family]], Iterable[Family]] = iter) -> list[Artifact]:
    """All artifacts, sorted by path. `follow` hands on the families one by one, and so sees how far it is."""
    made = [artifact for family in follow(WRITTEN) for artifact in family(bundle, settings)]
    return sorted(made, key=lambda artifact: artifact.path)
