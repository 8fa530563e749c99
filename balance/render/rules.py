"""Alerts and recording rules, out of the jsonnet mixin: the only module that uses `_jsonnet`.

Python exports a JSON model in which every expression and every annotation has places left open, for the selector, the thresholds, the
addresses; the mixin fills them in. So the program that mixin users evaluate with their own `_config` is the one that makes
our own YAML, and the two cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeVar

import yaml

from balance.catalog.model import Threshold
from balance.errors import RenderError, choices
from balance.monitoring.alerts import Alert, RecordingRule
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Ruler, Settings
from balance.promql.selectors import RATE_WINDOW, Expr
from balance.promql.text import Scope, duration, text
from balance.render import units
from balance.render.artifact import Artifact
from balance.render.urls import panel_url

Json = dict[str, Any]
Kind = Literal["rules", "alerts"]
Item = TypeVar("Item", Alert, RecordingRule)
LIBRARIES = ("mixin.libsonnet", "config.libsonnet", "alerts.libsonnet", "rules.libsonnet", "dashboards.libsonnet", "jsonnetfile.json")
FOLDER, ALERTS, RECORDING = "prometheus/rules", "alerts.yaml", "recording.yaml"
HEADER = "# Made by balance-gen from the metric catalog; edits are lost. To change it: the sources, then `balance-gen write`.\n"
_HOLE = "\x00"


@dataclass(frozen=True)
class _Open(Scope):
    """Leaves open what users of the mixin choose: a name between two holes stands for each."""

    def written(self, threshold: Threshold) -> str:
        return _open(threshold.name)


def _open(name: str) -> str:
    return f"{_HOLE}{name}{_HOLE}"


def _left_open(settings: Settings) -> Scope:
    return _Open(_open("$selector"), settings.scope.rate_window, keep=_open("$keep"), recorded=_open("$recorded"))


def model(bundle: Bundle, settings: Settings) -> Json:
    """What the mixin needs to know. A text with something left open is a list of pairs: a piece of text, and the name of what follows it."""
    scope = _left_open(settings)
    default = bundle.catalog.name
    panels = plotted(bundle)
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
            {"name": name, "alerts": [_alert(alert, panels.get(alert.condition.expr), settings) for alert in alerts]}
            for name, alerts in _by_group(bundle.alerts, default).items()
        ],
        "rules": [
            {"name": f"{name}.rules", "rules": [{"record": _record(rule, settings), "expr": _pairs(text(rule.expr, scope))} for rule in rules]}
            for name, rules in _by_group(bundle.recording_rules, default).items()
        ],
    }  # fmt: skip


def rule_files(bundle: Bundle, evaluated: Json, ruler: Ruler, namespace: str) -> list[Artifact]:
    """The rules as Prometheus loads them: a file for the alerts, one for the recording rules, and one for each group that is named otherwise."""
    groups = (*(rule.group for rule in bundle.recording_rules), *(alert.group for alert in bundle.alerts))
    own = dict.fromkeys(group for group in groups if group)
    plain = bundle.catalog.name
    files: tuple[tuple[str, tuple[Kind, ...], str], ...] = (
        (ALERTS, ("alerts",), plain),
        (RECORDING, ("rules",), plain),
        *((f"{name}.yaml", ("rules", "alerts"), name) for name in own),
    )
    return [Artifact(f"{FOLDER}/{file}", rule_file(evaluated, *kinds, only=only, ruler=ruler, namespace=namespace)) for file, kinds, only in files]


def groups(evaluated: Json, *kinds: Kind, only: str = "") -> list[Json]:
    """The rule groups of the given kinds, in that order, out of the evaluated mixin; or `only` those of that name. Raises `RenderError` if
    two have one name.
    """
    found = [group for kind in kinds for group in evaluated[kind]["groups"] if only in ("", group["name"].removesuffix(".rules"))]
    names = [group["name"] for group in found]
    if len(set(names)) != len(names):
        raise RenderError(f"two rule groups have one name: {choices(names)}", cure="name the groups of alerts and recording rules differently")
    return [{"name": group["name"], "rules": [_ordered(rule) for rule in group["rules"]]} for group in found]


def rule_file(evaluated: Json, *kinds: Kind, only: str = "", ruler: Ruler = Ruler(), namespace: str = "") -> str:  # noqa: B008 (immutable)
    """A rule file with the groups of the given kinds, or `only` those of that name, as the program wants it that evaluates the rules."""
    wanted = groups(evaluated, *kinds, only=only)
    for rule in (rule for group in wanted for rule in group["rules"]):
        for key in ruler.unknown:
            rule.pop(key, None)
    return HEADER + dump({**({"namespace": namespace} if ruler.namespaced else {}), "groups": wanted})


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
    return files(__package__).joinpath("mixin", name).read_text(encoding="utf-8")


def _by_group(items: Iterable[Item], default: str) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group or default, []).append(item)
    return groups


def places(bundle: Bundle, settings: Settings) -> dict[str, str]:
    """What the mixin puts into the places that are left open, by name, if nobody overrides it."""
    return {
        "$selector": settings.selector,
        "$recorded": settings.recorded_selector,
        "$keep": settings.keep,
        "$runbook_base": settings.runbook_base,
        "$grafana_url": settings.grafana_url,
        **{threshold.name: settings.scope.written(threshold) for threshold in bundle.declared_thresholds},
    }


def filled(text: str, places: dict[str, str]) -> str:
    """A text with something in the places that were left open."""
    return "".join(places[piece] if index % 2 else piece for index, piece in enumerate(text.split(_HOLE)))


def _pairs(text: str) -> list[list[str]]:
    pieces = [*text.split(_HOLE), ""]
    return [pieces[at : at + 2] for at in range(0, len(pieces), 2)]


def plotted(bundle: Bundle) -> dict[Expr, str]:
    """Where each expression is plotted, below the address of the Grafana."""
    return {expr: panel_url(dashboard, panel.title) for expr, (dashboard, panel) in bundle.plots().items()}


def _record(rule: RecordingRule, settings: Settings) -> str:
    """The name of a recording rule, which tells the window of its rates: also the one that the settings choose."""
    level, metric, operation = rule.record.split(":")
    if settings.rate_window and any(window.adaptive for window in rule.expr.windows()):
        operation = operation.replace(duration(RATE_WINDOW.seconds), duration(settings.rate_window))
    return f"{level}:{metric}:{operation}"


def _alert(alert: Alert, panel: str | None, settings: Settings) -> Json:
    return {
        "name": alert.name,
        "expr": _pairs(text(alert.condition.whole, _left_open(settings))),
        "for": duration(alert.wait),
        "keep_firing_for": duration(alert.keep_firing) if alert.keep_firing else None,
        "severity": alert.severity,
        "annotations": {name: _pairs(words) for name, words in templates(alert, panel, settings).items()},
    }


def templates(alert: Alert, panel: str | None, settings: Settings) -> dict[str, str]:
    """The templates of an alert's annotations, with places left open. `panel` is where its condition is plotted."""
    return {
        "summary": _words(alert.summary, alert, settings),
        "description": _words(alert.description, alert, settings),
        "runbook_url": f"{_open('$runbook_base')}/{alert.name}.md",
        **({"dashboard_url": _open("$grafana_url") + panel} if panel else {}),
    }


def _words(template: str, alert: Alert, settings: Settings) -> str:
    threshold = alert.condition.threshold
    words = template.replace("{window}", duration(settings.rate_window or RATE_WINDOW.seconds))
    words = words.replace("{value}", units.humanized("$value", threshold.unit))
    return words.replace("{threshold}", units.humanized(f'"{_open(threshold.name)}"', threshold.unit))


def _ordered(rule: Json) -> Json:
    """A rule's keys in the order that people write them; jsonnet sorts them."""
    return {key: rule[key] for key in ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations") if key in rule}


def dump(document: Json) -> str:
    """YAML as people write it: keys in the given order, nothing folded."""
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000)
    return text
