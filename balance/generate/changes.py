"""Describe what changed between two states of the generated files, and whether it breaks anything.

A *breaking* change makes a query, a link, a setting or a habit stop working. A *notable* one changes what people see or are notified of.
All others are *harmless*. A breaking change of an experimental metric is only notable, and the removal of a deprecated metric after its
announced version is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, get_args

from balance.catalog.model import number, version
from balance.generate.semantic import Facts, Semantics, Token
from balance.promql.text import duration

Level = Literal["breaking", "notable", "harmless"]
LEVELS: tuple[Level, ...] = get_args(Level)
FactChanges = Iterator[tuple[Level, str, str]]
"""Level, name of the changed fact, and description."""


@dataclass(frozen=True)
class SemanticChange:
    """One change: kind and name of the thing, the fact that changed, and a description."""

    level: Level
    kind: str
    name: str
    fact: str
    description: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.description}"


def compare(old: Semantics, new: Semantics) -> list[SemanticChange]:
    """All changes of the kinds of things that both states describe, breaking ones first."""
    found = []
    arrived: dict[str, str] = {}  # new names by content, to recognise a renamed thing
    for (kind, name), facts in new.things.items():
        if (kind, name) not in old.things:
            arrived.setdefault(_content(kind, facts), name)
    arrived.pop("", None)
    for key in dict.fromkeys((*old.things, *new.things)):
        kind, name = key
        if kind not in old.kinds & new.kinds:
            continue
        before, after = old.things.get(key), new.things.get(key)
        if before is None:
            described: FactChanges = iter([("harmless", "new", "is new")])
        elif after is None:
            described = _removed(kind, before, new.version, arrived.get(_content(kind, before), ""))
        else:
            described = _changed(before, after)
        experimental = (before or {}).get("stability") == "experimental"
        found += [
            SemanticChange("notable" if experimental and level == "breaking" else level, kind, name, fact, description)
            for level, fact, description in described
        ]
    return sorted(found, key=lambda change: LEVELS.index(change.level))


def verdict(changes: list[SemanticChange]) -> str:
    """The worst level; "none" if there is no change."""
    return changes[0].level if changes else "none"


_REMOVED: dict[str, Level] = {"panel": "notable", "inhibition": "notable", "route": "notable"}
"""Kinds of things whose removal is not breaking."""


def _removed(kind: str, before: Facts, now: str, renamed: str) -> FactChanges:
    until = before.get("until")
    if until and version(now) <= version(until):
        yield "breaking", "removed", f"is removed in version {now}, but was announced to stay until {until}"
    elif until:
        yield "harmless", "removed", f"is removed, as announced in version {before['deprecated']}"
    else:
        yield _REMOVED.get(kind, "breaking"), "removed", f"is now called {renamed}" if renamed else "is removed"


def _content(kind: str, facts: Facts) -> str:
    """The content of a thing without its name; empty if it has none."""
    content = [facts.get(fact) for fact in ("expr", "queries", "channels", "help", "reason", "title")]
    return f"{kind} {content}" if any(content) else ""


def _changed(before: Facts, after: Facts) -> FactChanges:
    for fact, describe in _FACTS.items():
        if fact in before and fact in after and before[fact] != after[fact]:
            for level, description in describe(before[fact], after[fact], after):
                yield level, fact, description


Descriptions = Iterator[tuple[Level, str]]
Describe = Callable[[Any, Any, Facts], Descriptions]
"""From the old and the new value of a fact, and all new facts of its thing."""


def _to(level: Level, what: str) -> Describe:
    """Describe a fact by its old and new value."""

    def describe(old: Any, new: Any, _: Facts) -> Descriptions:
        yield level, f"{what} {_plain(old)} to {_plain(new)}"

    return describe


def _of_metric(what: str) -> Describe:
    """Describe a fact in the same way: breaking for a metric, notable for a panel."""

    def describe(old: Any, new: Any, facts: Facts) -> Descriptions:
        return _to("notable" if "queries" in facts else "breaking", what)(old, new, facts)

    return describe


def _reworded(old: Any, new: Any, facts: Facts, what: str = "help") -> Descriptions:
    yield "harmless", f"{what} reworded"


def _labels(old: dict[str, Any], new: dict[str, Any], facts: Facts) -> Descriptions:
    """Labels of a metric, with their values or the maximum number of values."""
    for name in sorted(old.keys() - new.keys()):
        yield "breaking", f"lost label {name!r}"
    for name in sorted(new.keys() - old.keys()):
        yield "notable", f"has a new label {name!r}: queries without aggregation return more series"
    for name in sorted(old.keys() & new.keys()):
        before, after = old[name], new[name]
        if isinstance(before, list) and isinstance(after, list):
            if lost := [value for value in before if value not in after]:
                yield "breaking", f"label {name!r} lost {'the value' if len(lost) == 1 else 'the values'} {_plain(lost)}"
            if gained := [value for value in after if value not in before]:
                yield "harmless", f"label {name!r} can also be {_plain(gained)}"
        elif before != after:
            words = [f"{len(side)} known values" if isinstance(side, list) else f"any of at most {side}" for side in (before, after)]
            yield "notable", f"label {name!r}: {words[0]} to {words[1]}"


def _buckets(old: list[float], new: list[float], facts: Facts) -> Descriptions:
    if lost := [bound for bound in old if bound not in new]:
        yield "breaking", f"lost the bucket bounds {_plain(lost)}"
    if gained := [bound for bound in new if bound not in old]:
        yield "notable", f"has the new bucket bounds {_plain(gained)}: quantiles are more precise there"


def _stability(old: str, new: str, facts: Facts) -> Descriptions:
    yield ("breaking" if old == "stable" else "harmless"), f"stability {old} to {new}"


def _deprecated(old: str, new: str, facts: Facts) -> Descriptions:
    if facts.get("renamed"):
        return
    yield "notable", f"is deprecated since version {new}, and shown until version {facts['until']}" if new else "is no longer deprecated"


def _until(old: str, new: str, facts: Facts) -> Descriptions:
    if old and new:
        yield ("breaking" if version(new) < version(old) else "harmless"), f"shown until version {old} to {new}"


def _renamed(old: str, new: str, facts: Facts) -> Descriptions:
    if new:
        yield "notable", f"is renamed to {new}; both names are shown until version {facts['until']}"


def _value(old: tuple[float, str], new: tuple[float, str], facts: Facts) -> Descriptions:
    level: Level = "notable" if old[1] == new[1] else "breaking"
    yield level, f"{_amount(number(old[0]), old[1])} to {_amount(number(new[0]), new[1])}"


def _objective(old: str, new: str, facts: Facts) -> Descriptions:
    yield "notable", f"objective {_percent(old)} to {_percent(new)}"


def _expression(old: tuple[Token, ...], new: tuple[Token, ...], facts: Facts) -> Descriptions:
    """The numbers and operators that differ; if more does, only that the expression changed."""
    differing = [(a, b, index) for index, (a, b) in enumerate(zip_longest(old, new)) if not (a and b and a.text == b.text)]
    if len(old) != len(new) or any(a.kind != b.kind or a.kind in ("word", "other") for a, b, _ in differing):
        metrics = [{token.text for token in side if token.kind == "word"} for side in (old, new)]
        lost, gained = sorted(metrics[0] - metrics[1]), sorted(metrics[1] - metrics[0])
        words = ", ".join([*(f"without {name}" for name in lost), *(f"with {name}" for name in gained)])
        yield "notable", f"expression changed{f' ({words})' if words else ''}"
        return
    differences = dict.fromkeys(f"{_role(old, index)} {_written(a)} to {_written(b)}" for a, b, index in differing)
    for words in differences:
        yield "notable", words


def _role(expression: tuple[Token, ...], index: int) -> str:
    """The role of a token in its expression, such as window or threshold."""
    token, before = expression[index], expression[index - 1] if index else None
    if token.kind == "duration":
        return "window" if before and before.text == "[" else "offset"
    if token.kind == "number":
        compared = before is not None and before.kind == "operator"
        return "threshold" if compared or token.unit else "number"
    return "matched value" if token.kind == "string" else token.kind


def _written(token: Token) -> str:
    return _amount(token.text, token.unit)


def _queries(old: list[tuple[Token, ...]], new: list[tuple[Token, ...]], facts: Facts) -> Descriptions:
    if len(old) != len(new):
        yield "notable", f"has {len(new)} queries instead of {len(old)}"
        return
    for before, after in zip(old, new, strict=True):
        if before != after:
            for level, words in _expression(before, after, facts):
                yield level, f"query: {words}"


def _rule_labels(old: dict[str, str], new: dict[str, str], facts: Facts) -> Descriptions:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield "notable", f"{name} {old.get(name, 'none')} to {new.get(name, 'none')}"


def _either_labels(old: dict[str, Any], new: dict[str, Any], facts: Facts) -> Descriptions:
    return (_rule_labels if "expr" in facts else _labels)(old, new, facts)


def _annotations(old: dict[str, str], new: dict[str, str], facts: Facts) -> Descriptions:
    for name in sorted(old.keys() | new.keys()):
        before, after = (_without_figures(side.get(name, "")) for side in (old, new))
        if before != after:
            yield "harmless", f"{name} reworded" if before and after else f"{name} {'removed' if before else 'added'}"


def _without_figures(template: str) -> str:
    """An annotation without the value of its threshold, whose change is described elsewhere."""
    return re.sub(r'\{\{ "[^"]*" \|', "{{ … |", template)


def _channels(old: dict[str, list[str]], new: dict[str, list[str]], facts: Facts) -> Descriptions:
    for kind in sorted(old.keys() | new.keys()):
        if kind not in new:
            yield "breaking", f"no longer notifies by {kind}"
        elif kind not in old:
            yield "notable", f"also notifies by {kind}"
        elif old[kind] != new[kind]:
            yield "notable", f"configuration of {kind} changed"


def _lines(old: list[float], new: list[float], facts: Facts) -> Descriptions:
    unit = {"percentunit": "ratio", "s": "seconds", "bytes": "bytes"}.get(facts["unit"], "")
    before, after = (", ".join(_amount(number(line), unit) for line in side) or "none" for side in (old, new))
    yield "notable", f"threshold line {before} to {after}"


def _target(old: str, new: str, facts: Facts) -> Descriptions:
    """The alerts that an inhibition silences: the names that are only in one of the two lists."""
    before, after = (set(re.findall(r"[^|\"]+", side)) for side in (old, new))
    for names, words in ((before - after, "no longer silences"), (after - before, "also silences")):
        if names:
            yield "notable", f"{words} {', '.join(sorted(names))}"


_FACTS: dict[str, Describe] = {
    "renamed": _renamed,
    "type": _of_metric("type"),
    "unit": _of_metric("unit"),
    "labels": _either_labels,
    "buckets": _buckets,
    "stability": _stability,
    "deprecated": _deprecated,
    "until": _until,
    "merge": _to("notable", "merge across workers"),
    "help": _reworded,
    "value": _value,
    "reason": lambda old, new, facts: _reworded(old, new, facts, "reason"),
    "objective": _objective,
    "days": _to("notable", "days"),
    "expr": _expression,
    "for": _to("notable", "for"),
    "keep_firing_for": _to("notable", "keep_firing_for"),
    "annotations": _annotations,
    "title": _to("harmless", "title"),
    "variables": _to("notable", "variables"),
    "queries": _queries,
    "lines": _lines,
    "legends": _to("harmless", "legends"),
    "description": lambda old, new, facts: _reworded(old, new, facts, "description"),
    "channels": _channels,
    "receiver": _to("notable", "receiver"),
    "group_by": _to("notable", "grouped by"),
    "group_wait": _to("notable", "group_wait"),
    "group_interval": _to("notable", "group_interval"),
    "repeat_interval": _to("notable", "repeat_interval"),
    "continue": _to("notable", "continue"),
    "mute_time_intervals": _to("notable", "mute times"),
    "active_time_intervals": _to("notable", "active times"),
    "target": _target,
    "times": lambda old, new, facts: iter([("notable", "times changed")]),
}
"""How to describe a change of each fact."""


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return number(value) if isinstance(value, float) else "none" if value is None else str(value)


def _amount(text: str, unit: str) -> str:
    """A number with its unit: 5 %, 1m30s, 512 MiB."""
    try:
        value = float(text)
    except ValueError:
        return text
    if unit == "ratio":
        return _percent(text)
    if unit == "seconds":
        return duration(int(value)) if value == int(value) and value >= 1 else f"{text} s"
    if unit == "bytes":
        for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
            if value >= 1024**power and (value / 1024**power * 8).is_integer():
                return f"{value / 1024**power:g} {name}"
    return text if unit in ("", "state") else f"{text} {unit}"


def _percent(text: str) -> str:
    return f"{round(float(text) * 100, 9):g} %"
