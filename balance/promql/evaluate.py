"""What Prometheus answers: our expressions over samples in memory, with its semantics.

Theory. An instant selector takes a series' last sample of the last five minutes, unless that is a staleness marker. A rate takes all
samples of its window, adds what was counted before each reset, and extrapolates to the ends of the window if the samples come near
them (promql/functions.go, extrapolatedRate). Windows contain their left edge in Prometheus 2 and not in Prometheus 3, and 2.53 no longer
extrapolates beyond half an interval where a counter cannot have been zero: `Version` says which is meant. promtool is the oracle: a test
compares every expression of the bundle over random series.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any

from balance.promql.ast import (
    Absent,
    Aggregation,
    Changes,
    Comparison,
    Complement,
    Distance,
    OverTime,
    Quantile,
    Quotient,
    RangeCall,
    Recorded,
    Scaled,
    SetOperation,
)
from balance.promql.selectors import Expr, Selector
from balance.promql.text import NO_SCOPE, Scope, seconds

LOOKBACK = 300
"""Seconds for which a sample counts as current."""
Version = tuple[int, int]
"""Major and minor version of Prometheus."""
Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
STALE = None
"""The value of a staleness marker."""

_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*,?')
_NAME = "__name__"
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


class Series:
    """One series: its labels, without the name, and its samples in order of time (seconds). The value `STALE` marks the end of a series.

    `key` is what its labels are in a result; `resets` are the places in `values` of samples smaller than the one before.
    """

    def __init__(self, name: str, labels: Mapping[str, str], samples: Iterable[tuple[float, float | None]] = ()) -> None:
        self.name, self.labels, self.key = name, dict(labels), frozenset(labels.items())
        pairs = list(samples)
        self.ends = [time for time, value in pairs if value is STALE]
        self.times = [time for time, value in pairs if value is not STALE]
        self.values = [value for _, value in pairs if value is not STALE]
        self.resets = [place for place, (before, after) in enumerate(pairwise(self.values), 1) if after < before]


class Database:
    """Series by name, and what a question means there: the scope of the rules, the version of Prometheus."""

    def __init__(self, series: Iterable[Series], scope: Scope = NO_SCOPE, version: Version = (2, 42)) -> None:
        self.scope, self.version = scope, version
        self.by_name: dict[str, list[Series]] = {}
        for one in series:
            self.by_name.setdefault(one.name, []).append(one)

    def select(self, selector: Selector) -> list[Series]:
        """The series that a selector means."""
        chosen = (matchers(text) for label, text in self.scope.by_label.items() if label in selector.metric.label_names)
        tests = [*((m.label, m.operator, m.value) for m in selector.matchers), *matchers(self.scope.selector), *chain(*chosen)]
        return [one for one in self.by_name.get(selector.name, ()) if all(agrees(one.labels.get(label, ""), *test) for label, *test in tests)]

    def recent(self, one: Series, at: float) -> float | None:
        """The current value of a series."""
        index = bisect_right(one.times, at) - 1
        if index < 0:
            return None
        ended = bisect_right(one.ends, at)
        if ended and one.ends[ended - 1] > one.times[index]:
            return None
        age = at - one.times[index]
        return one.values[index] if age < LOOKBACK or (age == LOOKBACK and self.version < (3, 0)) else None

    def window(self, one: Series, begin: float, end: float) -> slice:
        """Where in `times` and `values` the samples of a window are."""
        return slice((bisect_left if self.version < (3, 0) else bisect_right)(one.times, begin), bisect_right(one.times, end))


@lru_cache
def matchers(selector: str) -> tuple[tuple[str, str, str], ...]:
    """Label, operator and value of each matcher of a selector's text."""
    return tuple(
        (label, operator, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)) for label, operator, value in _MATCHER.findall(selector)
    )


def agrees(value: str, operator: str, wanted: str) -> bool:
    """Whether a label's value fits a matcher."""
    equal = value == wanted if operator in ("=", "!=") else _pattern(wanted).fullmatch(value) is not None
    return equal == (operator in ("=", "=~"))


@lru_cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def evaluate(expr: Expr, database: Database, at: float) -> Vector:
    """The result of an expression at a time, in seconds: values by labels."""
    if isinstance(expr, Selector):
        return {one.key | {(_NAME, expr.name)}: value for one in database.select(expr) if (value := database.recent(one, at)) is not None}
    return _EVALUATORS[type(expr)](expr, database, at)


def unnamed(labels: Labels) -> Labels:
    """The labels without the name of the metric."""
    return frozenset(pair for pair in labels if pair[0] != _NAME)


def only(labels: Labels, names: Iterable[str]) -> Labels:
    """Those of the labels."""
    wanted = set(names)
    return frozenset(pair for pair in labels if pair[0] in wanted)


def _range_call(node: RangeCall, database: Database, at: float) -> Vector:
    window = node.range.window
    length = seconds(node.range.window, database.scope)
    end = at - window.offset
    result = {}
    for one in database.select(node.range.series):
        found = database.window(one, end - length, end)
        if found.stop - found.start > 1:
            result[one.key] = _increase(one, found, end - length, end, database.version, length if node.function == "rate" else None)
    return result


def _increase(one: Series, found: slice, begin: float, end: float, version: Version, per: float | None) -> float:
    """Prometheus' extrapolated increase, for a rate over `per` seconds. The order of the operations is that of its source."""
    first: float = one.times[found.start]
    last: float = one.times[found.stop - 1]
    start: float = one.values[found.start]
    increase: float = one.values[found.stop - 1] - start
    for place in one.resets[bisect_right(one.resets, found.start) : bisect_left(one.resets, found.stop)]:
        increase += one.values[place - 1]
    to_start, to_end, sampled = first - begin, end - last, last - first
    average = sampled / (found.stop - found.start - 1)
    limit = average * 1.1
    if version >= (2, 53) and to_start >= limit:
        to_start = average / 2
    if increase > 0 and start >= 0:
        to_start = min(to_start, sampled * (start / increase))
    if version < (2, 53) and to_start >= limit:
        to_start = average / 2
    if to_end >= limit:
        to_end = average / 2
    factor = (sampled + to_start + to_end) / sampled
    return increase * (factor / per if per else factor)


def _changes(node: Changes, database: Database, at: float) -> Vector:
    begin = at - seconds(node.window, database.scope)
    found = ((one.key, one.values[database.window(one, begin, at)]) for one in database.select(node.series))
    return {key: float(sum(map(_changed, values, values[1:]))) for key, values in found if values}


def _changed(before: float, after: float) -> bool:
    return before != after and not (math.isnan(before) and math.isnan(after))


def _aggregation(node: Aggregation, database: Database, at: float) -> Vector:
    by = {*node.by, *(kept(database.scope) if "job" in node.by else ())}
    groups: dict[Labels, list[float]] = {}
    for labels, value in evaluate(node.operand, database, at).items():
        groups.setdefault(only(labels, by), []).append(value)
    return {labels: _AGGREGATE[node.operator](values) for labels, values in groups.items()}


def kept(scope: Scope) -> tuple[str, ...]:
    """The labels that aggregations by job keep in a scope."""
    return tuple(scope.keep.replace(",", " ").split())


def _extreme(first: Callable[[float, float], bool]) -> Callable[[list[float]], float]:
    def found(values: list[float]) -> float:
        best = values[0]
        for value in values:
            if first(value, best) or math.isnan(best):
                best = value
        return best

    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


_AGGREGATE: dict[str, Callable[[list[float]], float]] = {
    "sum": lambda values: sum(values[1:], values[0]),
    "min": _extreme(lambda value, best: value < best),
    "max": _extreme(lambda value, best: value > best),
    "avg": _mean,
    "count": lambda values: float(len(values)),
}


def _quantile(node: Quantile, database: Database, at: float) -> Vector:
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in evaluate(node.summed, database, at).items():
        bound = float(dict(labels)["le"])
        groups.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), []).append((bound, value))
    return {labels: _bucket_quantile(node.q, sorted(buckets)) for labels, buckets in groups.items()}


def _bucket_quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    """promql/quantile.go, bucketQuantile, over buckets of different bounds in order."""
    if buckets[-1][0] != math.inf or len(buckets) < 2:
        return math.nan
    bounds = [bound for bound, _ in buckets]
    counts: list[float] = []
    for _, count in buckets:
        counts.append(max(count, counts[-1]) if counts else count)
    if counts[-1] == 0 or math.isnan(counts[-1]):
        return math.nan
    rank = q * counts[-1]
    found = next((index for index, count in enumerate(counts[:-1]) if count >= rank), len(counts) - 1)
    if found == len(counts) - 1:
        return bounds[-2]
    if found == 0 and bounds[0] <= 0:
        return bounds[0]
    below, below_count = (bounds[found - 1], counts[found - 1]) if found else (0.0, 0.0)
    count = counts[found] - below_count
    return below + (bounds[found] - below) * _divided(rank - below_count, count)


def _divided(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _quotient(node: Quotient, database: Database, at: float) -> Vector:
    whole = {unnamed(labels): value for labels, value in evaluate(node.whole, database, at).items()}
    part = {unnamed(labels): value for labels, value in evaluate(node.part, database, at).items()}
    return {labels: _divided(value, whole[labels]) for labels, value in part.items() if labels in whole}


def _scaled(node: Scaled, database: Database, at: float) -> Vector:
    factor = database.scope.value(node.threshold)
    return {unnamed(labels): value * factor for labels, value in evaluate(node.operand, database, at).items()}


def _distance(node: Distance, database: Database, at: float) -> Vector:
    sign = 1 if node.direction == "since" else -1
    return {unnamed(labels): sign * (at - moment) for labels, moment in evaluate(node.moment, database, at).items()}


def _comparison(node: Comparison, database: Database, at: float) -> Vector:
    test, threshold = _COMPARE[node.operator], database.scope.value(node.threshold)
    return {labels: value for labels, value in evaluate(node.left, database, at).items() if test(value, threshold)}


def _absent(node: Absent, database: Database, at: float) -> Vector:
    if evaluate(node.selector, database, at):
        return {}
    fixed = [*((m.label, m.operator, m.value) for m in node.selector.matchers), *matchers(database.scope.selector)]
    names = [label for label, _, _ in fixed]
    return {frozenset((label, value) for label, operator, value in fixed if operator == "=" and names.count(label) == 1): 1.0}


def _set_operation(node: SetOperation, database: Database, at: float) -> Vector:
    on = {*node.on, *(kept(database.scope) if "job" in node.on and node.operator != "or" else ())}

    def key(labels: Labels) -> Labels:
        return only(labels, on) if on else unnamed(labels)

    left = evaluate(node.left, database, at)
    if not left and node.operator != "or":
        return left
    right = evaluate(node.right, database, at)
    if node.operator == "or":
        there = {key(labels) for labels in left}
        return {**left, **{labels: value for labels, value in right.items() if key(labels) not in there}}
    there = {key(labels) for labels in right}
    return {labels: value for labels, value in left.items() if (key(labels) in there) == (node.operator == "and")}


def _complement(node: Complement, database: Database, at: float) -> Vector:
    return {unnamed(labels): 1 - value for labels, value in evaluate(node.operand, database, at).items()}


def _over_time(node: OverTime, database: Database, at: float) -> Vector:
    tests = matchers(database.scope.recorded)
    result = {}
    for one in database.by_name.get(node.series.record, ()):
        values = one.values[database.window(one, at - seconds(node.window, database.scope), at)]
        if values and all(agrees(one.labels.get(label, ""), *test) for label, *test in tests):
            result[one.key] = math.fsum(values)
    return result


def _recorded(node: Recorded, database: Database, at: float) -> Vector:
    tests = matchers(database.scope.recorded)
    found = {unnamed(labels): value for labels, value in evaluate(node.expr, database, at).items()}
    return {
        labels | {(_NAME, node.record)}: value
        for labels, value in found.items()
        if all(agrees(dict(labels).get(label, ""), *test) for label, *test in tests)
    }


_EVALUATORS: dict[type, Callable[[Any, Database, float], Vector]] = {
    Absent: _absent, Aggregation: _aggregation, Changes: _changes, Comparison: _comparison, Complement: _complement, Distance: _distance,
    OverTime: _over_time, Quantile: _quantile,
    RangeCall: _range_call, Quotient: _quotient, Recorded: _recorded, Scaled: _scaled, SetOperation: _set_operation,
}  # fmt: skip
