"""The model of the mixin: what its jsonnet knows of a bundle, as JSON.

Texts whose parts the users of the mixin choose (the selector, thresholds, addresses) are exported as templates: pairs of a piece of text and
the name of the placeholder after it, empty at the end. `values` and `filled` fill a template here; in jsonnet `_values` and `_fill` of
`mixin/config.libsonnet` do the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from balance.catalog.model import Threshold
from balance.monitoring.alerts import Alert, RecordingRule
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.selectors import RATE_WINDOW
from balance.promql.text import Scope, duration, text
from balance.render.artifact import Json
from balance.render.grafana_ids import panel_url
from balance.render.templates import humanized

Template = Sequence[Sequence[str]]
"""Pairs of a piece of text and the name of the placeholder after it: ``[["up{", "$selector"], ["} == ", "target_down"], ["", ""]]``."""
Item = TypeVar("Item", Alert, RecordingRule)
_MARK = "\x00"
"""Stands before and after the name of a placeholder while a text is being written."""


def model(bundle: Bundle, settings: Settings) -> Json:
    """The bundle as ``model.json`` holds it: `config` with the values that the settings choose, groups of `alerts` and of recording `rules`."""
    scope = _open_scope(settings)
    default = bundle.catalog.name
    panels = {expr: panel_url(dashboard, panel.title) for expr, (dashboard, panel) in bundle.plots().items()}
    return {
        "config": {
            "selector": settings.selector,
            "recorded_selector": settings.recorded_selector,
            "keep_labels": list(settings.keep_labels),
            "runbook_base": settings.runbook_base,
            "grafana_url": settings.grafana_url,
            "thresholds": {threshold.name: settings.scope.written(threshold) for threshold in bundle.declared_thresholds},
        },
        "alerts": [
            {"name": name, "alerts": [_alert(alert, panels.get(alert.condition.expr), settings, scope) for alert in alerts]}
            for name, alerts in _by_group(bundle.alerts, default).items()
        ],
        "rules": [
            {"name": f"{name}.rules", "rules": [{"record": _record(rule, settings), "expr": _template(text(rule.expr, scope))} for rule in rules]}
            for name, rules in _by_group(bundle.recording_rules, default).items()
        ],
    }  # fmt: skip


def values(config: Json) -> dict[str, str]:
    """The text for every placeholder, by name, from the `config` of a model."""
    return {
        **config["thresholds"],
        "": "",
        "$selector": config["selector"],
        "$recorded": config["recorded_selector"],
        "$keep": "".join(f"{label}, " for label in config["keep_labels"]),
        "$runbook_base": config["runbook_base"],
        "$grafana_url": config["grafana_url"],
    }


def filled(template: Template, values: Mapping[str, str]) -> str:
    """The text of a template. Raises `KeyError` for a placeholder without a value."""
    return "".join(piece + values[name] for piece, name in template)


def annotation_texts(bundle: Bundle, settings: Settings) -> dict[str, dict[str, str]]:
    """The annotations of each alert as its rule has them: alert -> name -> text, names sorted."""
    exported = model(bundle, settings)
    chosen = values(exported["config"])
    alerts = (alert for group in exported["alerts"] for alert in group["alerts"])
    return {alert["name"]: {name: filled(words, chosen) for name, words in sorted(alert["annotations"].items())} for alert in alerts}


@dataclass(frozen=True)
class _OpenScope(Scope):
    """Writes the name of a threshold in place of its value."""

    def written(self, threshold: Threshold) -> str:
        return _placeholder(threshold.name)


def _open_scope(settings: Settings) -> Scope:
    selector, keep, recorded = map(_placeholder, ("$selector", "$keep", "$recorded"))
    return _OpenScope(selector, settings.scope.rate_window, keep=keep, recorded=recorded)


def _placeholder(name: str) -> str:
    return f"{_MARK}{name}{_MARK}"


def _template(text: str) -> Template:
    """A text with marked placeholders as a template."""
    pieces = [*text.split(_MARK), ""]
    return list(zip(pieces[::2], pieces[1::2], strict=True))


def _by_group(items: Iterable[Item], default: str) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group or default, []).append(item)
    return groups


def _record(rule: RecordingRule, settings: Settings) -> str:
    """The name of a recording rule, which contains the window of its rates, with the window that the settings choose."""
    level, metric, operation = rule.record.split(":")
    if settings.rate_window and any(window.adaptive for window in rule.expr.windows()):
        operation = operation.replace(duration(RATE_WINDOW.seconds), duration(settings.rate_window))
    return f"{level}:{metric}:{operation}"


def _alert(alert: Alert, panel: str | None, settings: Settings, scope: Scope) -> Json:
    """`panel` is the address of the panel that plots the condition, below the address of Grafana."""
    annotations = {
        "summary": _words(alert.summary, alert, settings),
        "description": _words(alert.description, alert, settings),
        "runbook_url": f"{_placeholder('$runbook_base')}/{alert.name}.md",
        **({"dashboard_url": _placeholder("$grafana_url") + panel} if panel else {}),
    }
    return {
        "name": alert.name,
        "expr": _template(text(alert.condition.whole, scope)),
        "for": duration(alert.wait),
        "keep_firing_for": duration(alert.keep_firing) if alert.keep_firing else None,
        "severity": alert.severity,
        "annotations": {name: _template(words) for name, words in annotations.items()},
    }


def _words(template: str, alert: Alert, settings: Settings) -> str:
    """A summary or description with ``{window}``, ``{value}`` and ``{threshold}`` replaced."""
    threshold = alert.condition.threshold
    words = template.replace("{window}", duration(settings.rate_window or RATE_WINDOW.seconds))
    words = words.replace("{value}", humanized("$value", threshold.unit))
    return words.replace("{threshold}", humanized(f'"{_placeholder(threshold.name)}"', threshold.unit))
