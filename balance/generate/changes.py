"""What has changed between two sides, in words of meaning, and whether it breaks anything.

*Breaking* is what makes a query, a link, a setting or somebody's habit stop working; *notable*, what makes people see or be told something
else; *harmless*, all the rest. What would break a metric that is declared experimental is notable only, and the removal of one that was
deprecated, after the version that was announced, is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, get_args

from balance.catalog.model import number, version
from balance.generate.semantic import Facts, Meaning, Token
from balance.promql.text import duration

Level = Literal["breaking", "notable", "harmless"]
LEVELS: tuple[Level, ...] = get_args(Level)
Told = Iterator[tuple[Level, str, str]]
"""Level, the fact that has changed, and words."""


@dataclass(frozen=True)
class Change:
    """One change: of what kind of thing, which one, which of its facts, in words."""

    level: Level
    kind: str
    name: str
    fact: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.words}"


def compare(old: Meaning, new: Meaning) -> list[Change]:
    """Everything that has changed in what both sides tell of, what breaks first."""
    found = []
    arrived: dict[str, str] = {}  # by what it asks, so that a new name for the same is seen
    for (kind, name), facts in new.things.items():
        if (kind, name) not in old.things:
            arrived.setdefault(_asked(kind, facts), name)
    arrived.pop("", None)
    for key in dict.fromkeys((*old.things, *new.things)):
        kind, name = key
        if kind not in old.kinds & new.kinds:
            continue
        before, after = old.things.get(key), new.things.get(key)
        if before is None:
            told: Told = iter([("harmless", "new", "is new")])
        elif after is None:
            told = _removed(kind, before, new.version, arrived.get(_asked(kind, before), ""))
        else:
            told = _changed(before, after)
        experimental = (before or {}).get("stability") == "experimental"
        found += [Change("notable" if experimental and level == "breaking" else level, kind, name, fact, words) for level, fact, words in told]
    return sorted(found, key=lambda change: LEVELS.index(change.level))


def verdict(changes: list[Change]) -> str:
    """The level of the change that matters most; "none" if there is no change."""
    return changes[0].level if changes else "none"


_REMOVED: dict[str, Level] = {"panel": "notable", "inhibition": "notable", "route": "notable"}
"""How grave it is that something is gone, if it is not breaking."""


def _removed(kind: str, before: Facts, now: str, renamed: str) -> Told:
    until = before.get("until")
    if until and version(now) <= version(until):
        yield "breaking", "removed", f"is removed in version {now}, and was promised until {until}"
    elif until:
        yield "harmless", "removed", f"is removed, as was announced in version {before['deprecated']}"
    else:
        yield _REMOVED.get(kind, "breaking"), "removed", f"is now called {renamed}" if renamed else "is removed"


def _asked(kind: str, facts: Facts) -> str:
    """What a thing says and asks, without its name; empty if that does not tell it from others."""
    asked = [facts.get(fact) for fact in ("expr", "queries", "channels", "help", "reason", "title")]
    return f"{kind} {asked}" if any(asked) else ""


def _changed(before: Facts, after: Facts) -> Told:
    for fact, tell in _FACTS.items():
        if fact in before and fact in after and before[fact] != after[fact]:
            for level, words in tell(before[fact], after[fact], after):
                yield level, fact, words


Words = Iterator[tuple[Level, str]]
Tell = Callable[[Any, Any, Facts], Words]


def _to(level: Level, what: str) -> Tell:
    """Says what it was and what it has become."""

    def tell(old: Any, new: Any, _: Facts) -> Words:
        yield level, f"{what} {_plain(old)} to {_plain(new)}"

    return tell


def _of_metric(what: str) -> Tell:
    """The same about a metric, whose queries it breaks, or about a panel, which looks otherwise."""

    def tell(old: Any, new: Any, facts: Facts) -> Words:
        return _to("notable" if "queries" in facts else "breaking", what)(old, new, facts)

    return tell


def _reworded(old: Any, new: Any, facts: Facts, what: str = "help") -> Words:
    yield "harmless", f"{what} reworded"


def _labels(old: dict[str, Any], new: dict[str, Any], facts: Facts) -> Words:
    """Labels of a metric, with their values or how many there may be."""
    for name in sorted(old.keys() - new.keys()):
        yield "breaking", f"lost label {name!r}"
    for name in sorted(new.keys() - old.keys()):
        yield "notable", f"has a new label {name!r}: what does not aggregate shows more series"
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


def _buckets(old: list[float], new: list[float], facts: Facts) -> Words:
    if lost := [bound for bound in old if bound not in new]:
        yield "breaking", f"lost the bucket bounds {_plain(lost)}"
    if gained := [bound for bound in new if bound not in old]:
        yield "notable", f"has the new bucket bounds {_plain(gained)}: quantiles become finer there"


def _stability(old: str, new: str, facts: Facts) -> Words:
    yield ("breaking" if old == "stable" else "harmless"), f"stability {old} to {new}"


def _deprecated(old: str, new: str, facts: Facts) -> Words:
    if facts.get("renamed"):
        return
    yield "notable", f"is deprecated since version {new}, and shown until version {facts['until']}" if new else "is deprecated no longer"


def _until(old: str, new: str, facts: Facts) -> Words:
    if old and new:
        yield ("breaking" if version(new) < version(old) else "harmless"), f"shown until version {old} to {new}"


def _renamed(old: str, new: str, facts: Facts) -> Words:
    if new:
        yield "notable", f"is renamed to {new}; both names are shown until version {facts['until']}"


def _value(old: tuple[float, str], new: tuple[float, str], facts: Facts) -> Words:
    level: Level = "notable" if old[1] == new[1] else "breaking"
    yield level, f"{_amount(number(old[0]), old[1])} to {_amount(number(new[0]), new[1])}"


def _objective(old: str, new: str, facts: Facts) -> Words:
    yield "notable", f"objective {_percent(old)} to {_percent(new)}"


def _expression(old: tuple[Token, ...], new: tuple[Token, ...], facts: Facts) -> Words:
    """If only figures or signs differ, those; else that it asks for something else."""
    differing = [(a, b, index) for index, (a, b) in enumerate(zip_longest(old, new)) if not (a and b and a.text == b.text)]
    if len(old) != len(new) or any(a.kind != b.kind or a.kind in ("word", "other") for a, b, _ in differing):
        metrics = [{token.text for token in side if token.kind == "word"} for side in (old, new)]
        lost, gained = sorted(metrics[0] - metrics[1]), sorted(metrics[1] - metrics[0])
        words = ", ".join([*(f"without {name}" for name in lost), *(f"with {name}" for name in gained)])
        yield "notable", f"asks for something else{f' ({words})' if words else ''}"
        return
    said = dict.fromkeys(f"{_what(old, index)} {_written(a)} to {_written(b)}" for a, b, index in differing)
    for words in said:
        yield "notable", words


def _what(expression: tuple[Token, ...], index: int) -> str:
    """What a figure or a sign of an expression is."""
    token, before = expression[index], expression[index - 1] if index else None
    if token.kind == "duration":
        return "window" if before and before.text == "[" else "offset"
    if token.kind == "number":
        compared = before is not None and before.kind == "operator"
        return "threshold" if compared or token.unit else "number"
    return "matched value" if token.kind == "string" else token.kind


def _written(token: Token) -> str:
    return _amount(token.text, token.unit)


def _queries(old: list[tuple[Token, ...]], new: list[tuple[Token, ...]], facts: Facts) -> Words:
    if len(old) != len(new):
        yield "notable", f"has {len(new)} queries instead of {len(old)}"
        return
    for before, after in zip(old, new, strict=True):
        if before != after:
            for level, words in _expression(before, after, facts):
                yield level, f"query: {words}"


def _rule_labels(old: dict[str, str], new: dict[str, str], facts: Facts) -> Words:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield "notable", f"{name} {old.get(name, 'none')} to {new.get(name, 'none')}"


def _either_labels(old: dict[str, Any], new: dict[str, Any], facts: Facts) -> Words:
    return (_rule_labels if "expr" in facts else _labels)(old, new, facts)


def _annotations(old: dict[str, str], new: dict[str, str], facts: Facts) -> Words:
    for name in sorted(old.keys() | new.keys()):
        before, after = (_without_figures(side.get(name, "")) for side in (old, new))
        if before != after:
            yield "harmless", f"{name} reworded" if before and after else f"{name} {'gone' if before else 'new'}"


def _without_figures(template: str) -> str:
    """An annotation without the threshold that it tells: that it differs is said already."""
    return re.sub(r'\{\{ "[^"]*" \|', "{{ … |", template)


def _channels(old: dict[str, list[str]], new: dict[str, list[str]], facts: Facts) -> Words:
    for kind in sorted(old.keys() | new.keys()):
        if kind not in new:
            yield "breaking", f"is told by {kind} no longer"
        elif kind not in old:
            yield "notable", f"is told by {kind} too"
        elif old[kind] != new[kind]:
            yield "notable", f"{kind} is set up otherwise"


def _lines(old: list[float], new: list[float], facts: Facts) -> Words:
    unit = {"percentunit": "ratio", "s": "seconds", "bytes": "bytes"}.get(facts["unit"], "")
    before, after = (", ".join(_amount(number(line), unit) for line in side) or "none" for side in (old, new))
    yield "notable", f"threshold line {before} to {after}"


def _target(old: str, new: str, facts: Facts) -> Words:
    """Which alerts an inhibition silences: of a list of names, those that are in one of the two only."""
    before, after = (set(re.findall(r"[^|\"]+", side)) for side in (old, new))
    for names, words in ((before - after, "silences no longer"), (after - before, "also silences")):
        if names:
            yield "notable", f"{words} {', '.join(sorted(names))}"


_FACTS: dict[str, Tell] = {
    "renamed": _renamed,
    "type": _of_metric("type"),
    "unit": _of_metric("unit"),
    "labels": _either_labels,
    "buckets": _buckets,
    "stability": _stability,
    "deprecated": _deprecated,
    "until": _until,
    "merge": _to("notable", "merge of workers"),
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
    "times": lambda old, new, facts: iter([("notable", "is at other times")]),
}
"""What a change of each fact means."""


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return number(value) if isinstance(value, float) else "none" if value is None else str(value)


def _amount(text: str, unit: str) -> str:
    """A number as people say it in its unit: 5 %, 1m30s, 512 MiB."""
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
