"""Extract what generated files mean: metrics, alerts, panels, receivers and so on, with the facts about each.

Files are recognised by their content, so a generated directory, a single file and hand-written rules can all be read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from balance.errors import BalanceError
from balance.generate.store import MARKER
from balance.render import model

Json = Any
Key = tuple[str, str]
"""Kind and name of a thing."""
Facts = dict[str, Any]
"""What is known about a thing, by the name of the fact."""

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+)
      | (?P<number>[0-9][0-9.]*(?:e[-+]?[0-9]+)?)
      | (?P<word>\$?[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<operator>=~|!~|==|!=|>=|<=|[<>])
      | (?P<other>\S)""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A token of an expression: its kind and text, and the unit if it is a threshold."""

    kind: str
    text: str
    unit: str = ""


class Semantics(NamedTuple):
    """All things of one state. `kinds` are the kinds that its files describe; nothing is known of the others."""

    things: dict[Key, Facts]
    kinds: set[str]
    version: str = "0"


def extract(files: Mapping[str, str]) -> Semantics:
    """Extract the things that files (path -> text) describe. Raises `BalanceError` if one of them cannot be parsed."""
    found = [(path, part) for path, text in sorted(files.items()) for part in _parsed(path, text)]
    found.sort(key=lambda item: list(_READERS).index(item[1][0]))
    catalogs = [document for _, (kind, document) in found if kind == "catalog"]
    units = {threshold["name"]: threshold["unit"] for catalog in catalogs for threshold in catalog["thresholds"]}
    things: dict[Key, Facts] = {}
    kinds: set[str] = set()
    for path, (kind, document) in found:  # a later kind of file knows more about the same thing
        described, reader = _READERS[kind]
        kinds.update(described)
        try:
            for key, facts in reader(document, units):
                things.setdefault(key, {}).update(facts)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError):
            raise BalanceError(f"unexpected structure of a {kind}", where=path, cure=f"give a valid {kind}") from None
    if MARKER in files:  # a complete directory: whatever is missing does not exist
        kinds = {kind for described, _ in _READERS.values() for kind in described}
    return Semantics(things, kinds, next((catalog["version"] for catalog in catalogs if "version" in catalog), "0"))


def _parsed(path: str, text: str) -> Iterator[tuple[str, Json]]:
    """The kind of a file and its content; nothing for a file of another kind."""
    required: tuple[tuple[str, set[str]], ...]
    if path.endswith(".json"):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BalanceError(f"invalid JSON: {error}", where=path, cure="fix the file") from None
        required = (("catalog", {"metrics", "thresholds"}), ("model", {"config", "alerts", "rules"}), ("dashboard", {"panels", "title"}))
    elif path.endswith((".yaml", ".yml")) and re.search(r"^(groups|route):", text, re.MULTILINE):
        import yaml

        try:
            document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise BalanceError(f"invalid YAML: {str(error).splitlines()[0]}", where=path, cure="fix the file") from None
        required = (("rule file", {"groups"}), ("Alertmanager configuration", {"route", "receivers"}))
    else:
        return
    if isinstance(document, dict):
        yield from ((kind, document) for kind, keys in required if keys <= document.keys())


def tokens(expression: str) -> tuple[Token, ...]:
    """The tokens of an expression."""
    return tuple(Token(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(expression))


def _catalog(document: Json, _: Mapping[str, str]) -> Iterator[tuple[Key, Facts]]:
    for metric in document["metrics"]:
        facts = {
            "type": metric["kind"],
            "unit": metric["unit"],
            "labels": {label["name"]: label.get("values") or label["bound"] for label in metric["labels"]},
            "buckets": metric.get("buckets", []),
            "merge": metric["merge"],
            "stability": metric.get("stability", "stable"),
            "deprecated": metric.get("deprecated_since", ""),
            "until": metric.get("remove_after", ""),
            "renamed": "",
            "help": metric["help"],
        }
        if former := metric.get("renamed_from"):
            yield ("metric", former), {**facts, "renamed": metric["name"]}
            facts |= {"deprecated": "", "until": ""}
        yield ("metric", metric["name"]), facts
    for threshold in document["thresholds"]:
        yield ("threshold", threshold["name"]), {**threshold, "value": (threshold["value"], threshold["unit"])}
    for slo in document.get("objectives") or ():
        yield ("objective", slo["name"]), slo


def _model(document: Json, units: Mapping[str, str]) -> Iterator[tuple[Key, Facts]]:
    """The alerts of the mixin's model, which knows the thresholds by name."""
    values, thresholds = model.values(document["config"]), document["config"]["thresholds"]

    def expression(template: model.Template) -> Iterator[Token]:
        text = ""
        for piece, name in template:
            text += piece
            if name in thresholds:
                yield from tokens(text)
                yield Token("number", thresholds[name], units.get(name, "ratio" if units else ""))  # those that follow from objectives are ratios
                text = ""
            else:
                text += values[name]
        yield from tokens(text)

    for group in document["alerts"]:
        for alert in group["alerts"]:
            waits = {"for": alert["for"], "keep_firing_for": alert["keep_firing_for"] or "0s"}
            yield ("alert", alert["name"]), {**waits, "labels": {"severity": alert["severity"]}, "expr": tuple(expression(alert["expr"]))}


class _Names:
    """Unique names for things of the same name, which hand-written files may have: the second becomes "NAME (2)"."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, name: str) -> str:
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name} ({self._seen[name]})"


def _rules(document: Json, _: Mapping[str, str]) -> Iterator[tuple[Key, Facts]]:
    records, alerts = _Names(), _Names()
    for rule in (rule for group in document["groups"] or () for rule in group["rules"] or ()):
        facts: Facts = {"expr": tokens(str(rule["expr"])), "labels": rule.get("labels") or {}}
        if "record" in rule:
            yield ("recording rule", records(rule["record"])), facts
            continue
        waits = {name: str(rule.get(name, "0s")) for name in ("for", "keep_firing_for")}
        yield ("alert", alerts(rule["alert"])), {**facts, **waits, "annotations": rule.get("annotations") or {}}


def _dashboard(document: Json, _: Mapping[str, str]) -> Iterator[tuple[Key, Facts]]:
    title = document["title"]
    uid = document.get("uid") or title
    variables = (document.get("templating") or {}).get("list") or ()
    yield ("dashboard", uid), {"title": title, "variables": [variable["name"] for variable in variables]}
    names = _Names()
    panels = list(document["panels"])
    for panel in panels:
        panels += panel.get("panels") or ()  # panels in a collapsed row
        if panel.get("type") == "row":
            continue
        targets = panel.get("targets") or ()
        defaults = (panel.get("fieldConfig") or {}).get("defaults") or {}
        steps = (defaults.get("thresholds") or {}).get("steps") or ()
        facts = {
            "queries": [tokens(str(target.get("expr", ""))) for target in targets],
            "legends": [target.get("legendFormat", "") for target in targets],
            "lines": [value for step in steps if (value := step.get("value")) is not None],
            "type": panel.get("type", ""),
            "unit": defaults.get("unit", ""),
            "description": panel.get("description", ""),
        }
        yield ("panel", names(f"{title} / {panel.get('title') or 'untitled'}")), facts


def _alertmanager(document: Json, _: Mapping[str, str]) -> Iterator[tuple[Key, Facts]]:
    for receiver in document["receivers"]:
        channels = {
            kind.removesuffix("_configs"): [json.dumps(way, sort_keys=True) for way in ways] for kind, ways in receiver.items() if kind != "name"
        }
        yield ("receiver", receiver["name"]), {"channels": channels}
    yield from _routes(document["route"], "")
    for key in ("time_intervals", "mute_time_intervals"):
        for times in document.get(key) or ():
            yield ("mute time", times["name"]), {"times": json.dumps(times, sort_keys=True)}
    for rule in document.get("inhibit_rules") or ():
        source, target = (", ".join(rule.get(f"{side}_matchers", ())) for side in ("source", "target"))
        yield ("inhibition", f"by {source}{f' (equal: {equal})' if (equal := ', '.join(rule.get('equal', ()))) else ''}"), {"target": target}


_ROUTE = (
    "receiver", "group_by", "group_wait", "group_interval", "repeat_interval", "continue", "mute_time_intervals", "active_time_intervals",
)  # fmt: skip


def _routes(route: Json, above: str) -> Iterator[tuple[Key, Facts]]:
    name = " / ".join(filter(None, (above, ", ".join(route.get("matchers", ())))))
    yield ("route", name or "default"), {key: route.get(key) for key in _ROUTE}
    for below in route.get("routes", ()):
        yield from _routes(below, name)


_READERS: dict[str, tuple[tuple[str, ...], Callable[[Json, Mapping[str, str]], Iterator[tuple[Key, Facts]]]]] = {
    "catalog": (("metric", "threshold", "objective"), _catalog),
    "rule file": (("alert", "recording rule"), _rules),
    "model": (("alert",), _model),
    "dashboard": (("dashboard", "panel"), _dashboard),
    "Alertmanager configuration": (("receiver", "route", "inhibition", "mute time"), _alertmanager),
}
"""By kind of file: the kinds of things that it describes, and the function that reads them."""
