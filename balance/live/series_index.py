"""Which series exist: as scrapes show them, as a Prometheus has them, or as a catalog declares them.

A scrape shows what a service exposes now: not the labels that Prometheus adds, and no series that will first appear when something happens. So
a name or label that is missing stays missing, but a missing value may still appear. Only where a set of values is closed (by a catalog, a state
set, the bounds of a histogram) is a value outside of it wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from balance.errors import BalanceError, choices, few
from balance.live.audited_query import UNKNOWN, UNKNOWN_NAME
from balance.live.liveness import LIVE, Assessment, Liveness, cannot_tell, dead
from balance.live.matchers import LabelMatcher, same_number, written
from balance.live.nearest import NearestName
from balance.live.scrape import SUFFIXES

MADE_BY_PROMETHEUS = frozenset((
    "up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added",
    "scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes", "ALERTS", "ALERTS_FOR_STATE",
))  # fmt: skip
"""Series that no scrape shows and every Prometheus has."""
TARGET_LABELS = ("job", "instance")
_OFTEN_ADDED = re.compile(
    r"(namespace|pod|container|node|service|endpoint|cluster|env|environment|region|zone|az|dc|datacenter|host|hostname|host_name|replica|tenant|team"
    r"|app|application|component|deployment|release|stage|stack|site|rack|prometheus|prometheus_replica|monitor|receive|server|nodename|chart"
    r"|(app_)?kubernetes_.*|k8s_.*|exported_.*|__.*|metrics_path|group|project|account|cloud_.*)"
)
"""Labels that Prometheus' configuration often adds to what a service shows."""


class SeriesIndex:
    """The known series by name, and what they say about a selector.

    `source` names them in messages. `complete`: the labels that Prometheus adds are among theirs. `joint`: the labels of a series are those of a
    real one, not each by itself a possible value. `elsewhere`: regular expressions of names that others expose.
    """

    def __init__(self, source: str, *, complete: bool = False, joint: bool = True, elsewhere: Iterable[str] = ()) -> None:
        self.source, self.complete, self.joint = source, complete, joint
        self.series: dict[str, list[dict[str, str]]] = {}
        self.families: dict[str, str] = {}
        """The type of each family."""
        self.owner: dict[str, str] = {}
        """The family of each series name."""
        self.closed: dict[str, set[str]] = {}
        """By series name: the labels whose values are all known."""
        self.open: dict[str, tuple[str, ...]] = {}
        """By series name: the labels it is declared with, where no series need be known."""
        self.used: set[str] = set()
        """Families that a selector has asked for."""
        self.recorded: Collection[str] = ()
        """Names that recording rules of the audited files record."""
        self._elsewhere = [_pattern(pattern) for pattern in elsewhere]
        self._nearest: NearestName | None = None
        self._found: dict[tuple[str, tuple[LabelMatcher, ...]], Assessment] = {}

    def add(self, name: str, family: str, kind: str, closed: Iterable[str] = ()) -> list[dict[str, str]]:
        """Make a name known, of a family and a type (`kind`), and return the list of its series, to be filled by the caller."""
        self.families[family] = kind
        self.owner[name] = family
        self.closed.setdefault(name, set()).update(closed)
        return self.series.setdefault(name, [])

    def kind(self, name: str) -> str:
        """The type of the family that a series belongs to; empty if unknown."""
        return self.families.get(self.owner.get(name, ""), "")

    def labels(self, name: str) -> frozenset[str] | None:
        """The labels of the series of that name, if all have the same; else None."""
        sets = {frozenset(label for label, value in labels.items() if value) for labels in self.series.get(name, ())}
        if not sets and name in self.open:
            sets = {frozenset(self.open[name])}
        return next(iter(sets)) | (set() if self.complete else set(TARGET_LABELS)) if len(sets) == 1 else None

    def find(self, name: str, matchers: tuple[LabelMatcher, ...]) -> Assessment:
        """Whether series of that name match, or could."""
        key = (name, matchers)
        if key not in self._found:
            self._found[key] = self._find(name, matchers)
        return self._found[key]

    def _find(self, name: str, matchers: tuple[LabelMatcher, ...]) -> Assessment:
        if name in self.owner:
            self.used.add(self.owner[name])
        elif name in MADE_BY_PROMETHEUS:
            return LIVE
        else:
            return self._missing(name)
        series = self.series[name]
        answers = [self._match(name, series, matcher) for matcher in matchers]
        worst = min((answer.liveness for answer in answers), default=Liveness.LIVE)
        if worst < Liveness.LIVE:
            return Assessment(worst, tuple(reason for answer in answers if answer.liveness == worst for reason in answer.reasons))
        if not series and name not in self.open:
            return cannot_tell("name", f"{name} is declared but has no series yet")
        shown_labels = {label for labels in series for label in labels}
        tests = [(matcher.label, matcher.test()) for matcher in matchers if matcher.label in shown_labels]
        if self.joint and len(tests) > 1 and not any(all(test(labels.get(label, "")) for label, test in tests if test) for labels in series):
            return cannot_tell("label-value", f"no series of {name} matches {written(matchers)} right now")
        return LIVE

    def find_all(self, matchers: tuple[LabelMatcher, ...]) -> Assessment:
        """The same where no name is given, or only a regular expression for one."""
        patterns = [test for matcher in matchers if matcher.label == "__name__" if (test := matcher.test())]
        others = tuple(matcher for matcher in matchers if matcher.label != "__name__")
        answers = [self.find(name, others) for name in self.owner if all(test(name) for test in patterns)]
        if any(answer.liveness == Liveness.LIVE for answer in answers):
            return LIVE
        return cannot_tell("name", f"no series matches {written(matchers)} right now")

    def _missing(self, name: str) -> Assessment:
        if UNKNOWN_NAME in name or UNKNOWN in name:
            return cannot_tell("name", "the name depends on a variable")
        if any(pattern.fullmatch(name) for pattern in self._elsewhere):
            return cannot_tell("name", f"{name} is exposed elsewhere (--elsewhere)")
        if self.families.get(name) in ("histogram", "summary") and name not in self.owner:
            kind, suffixes = self.families[name], [suffix for suffix in SUFFIXES[self.families[name]] if f"{name}{suffix}" in self.owner]
            if kind == "histogram" and all(labels.get("le") == "+Inf" for labels in self.series.get(f"{name}_bucket", ())):
                return cannot_tell("type", f"{name} may be a native histogram, which a text scrape does not show")
            self.used.add(name)
            return dead("type", f"{name} is a {kind}: it has no series of that name", f"use {', '.join(name + suffix for suffix in suffixes)}")
        for suffix in ("_bucket", "_count", "_sum"):
            base = name.removesuffix(suffix)
            if base != name and base in self.families:
                self.used.add(base)
                return dead("type", f"{base} is a {self.families[base]} and has no series {name}", f"its series: {choices(self.names_of(base))}")
        if ":" in name and not self.complete and not self.recorded:
            return cannot_tell("name", f"{name} has the name of a recording rule, and no rules are given (--rules)")
        if self._nearest is None:
            self._nearest = NearestName((*self.owner, *self.recorded))
        near = self._nearest(name)
        return dead("name", f"there is no series {name}", f"did you mean {near}?" if near else "no similar name exists")

    def names_of(self, family: str) -> list[str]:
        """The names of the series of a family."""
        return [name for name, owner in self.owner.items() if owner == family]

    def _match(self, name: str, series: list[dict[str, str]], matcher: LabelMatcher) -> Assessment:
        label, test = matcher.label, matcher.test()
        values = {labels.get(label, "") for labels in series}
        if UNKNOWN_NAME in label:
            return cannot_tell("label", "the label depends on a variable")
        if test is None:
            return cannot_tell("label-value", f"regular expression {matcher.value!r} cannot be tested safely")
        variable = UNKNOWN in matcher.value
        if not any(values) and label not in self.open.get(name, ()):
            return self._no_label(name, series, matcher, accepts_none=test("") and not variable)
        if any(map(test, values)) or (label == "le" and any(same_number(matcher.value, value) for value in values)):
            return LIVE
        closed = label in self.closed.get(name, ())
        if variable or not closed:
            if label in self.open.get(name, ()) and not values - {""}:
                return LIVE  # a catalog leaves these to whoever runs the service
            now = f"values: {few(sorted(values - {''}))}"
            return cannot_tell("label-value", f"{name} has no {label} that matches {matcher} right now ({now})")
        near = NearestName(values - {""})(matcher.value)
        cure = f"did you mean {near!r}? " * bool(near) + f"values: {few(sorted(values - {''}))}"
        return dead("label-value", f"{name} never has {matcher}", cure)

    def _no_label(self, name: str, series: list[dict[str, str]], matcher: LabelMatcher, *, accepts_none: bool) -> Assessment:
        label = matcher.label
        if accepts_none or (label in TARGET_LABELS and not self.complete):
            return LIVE
        if not series and name not in self.open:
            return cannot_tell("name", f"{name} is declared but has no series yet")
        if not self.complete and _OFTEN_ADDED.fullmatch(label):
            return cannot_tell("label", f"label {label!r} may be added by Prometheus, which a scrape does not show")
        if UNKNOWN in matcher.value and matcher.operator == "=~":
            return cannot_tell("label", f"{name} has no label {label!r}, and the variable may or may not require one")
        names = sorted({label for labels in series for label in labels} | set(self.open.get(name, ())))
        near = NearestName(names)(label)
        return dead("label", f"{name} has no label {label!r}", f"did you mean {near!r}? " * bool(near) + f"labels: {choices(names)}")

    @property
    def unused(self) -> list[str]:
        """Families that no selector has asked for."""
        return sorted(self.families.keys() - self.used - MADE_BY_PROMETHEUS)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise BalanceError(f"invalid regular expression: {error}", where=f"--elsewhere {text}", cure="for example: node_.*") from None
