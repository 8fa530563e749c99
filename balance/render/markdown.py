"""Runbooks and the metrics reference as Markdown, from jinja2 templates."""

from __future__ import annotations

from importlib.resources import files
from itertools import groupby, islice
from typing import Any

import jinja2

from balance.catalog.model import Histogram, Label, Metric, StateSet, Threshold, number
from balance.errors import BalanceError, Problem, RenderError
from balance.monitoring.alerts import Alert
from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Dashboard, Panel
from balance.monitoring.routing import apply_settings
from balance.monitoring.runbooks import Runbook, read
from balance.monitoring.settings import Settings
from balance.promql.ast import Comparison
from balance.render.artifact import Artifact, Json

_LISTED_VALUES = 12
"""Maximum number of label values that are listed one by one."""
_MAX_NEIGHBOURS = 8
"""Maximum number of related alerts on a page."""


def runbooks(bundle: Bundle, settings: Settings, evaluated: Json) -> list[Artifact]:
    """A page for each alert, their index, and the metrics reference. The facts come from the rules in `evaluated`, the evaluated mixin.

    An alert without prose gets a page with the facts alone. Raises `RenderError` with every unknown name in the prose.
    """
    written = {rule["alert"]: rule for group in evaluated["alerts"]["groups"] for rule in group["rules"]}
    prose = {runbook.alert: runbook for runbook in read(bundle.runbooks)}
    index = _BundleIndex(bundle, settings)
    pages: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for alert in sorted(bundle.alerts, key=lambda alert: alert.name):
        try:
            pages.append(_page(index, settings, alert, prose.get(alert.name, Runbook(alert.name, "", {})), written[alert.name]))
        except BalanceError as error:
            problems += error.problems
    if problems:
        raise RenderError(problems=problems)
    templates = _templates()
    return [
        *(Artifact(f"runbooks/{page['alert'].name}.md", templates.get_template("runbook").render(page)) for page in pages),
        Artifact("runbooks/README.md", templates.get_template("index").render({"catalog": bundle.catalog, "pages": pages})),
        Artifact("metrics.md", templates.get_template("metrics").render({"catalog": bundle.catalog, "headings": _reference(bundle)})),
    ]


def _templates() -> jinja2.Environment:
    folder = files(__package__).joinpath("pages")
    return jinja2.Environment(  # noqa: S701 (Markdown)
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(f"{name}.md.j2").read_text(encoding="utf-8")),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip


class _BundleIndex:
    """Lookups that all pages of a bundle share."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.catalog = bundle.catalog
        self.mentionable = bundle.mentionable
        self._routing = bundle.routing and apply_settings(bundle.routing, settings)
        self.plots = bundle.plots()
        self.alerts = {alert.name: alert for alert in bundle.alerts}
        self.recorded = frozenset(rule.record for rule in bundle.recording_rules)
        self._by_metric: dict[Metric, list[Alert]] = {}
        for alert in bundle.alerts:
            for metric in alert.condition.expr.metrics():
                self._by_metric.setdefault(metric, []).append(alert)

    def notified(self, severity: str) -> str:
        """The receiver of a severity and its integrations, as words; empty without routing."""
        if self._routing is None:
            return ""
        name = self._routing.route(severity).receiver
        receiver = next(receiver for receiver in self._routing.receivers if receiver.name == name)
        return f", notifies `{name}` via {', '.join(receiver.integrations)}"

    def neighbours(self, alert: Alert, prose: Runbook) -> list[Alert]:
        """Related alerts: those that the prose mentions, then those on the same metrics, at most `_MAX_NEIGHBOURS`."""
        near = [self.alerts[name] for name in sorted(prose.mentioned & self.alerts.keys())]
        near += [other for metric in sorted(alert.condition.expr.metrics(), key=lambda metric: metric.name) for other in self._by_metric[metric]]
        return list(islice((other for other in dict.fromkeys(near) if other is not alert), _MAX_NEIGHBOURS))


def _page(index: _BundleIndex, settings: Settings, alert: Alert, prose: Runbook, rule: dict[str, Any]) -> dict[str, Any]:
    condition, wait, severity = alert.condition, rule["for"], rule["labels"]["severity"]
    optional = condition.some_labels - condition.labels
    compared = dict.fromkeys(node.threshold for node in condition.whole.walk() if isinstance(node, Comparison))
    return {
        "alert": alert,
        "prose": prose,
        "sections": prose.checked(index.catalog, index.alerts, index.recorded, settings.selector, index.mentionable),
        "severity": severity,
        "notified": index.notified(severity),
        "fires": "at once" if wait == "0s" else f"after {wait}",
        "keeps": rule.get("keep_firing_for"),
        "thresholds": [_threshold(threshold, settings) for threshold in compared],
        "labels": ", ".join([*sorted(condition.labels), *(f"{label} (optional)" for label in sorted(optional))]),
        "panel": _panel(index.plots.get(condition.expr), rule),
        "expr": rule["expr"],
        "neighbours": index.neighbours(alert, prose),
    }


def _panel(place: tuple[Dashboard, Panel] | None, rule: dict[str, Any]) -> str:
    return f"[{place[0].title}: {place[1].title}]({rule['annotations']['dashboard_url']})" if place else "none"


def _threshold(threshold: Threshold, settings: Settings) -> dict[str, str]:
    return {"name": threshold.name, "value": f"{number(settings.value(threshold))} ({threshold.unit})", "reason": threshold.reason}


def _reference(bundle: Bundle) -> dict[str, list[dict[str, Any]]]:
    used: dict[str, dict[str, None]] = {}
    for where, expr in bundle.expressions():
        for metric in expr.metrics():
            used.setdefault(metric.name, {})[where] = None
    headings = {**bundle.catalog.headings, "External Metrics": bundle.catalog.external}
    return {
        heading: [_metric(metric, bundle.unplotted.get(metric, ""), list(used.get(metric.name, ()))) for metric in metrics]
        for heading, metrics in headings.items()
        if metrics
    }


def _metric(metric: Metric, unplotted: str, places: list[str]) -> dict[str, Any]:
    labels = [*metric.labels, *([metric.label(metric.state_label)] if isinstance(metric, StateSet) else [])]
    return {
        "name": metric.name,
        "help": metric.help,
        "kind": metric.kind,
        "unit": metric.unit,
        "series": f"; series {', '.join(f'`{name}`' for name in metric.samples)}" if metric.samples != (metric.name,) else "",
        "deprecation": _deprecation(metric),
        "labels": [{"name": label.name, "allowed": _label_values(label), "help": label.help} for label in labels],
        "buckets": metric.bounds if isinstance(metric, Histogram) else "",
        "used": f"used by {'; '.join(places)}" if places else f"not used{': ' + unplotted if unplotted else ''}",
    }


def _deprecation(metric: Metric) -> str:
    """The deprecation or renaming of a metric, as words; empty if there is none."""
    words = f"deprecated since version {metric.deprecated_since} of the catalog, exposed until version {metric.remove_after}"
    return f"formerly `{metric.renamed_from}`: {words}" if metric.renamed_from else words if metric.remove_after else ""


def _label_values(label: Label) -> str:
    """The allowed values of a label, with ranges of numbers shortened; for an open label the maximum number of values."""
    if not label.values:
        return f"at most {label.bound} values"
    if len(label.values) <= _LISTED_VALUES:
        return ", ".join(f"`{value}`" for value in label.values)
    runs = []
    for _, group in groupby(enumerate(label.values), lambda item: int(item[1]) - item[0] if item[1].isdecimal() else item[1]):
        values = [value for _, value in group]
        runs.append(f"`{values[0]}`" if len(values) == 1 else f"`{values[0]}` to `{values[-1]}`")
    return ", ".join(runs)
