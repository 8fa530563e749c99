"""Alerts and recording rules, out of the jsonnet mixin: the only module that uses `_jsonnet`.

Python exports a JSON model in which every expression is a list of pieces; the mixin joins them with the selector, and the words of
an alert with the text of its threshold. So the program that mixin users evaluate with their own `_config` is the one that makes
our own YAML, and the two cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Literal, TypeVar

import yaml

from balance.catalog.model import number
from balance.errors import RenderError, choices
from balance.monitoring.alerts import Alert, RecordingRule
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.selectors import Expr
from balance.promql.text import COMPARING, Scope, duration, operand
from balance.render import units
from balance.render.artifact import Artifact

Json = dict[str, Any]
Kind = Literal["rules", "alerts"]
Item = TypeVar("Item", Alert, RecordingRule)
LIBRARIES = ("mixin.libsonnet", "config.libsonnet", "alerts.libsonnet", "rules.libsonnet", "dashboards.libsonnet")
HEADER = "# Made by balance-gen from the metric catalog; edits are lost. To change it: the sources, then `balance-gen write`.\n"
_HOLE = "\x00"


def model(bundle: Bundle, settings: Settings) -> Json:
    """What the mixin needs to know: texts in pieces, to be joined by the selector (expressions) or by the threshold (words)."""
    scope = Scope(_HOLE, thresholds=settings.thresholds)
    thresholds = {threshold.name: number(scope.value(threshold)) for threshold in bundle.catalog.thresholds}
    default = bundle.catalog.name
    return {
        "config": {"selector": settings.selector, "thresholds": thresholds},
        "alerts": [
            {"name": name, "alerts": [_alert(alert, settings, scope) for alert in alerts]}
            for name, alerts in _by_group(bundle.alerts, default).items()
        ],
        "rules": [
            {"name": f"{name}.rules", "rules": [{"record": rule.record, "expr": _pieces(rule.expr, scope)} for rule in rules]}
            for name, rules in _by_group(bundle.recording_rules, default).items()
        ],
    }  # fmt: skip


def rule_file(evaluated: Json, *kinds: Kind) -> str:
    """A Prometheus rule file with the groups of the given kinds, in that order, out of the evaluated mixin."""
    groups = [group for kind in kinds for group in evaluated[kind]["groups"]]
    names = [group["name"] for group in groups]
    if len(set(names)) != len(names):
        raise RenderError(f"two rule groups have one name: {choices(names)}", cure="name the groups of alerts and recording rules differently")
    ordered = [{"name": group["name"], "rules": [_ordered(rule) for rule in group["rules"]]} for group in groups]
    return HEADER + dump({"groups": ordered})


def mixin(bundle: Bundle, settings: Settings, dashboards: dict[str, str]) -> list[Artifact]:
    """The mixin for others to import, with the model and the dashboards (file name -> JSON) that it reads."""
    imported = {name: json.loads(text) for name, text in dashboards.items()}
    return [
        *(Artifact(f"mixin/{name}", library(name)) for name in LIBRARIES),
        Artifact("mixin/model.json", json.dumps(model(bundle, settings), indent=2, ensure_ascii=False) + "\n"),
        Artifact("mixin/dashboards.json", json.dumps(imported, indent=2, ensure_ascii=False) + "\n"),
    ]


def evaluate(bundle: Bundle, settings: Settings) -> Json:
    """The mixin's `prometheusAlerts` and `prometheusRules` over our model. Raises `RenderError` with jsonnet's message."""
    import _jsonnet  # only for rules: dashboards do not pay for it

    exported = json.dumps(model(bundle, settings)).encode()

    def read(_directory: str, name: str) -> tuple[str, bytes]:
        return name, exported if name == "model.json" else library(name).encode()

    program = f"local mixin = import '{LIBRARIES[0]}'; {{ alerts: mixin.prometheusAlerts, rules: mixin.prometheusRules }}"
    try:
        text = _jsonnet.evaluate_snippet("balance", program, import_callback=read)
    except RuntimeError as error:
        raise RenderError(str(error).strip().splitlines()[0], where=LIBRARIES[0], cure="mend the mixin or the model it reads") from None
    result: Json = json.loads(text)
    return result


def library(name: str) -> str:
    """A file of the mixin, out of the installed package."""
    return files("rules_src").joinpath(name).read_text(encoding="utf-8")


def _by_group(items: Iterable[Item], default: str) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group or default, []).append(item)
    return groups


def _pieces(expr: Expr, scope: Scope, precedence: int = 0, *, right: bool = False) -> list[str]:
    return operand(expr, scope, precedence, right=right).split(_HOLE)


def _alert(alert: Alert, settings: Settings, scope: Scope) -> Json:
    condition = alert.condition
    chosen = settings.alert(alert.name)
    words = {"summary": alert.summary, "description": alert.description}
    return {
        "name": alert.name,
        "left": _pieces(condition.expr, scope, COMPARING),
        "operator": condition.operator,
        "threshold": condition.threshold.name,
        "missing": _pieces(condition.missing, scope, 0, right=True) if condition.missing else None,
        "for": duration(alert.wait if chosen.wait is None else chosen.wait),
        "keep_firing_for": duration(alert.keep_firing) if alert.keep_firing else None,
        "severity": chosen.severity or alert.severity,
        "annotations": {name: _words(template, alert).split(_HOLE) for name, template in words.items()},
    }


def _words(template: str, alert: Alert) -> str:
    unit = alert.condition.threshold.unit
    return template.replace("{value}", units.humanized("$value", unit)).replace("{threshold}", units.humanized(f'"{_HOLE}"', unit))


def _ordered(rule: Json) -> Json:
    """A rule's keys in the order that people write them; jsonnet sorts them."""
    return {key: rule[key] for key in ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations") if key in rule}


def dump(document: Json) -> str:
    """YAML as people write it: keys in the given order, nothing folded."""
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000)
    return text
