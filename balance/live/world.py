"""What series there are: as scrapes show them, as a Prometheus has them, or as a catalog declares them.

A scrape shows what a service exposes now: not the labels that Prometheus adds, and no series that will first appear when something happens. So
a name or label that is not there never will be, but a value that is not there may come. Only where a set of values is closed (by a catalog, a
state set, the bounds of a histogram) is a value outside of it wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

from balance.catalog.model import Histogram, Metric, StateSet, scrape_type
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, Problem, choices, few
from balance.live.fetch import PATIENCE
from balance.live.nearest import Nearest
from balance.live.prometheus import Prometheus
from balance.live.question import UNKNOWN, UNKNOWN_NAME
from balance.live.scrape import SUFFIXES, Scrape


class Verdict(IntEnum):
    """Whether an expression can have a result, from worst to best."""

    DEAD = 0
    CANNOT_TELL = 1
    LIVE = 2

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


class Answer(NamedTuple):
    """A verdict and why it is not better. `check` of a reason is ``name``, ``label``, ``label-value``, ``type``, ``matching``, ``variable`` or
    ``unreadable``; it has no place and no subject, which belong to the expression."""

    verdict: Verdict
    reasons: tuple[Problem, ...] = ()


LIVE = Answer(Verdict.LIVE)


class Match(NamedTuple):
    """One matcher of a selector: ``=``, ``!=``, ``=~`` or ``!~``."""

    label: str
    operator: str
    value: str


MADE_BY_PROMETHEUS = frozenset((
    "up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added",
    "scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes", "ALERTS", "ALERTS_FOR_STATE",
))  # fmt: skip
"""Series that no scrape shows and every Prometheus has."""
TARGET = ("job", "instance")
_OFTEN_ADDED = re.compile(
    r"(namespace|pod|container|node|service|endpoint|cluster|env|environment|region|zone|az|dc|datacenter|host|hostname|host_name|replica|tenant|team"
    r"|app|application|component|deployment|release|stage|stack|site|rack|prometheus|prometheus_replica|monitor|receive|server|nodename|chart"
    r"|(app_)?kubernetes_.*|k8s_.*|exported_.*|__.*|metrics_path|group|project|account|cloud_.*)"
)
"""Labels that Prometheus' configuration often adds to what a service shows."""
_NESTED = re.compile(r"[*+}]\)[*+{]")
"""A repetition of a repetition: Python's matcher, other than RE2, could take for ever over it."""


class World:
    """Series by name. `complete`: the labels that Prometheus adds are among them. `joint`: the labels of one series are those of a real one, not
    just each a possible value. `closed` are the labels of a name whose values are all known."""

    def __init__(self, source: str, *, complete: bool = False, joint: bool = True, elsewhere: Iterable[str] = ()) -> None:
        self.source, self.complete, self.joint = source, complete, joint
        self.series: dict[str, list[dict[str, str]]] = {}
        self.families: dict[str, str] = {}
        """the type of each family"""
        self.owner: dict[str, str] = {}
        """the family of each series name"""
        self.closed: dict[str, set[str]] = {}
        self.open: dict[str, tuple[str, ...]] = {}
        """label names of the series of which no instance is known"""
        self.used: set[str] = set()
        self.recorded: Collection[str] = ()
        """what recording rules of the audited files make"""
        self._elsewhere = [_pattern(pattern) for pattern in elsewhere]
        self._nearest: Nearest | None = None
        self._found: dict[tuple[str, tuple[Match, ...]], Answer] = {}

    def add(self, name: str, family: str, kind: str, closed: Iterable[str] = ()) -> list[dict[str, str]]:
        """Make a name known; its series are to be added to the list."""
        self.families[family] = kind
        self.owner[name] = family
        self.closed.setdefault(name, set()).update(closed)
        return self.series.setdefault(name, [])

    def kind(self, name: str) -> str:
        """The type of the family to which a series belongs; nothing if it is not known."""
        return self.families.get(self.owner.get(name, ""), "")

    def labels(self, name: str) -> frozenset[str] | None:
        """The labels that all series of the name have, if all have the same."""
        sets = {frozenset(label for label, value in labels.items() if value) for labels in self.series.get(name, ())}
        if not sets and name in self.open:
            sets = {frozenset(self.open[name])}
        return next(iter(sets)) | (set() if self.complete else set(TARGET)) if len(sets) == 1 else None

    def find(self, name: str, matchers: tuple[Match, ...]) -> Answer:
        """Whether there are, or can be, series of that name with such labels."""
        key = (name, matchers)
        if key not in self._found:
            self._found[key] = self._find(name, matchers)
        return self._found[key]

    def _find(self, name: str, matchers: tuple[Match, ...]) -> Answer:
        if name in self.owner:
            self.used.add(self.owner[name])
        elif name in MADE_BY_PROMETHEUS:
            return LIVE
        else:
            return self._missing(name)
        series = self.series[name]
        answers = [self._match(name, series, matcher) for matcher in matchers]
        worst = min((answer.verdict for answer in answers), default=Verdict.LIVE)
        if worst < Verdict.LIVE:
            return Answer(worst, tuple(reason for answer in answers if answer.verdict == worst for reason in answer.reasons))
        if not series and name not in self.open:
            return _cannot("name", f"{name} is declared, but shows no series yet")
        shown_labels = {label for labels in series for label in labels}
        tests = [(matcher.label, _test(matcher)) for matcher in matchers if matcher.label in shown_labels]
        if self.joint and len(tests) > 1 and not any(all(test(labels.get(label, "")) for label, test in tests if test) for labels in series):
            return _cannot("label-value", f"no series of {name} has all of {_written(matchers)} at this moment")
        return LIVE

    def find_all(self, matchers: tuple[Match, ...]) -> Answer:
        """The same where no name is given, or only by a pattern."""
        patterns = [test for matcher in matchers if matcher.label == "__name__" if (test := _test(matcher))]
        others = tuple(matcher for matcher in matchers if matcher.label != "__name__")
        answers = [self.find(name, others) for name in self.owner if all(test(name) for test in patterns)]
        if any(answer.verdict == Verdict.LIVE for answer in answers):
            return LIVE
        return _cannot("name", f"no series fits {_written(matchers)} at this moment")

    def _missing(self, name: str) -> Answer:
        if UNKNOWN_NAME in name or UNKNOWN in name:
            return _cannot("name", "the name depends on a variable")
        if any(pattern.fullmatch(name) for pattern in self._elsewhere):
            return _cannot("name", f"{name} is said to be exposed elsewhere")
        if self.families.get(name) in ("histogram", "summary") and name not in self.owner:
            kind, suffixes = self.families[name], [suffix for suffix in SUFFIXES[self.families[name]] if f"{name}{suffix}" in self.owner]
            if kind == "histogram" and all(labels.get("le") == "+Inf" for labels in self.series.get(f"{name}_bucket", ())):
                return _cannot("type", f"{name} may be a native histogram, which a text scrape does not show")
            self.used.add(name)
            return _dead("type", f"{name} is a {kind}: it has no series of that name", f"use {', '.join(name + suffix for suffix in suffixes)}")
        for suffix in ("_bucket", "_count", "_sum"):
            base = name.removesuffix(suffix)
            if base != name and base in self.families:
                self.used.add(base)
                return _dead("type", f"{base} is a {self.families[base]} and has no series {name}", f"it has {choices(self.names_of(base))}")
        if ":" in name and not self.complete and not self.recorded:
            return _cannot("name", f"{name} is named as recording rules name what they make, and none are given")
        if self._nearest is None:
            self._nearest = Nearest((*self.owner, *self.recorded))
        near = self._nearest(name)
        return _dead("name", f"there is no series {name}", f"did you mean {near}?" if near else "nothing has a name like it")

    def names_of(self, family: str) -> list[str]:
        """Names of the series of a family."""
        return [name for name, owner in self.owner.items() if owner == family]

    def _match(self, name: str, series: list[dict[str, str]], matcher: Match) -> Answer:
        label, test = matcher.label, _test(matcher)
        values = {labels.get(label, "") for labels in series}
        if UNKNOWN_NAME in label:
            return _cannot("label", "the label depends on a variable")
        if test is None:
            return _cannot("label-value", f"{matcher.value!r} is no regular expression that can be tried safely")
        variable = UNKNOWN in matcher.value
        if not any(values) and label not in self.open.get(name, ()):
            return self._no_label(name, series, matcher, accepts_none=test("") and not variable)
        if any(map(test, values)) or (label == "le" and any(map(_same_number(matcher.value), values))):
            return LIVE
        closed = label in self.closed.get(name, ())
        if variable or not closed:
            if label in self.open.get(name, ()) and not values - {""}:
                return LIVE  # a catalog leaves these to whoever runs the service
            now = f"now: {few(sorted(values - {''}))}"
            return _cannot("label-value", f"{name} shows no {label} that fits {_written((matcher,))} ({now})")
        near = Nearest(values - {""})(matcher.value)
        cure = f"did you mean {near!r}? " * bool(near) + f"values: {few(sorted(values - {''}))}"
        return _dead("label-value", f"{name} never has {_written((matcher,))}", cure)

    def _no_label(self, name: str, series: list[dict[str, str]], matcher: Match, *, accepts_none: bool) -> Answer:
        label = matcher.label
        if accepts_none or (label in TARGET and not self.complete):
            return LIVE
        if not series and name not in self.open:
            return _cannot("name", f"{name} is declared, but shows no series yet")
        if not self.complete and _OFTEN_ADDED.fullmatch(label):
            return _cannot("label", f"{label!r} may be added by Prometheus: the scrape does not say")
        if UNKNOWN in matcher.value and matcher.operator == "=~":
            return _cannot("label", f"{name} shows no label {label!r}, and whether the variable asks for one cannot be told")
        names = sorted({label for labels in series for label in labels} | set(self.open.get(name, ())))
        near = Nearest(names)(label)
        return _dead("label", f"{name} has no label {label!r}", f"did you mean {near!r}? " * bool(near) + f"labels: {choices(names)}")

    @property
    def unused(self) -> list[str]:
        """Families that nothing has asked for."""
        return sorted(self.families.keys() - self.used - MADE_BY_PROMETHEUS)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise BalanceError(f"is no regular expression: {error}", where=f"--elsewhere {text}", cure="write, for example, node_.*") from None


def _dead(kind: str, problem: str, cure: str) -> Answer:
    return Answer(Verdict.DEAD, (Problem("", problem, cure, check=kind),))


def _cannot(kind: str, problem: str) -> Answer:
    return Answer(Verdict.CANNOT_TELL, (Problem("", problem, check=kind),))


def _written(matchers: Iterable[Match]) -> str:
    return ",".join(f'{matcher.label}{matcher.operator}"{matcher.value.replace(UNKNOWN, "$...")}"' for matcher in matchers)


def _same_number(text: str) -> Callable[[str], bool]:
    """Prometheus 3 writes ``le="1"`` as ``le="1.0"``, whoever exposed it."""

    def same(value: str) -> bool:
        try:
            return float(value) == float(text)
        except ValueError:
            return False

    return same


def _test(matcher: Match) -> Callable[[str], bool] | None:
    """What the matcher says of a value; a variable may be anything. None if it cannot be tried."""
    text, operator = matcher.value, matcher.operator
    if UNKNOWN in text:
        if operator in ("!=", "!~"):
            return lambda value: True
        parts = [part if operator == "=~" else re.escape(part) for part in text.split(UNKNOWN)]
        text, operator = ".*".join(parts), "=~"
        text = re.sub(r"\((\.\*)\)", r"\1", text)
    if operator == "=":
        return lambda value: value == text
    if operator == "!=":
        return lambda value: value != text
    if _NESTED.search(text) or len(text) > 10_000:
        return None
    try:
        pattern = re.compile(text, re.DOTALL)
    except (re.error, RecursionError, OverflowError):
        return None
    return (lambda value: pattern.fullmatch(value) is not None) if operator == "=~" else (lambda value: pattern.fullmatch(value) is None)


def of_scrapes(scrapes: Iterable[Scrape], elsewhere: Iterable[str] = ()) -> World:
    """What one or several services show."""
    scrapes = list(scrapes)
    world = World(", ".join(scrape.source for scrape in scrapes), elsewhere=elsewhere)
    for scrape in scrapes:
        for family in scrape.families.values():
            closed = {"stateset": [family.name], "histogram": ["le"], "summary": ["quantile"]}.get(family.type, [])
            world.families[family.name] = family.type
            for sample in family.samples:
                world.add(sample.name, family.name, family.type, closed).append(dict(sample.labels))
            if not family.samples:
                _announced(world, family.name, family.type)
    return world


def _announced(world: World, family: str, kind: str) -> None:
    """The names of a family that shows no series yet."""
    for suffix in {"histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}.get(kind, ("",)):
        world.add(family + suffix, family, kind)


def of_catalog(catalog: Catalog, elsewhere: Iterable[str] = ()) -> World:
    """What a catalog declares: sets of values are closed, the labels of a metric too."""
    world = World(f"catalog {catalog.name}", joint=False, elsewhere=elsewhere)
    for metric in (*(metric for metric, _ in catalog.shown), *catalog.external):
        for name in metric.samples:
            sets = _sets(metric, name)
            closed = [label for label, values in sets.items() if values]
            series = world.add(name, metric.name, scrape_type(metric), closed)
            world.open[name] = tuple(sets)
            # one series for each value of the largest set shows every value of every closed label
            series += [
                {label: values[min(index, len(values) - 1)] for label, values in sets.items() if values}
                for index in range(max((len(values) for values in sets.values()), default=0))
            ]
        if isinstance(metric, Histogram):
            world.families[metric.name] = "histogram"
    world.used.update(metric.name for metric in catalog.external)
    return world


def _sets(metric: Metric, name: str) -> dict[str, tuple[str, ...]]:
    sets = {label.name: label.values for label in metric.labels}
    if isinstance(metric, StateSet):
        sets[metric.state_label] = metric.states
    if name.endswith("_bucket") and isinstance(metric, Histogram):
        sets["le"] = (*(repr(float(bound)) for bound in metric.buckets), "+Inf")
    return sets


def of_prometheus(address: str, names: Iterable[str], elsewhere: Iterable[str] = ()) -> World:
    """What a Prometheus has: all names, and of those in `names` the series too. Raises `BalanceError` if it does not answer as one."""
    server = Prometheus(address, timeout=PATIENCE)
    world = World(server.where, complete=True, elsewhere=elsewhere)
    metadata = server.get("metadata")
    types = {name: str(entries[0].get("type", "")) for name, entries in metadata.items() if entries} if isinstance(metadata, dict) else {}
    known = [name for name in server.get("label/__name__/values") if isinstance(name, str)]
    for name in known:
        family = _family(name, types)
        world.add(name, family, types.get(family, types.get(family.removesuffix("_total"), "")), ["le"] if name.endswith("_bucket") else [])
    for family, kind in types.items():
        suffix = {"counter": "_total", "info": "_info"}.get(kind, "")  # OpenMetrics says x of x_total
        full = family.removesuffix(suffix) + suffix
        if not {family, full} & world.families.keys():
            _announced(world, full, kind)
    wanted = sorted(set(names) & set(known))
    for start in range(0, len(wanted), _BATCH):
        found = server.get("series", {"match[]": [f'{{__name__="{name}"}}' for name in wanted[start : start + _BATCH]]})
        for labels in found:
            name = labels.pop("__name__", "")
            if name in world.series:
                world.series[name].append(labels)
    return world


_BATCH = 20


def _family(name: str, types: Mapping[str, str]) -> str:
    for suffix in ("_bucket", "_count", "_sum"):
        base = name.removesuffix(suffix)
        if base != name and types.get(base) in ("histogram", "summary"):
            return base
    return name
