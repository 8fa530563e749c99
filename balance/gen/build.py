"""Bundle and settings to artifacts: every generated file, by family. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Callable

from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.render.artifact import Artifact

Family = Callable[[Bundle, Settings], list[Artifact]]


def dashboards(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """One file for each dashboard."""
    from balance.render import grafana

    return [Artifact(f"dashboards/{dashboard.name}.json", grafana.render(dashboard, settings)) for dashboard in bundle.dashboards]


def alerts(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The alerts as a rule file."""
    from balance.render import rules

    return [Artifact("alerts.yaml", rules.rule_file(rules.evaluate(bundle, settings), "alerts"))]


def all_rules(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Recording rules and alerts in one rule file."""
    from balance.render import rules

    return [Artifact("rules.yaml", rules.rule_file(rules.evaluate(bundle, settings), "rules", "alerts"))]


def rule_files(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Alerts and recording rules in a file each, what has a group of its own in a file for both: the mixin is evaluated once for all."""
    from balance.render import rules

    return rules.rule_files(bundle, rules.evaluate(bundle, settings))


def ruletests(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """Tests of every alert for promtool."""
    from balance.render import ruletests

    return ruletests.artifacts(bundle, settings)


def prometheus(_: Bundle, settings: Settings) -> list[Artifact]:
    """Prometheus' configuration."""
    from balance.render.prometheus import configuration

    return [Artifact("prometheus/prometheus.yml", configuration(settings))]


def mixin(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The jsonnet mixin with all that it imports."""
    from balance.render import rules

    files = {artifact.path.rpartition("/")[2]: artifact.text for artifact in dashboards(bundle, settings)}
    return rules.mixin(bundle, settings, files)


def runbooks(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """A page for each alert, their index, and the metrics reference."""
    from balance.render import markdown

    return markdown.runbooks(bundle, settings)


def catalog(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """The catalog as JSON."""
    from balance.render.catalog import catalog_json

    return [Artifact("catalog.json", catalog_json(bundle.catalog, settings))]


FAMILIES: dict[str, Family] = {
    "alerts": alerts, "rules": all_rules, "ruletests": ruletests, "prometheus": prometheus, "mixin": mixin, "runbooks": runbooks, "catalog": catalog,
}  # fmt: skip
"""What a command of that name prints."""

WRITTEN: tuple[Family, ...] = (dashboards, rule_files, ruletests, prometheus, mixin, runbooks, catalog)
"""What `write` writes: each thing once."""


def everything(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """All artifacts, sorted by path."""
    made = [artifact for family in WRITTEN for artifact in family(bundle, settings)]
    return sorted(made, key=lambda artifact: artifact.path)
