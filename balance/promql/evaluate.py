"""Evaluate expressions over samples in memory, with the semantics of Prometheus.

Theory. An instant selector takes a series' last sample of the last five minutes, unless that is a staleness marker. A rate takes all
samples of its window, adds what was counted before each reset, and extrapolates to the ends of the window if the samples come near
them (promql/functions.go, extrapolatedRate). Windows contain their left edge in Prometheus 2 and not in Prometheus 3, and 2.53 no longer
extrapolates beyond half an interval where a counter cannot have been zero: `Version` selects one. promtool is the oracle: a test
compares every expression of the bundle over random series.

An expression is evaluated at many instants in one pass: which series are selected, grouped and joined is the same at all of them, only the
values differ. So every node turns columns (the values of a series, one for each instant) into columns. An instant has a version of its own,
and only the leaves look at it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from balance.promql.ast import (
    Absent,
    Aggregation,
    Changes,
    Comparison,
    Complement,
    OverTime,
    Quantile,
    Quotient,
    RangeCall,
    Recorded,
    SetOperation,
    Times,
    TimeSince,
)
from balance.promql.selectors import Expr, Selector
from balance.promql.text import NO_SCOPE, Scope, seconds

LOOKBACK = 300
"""Seconds for which a sample counts as current."""
Version = tuple[int, int]
"""Major and minor version of Prometheus."""
Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Column = list[float | None]
"""The values of one series at several instants, None where it has none."""
Matrix = dict[Labels, Column]
STALE = None
"""The value of a staleness marker."""

_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*,?')
_NAME = "__name__"
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


class Instant(NamedTuple):
    """An evaluation time in seconds, and the version of Prometheus."""

    at: float
    version: Version


class Series:
    """One series: its labels, without the name, and its samples in order of time (seconds). The value `STALE` marks the end of a series.

    `key` is its labels as a set of pairs; `resets` are the indices in `values` of samples smaller than the one before.
    """

    def __init__(self, name: str, labels: Mapping[str, str], samples: Iterable[tuple[float, float | None]] = ()) -> None:
        self.name, self.labels, self.key = name, dict(labels), frozenset(labels.items())
        pairs = list(samples)
        self.ends = [time for time, value in pairs if value is STALE]
        self.times = [time for time, value in pairs if value is not STALE]
        self.values = [value for _, value in pairs if value is not STALE]
        self.resets = [place for place, (before, after) in enumerate(pairwise(self.values), 1) if after < before]


class Database:
    """Series by name, with the scope of the rules and the default version of Prometheus."""

    def __init__(self, series: Iterable[Series], scope: Scope = NO_SCOPE, version: Version = (2, 42)) -> None:
        self.scope, self.version = scope, version
        self.by_name: dict[str, list[Series]] = {}
        for one in series:
            self.by_name.setdefault(one.name, []).append(one)

    def select(self, selector: Selector) -> list[Series]:
        """The series that match a selector, within the scope."""
        chosen = (matchers(text) for label, text in self.scope.by_label.items() if label in selector.metric.label_names)
        tests = [*((m.label, m.operator, m.value) for m in selector.matchers), *matchers(self.scope.selector), *chain(*chosen)]
        return [one for one in self.by_name.get(selector.name, ()) if all(agrees(one.labels.get(label, ""), *test) for label, *test in tests)]


@lru_cache
def matchers(selector: str) -> tuple[tuple[str, str, str], ...]:
    """Parse the matchers of a selector (``job="a",status=~"5.."``) into label, operator and value."""
    return tuple(
        (label, operator, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)) for label, operator, value in _MATCHER.findall(selector)
    )


def agrees(value: str, operator: str, wanted: str) -> bool:
    """True if the value of a label satisfies a matcher."""
    equal = value == wanted if operator in ("=", "!=") else _pattern(wanted).fullmatch(value) is not None
    return equal == (operator in ("=", "=~"))


@lru_cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def evaluate(expr: Expr, database: Database, at: float) -> Vector:
    """The result of an expression at a time, in seconds: values by labels."""
    matrix = evaluate_all(expr, database, [Instant(at, database.version)])
    return {labels: column[0] for labels, column in matrix.items() if column[0] is not None}


def evaluate_all(expr: Expr, database: Database, instants: Sequence[Instant]) -> Matrix:
    """The results of an expression at several instants: a column for each series that has a value at any of them."""
    return _evaluated(expr, _Query(database, instants))


class _Query:
    """An evaluation at several instants. Labels are compared once for all of them, and the increase of a series that several parts of an
    expression need is computed once.
    """

    def __init__(self, database: Database, instants: Sequence[Instant]) -> None:
        self.database, self.scope, self.instants = database, database.scope, instants
        self.nothing: Column = [None] * len(instants)
        self._increases: dict[tuple[Series, int, int, int], Column] = {}

    def recent(self, one: Series) -> Column:
        """The current value of a series."""
        return [_recent(one, at, version) for at, version in self.instants]

    def samples(self, one: Series, length: int) -> list[list[float]]:
        """The values of the samples in a window of `length` seconds."""
        return [one.values[_window(one, at - length, at, version)] for at, version in self.instants]

    def increase(self, one: Series, length: int, offset: int, per: int) -> Column:
        """The increase of a series over a window of `length` seconds that ended `offset` seconds ago, divided by `per`."""
        key = (one, length, offset, per)
        if key not in self._increases:
            self._increases[key] = [_increase(one, at - offset - length, at - offset, version, per) for at, version in self.instants]
        return self._increases[key]


def _evaluated(expr: Expr, query: _Query) -> Matrix:
    return _selector(expr, query) if isinstance(expr, Selector) else _EVALUATORS[type(expr)](expr, query)


def _present(matrix: Mapping[Labels, Column]) -> Matrix:
    """The series that have a value at any instant."""
    return {labels: column for labels, column in matrix.items() if column.count(None) < len(column)}


def _recent(one: Series, at: float, version: Version) -> float | None:
    index = bisect_right(one.times, at) - 1
    if index < 0:
        return None
    ended = bisect_right(one.ends, at)
    if ended and one.ends[ended - 1] > one.times[index]:
        return None
    age = at - one.times[index]
    return one.values[index] if age < LOOKBACK or (age == LOOKBACK and version < (3, 0)) else None


def _window(one: Series, begin: float, end: float, version: Version) -> slice:
    """The slice of `times` and `values` with the samples of a window."""
    return slice((bisect_left if version < (3, 0) else bisect_right)(one.times, begin), bisect_right(one.times, end))


def without_name(labels: Labels) -> Labels:
    """The labels without the name of the metric."""
    return frozenset(pair for pair in labels if pair[0] != _NAME)


def _by(matrix: Matrix, key: Callable[[Labels], Labels]) -> Matrix:
    """The series by a part of their labels; of two with the same part, the later where both have a value."""
    result: Matrix = {}
    for labels, column in matrix.items():
        part = key(labels)
        result[part] = _over(column, result[part]) if part in result else column
    return result


def without_names(matrix: Matrix) -> Matrix:
    """The series without the names of their metrics."""
    return _by(matrix, without_name)


def _over(column: Column, below: Column) -> Column:
    """The values of a column, and those of `below` where it has none."""
    return [under if value is None else value for value, under in zip(column, below, strict=True)]


def only(labels: Labels, names: Iterable[str]) -> Labels:
    """The labels with these names."""
    wanted = set(names)
    return frozenset(pair for pair in labels if pair[0] in wanted)


def _selector(node: Selector, query: _Query) -> Matrix:
    return _present({one.key | {(_NAME, node.name)}: query.recent(one) for one in query.database.select(node)})


def _range_call(node: RangeCall, query: _Query) -> Matrix:
    window = node.range.window
    length = seconds(window, query.scope)
    per = length if node.function == "rate" else 1
    return _present({one.key: query.increase(one, length, window.offset, per) for one in query.database.select(node.range.series)})


def _increase(one: Series, begin: float, end: float, version: Version, per: int) -> float | None:
    """Prometheus' extrapolated increase over a window, divided by `per`. The order of the operations is that of its source."""
    found = _window(one, begin, end, version)
    if found.stop - found.start < 2:
        return None
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
    return increase * ((sampled + to_start + to_end) / sampled / per)


def _changes(node: Changes, query: _Query) -> Matrix:
    length = seconds(node.window, query.scope)
    return _present({
        one.key: [float(sum(map(_changed, values, values[1:]))) if values else None for values in query.samples(one, length)]
        for one in query.database.select(node.series)
    })  # fmt: skip


def _changed(before: float, after: float) -> bool:
    return before != after and not (math.isnan(before) and math.isnan(after))


def _aggregation(node: Aggregation, query: _Query) -> Matrix:
    by = {*node.by, *(kept_labels(query.scope) if "job" in node.by else ())}
    groups: dict[Labels, list[Column]] = {}
    for labels, column in _evaluated(node.operand, query).items():
        groups.setdefault(only(labels, by), []).append(column)
    aggregate = _AGGREGATE[node.operator]
    return {labels: [aggregate(values) if values else None for values in _values(columns)] for labels, columns in groups.items()}


def _values(columns: list[Column]) -> Iterator[Sequence[Any]]:
    """The values that the columns have, instant by instant."""
    rows = zip(*columns, strict=True)
    return ([value for value in row if value is not None] for row in rows) if any(None in column for column in columns) else rows


def kept_labels(scope: Scope) -> tuple[str, ...]:
    """The labels that aggregations by job keep in a scope."""
    return tuple(scope.keep.replace(",", " ").split())


def _extreme(first: Callable[[float, float], bool]) -> Callable[[Sequence[float]], float]:
    def found(values: Sequence[float]) -> float:
        best = values[0]
        for value in values:
            if first(value, best) or math.isnan(best):
                best = value
        return best

    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_AGGREGATE: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": lambda values: sum(values[1:], values[0]),
    "min": _extreme(lambda value, best: value < best),
    "max": _extreme(lambda value, best: value > best),
    "avg": _mean,
    "count": lambda values: float(len(values)),
}


def _quantile(node: Quantile, query: _Query) -> Matrix:
    groups: dict[Labels, list[tuple[float, Column]]] = {}
    for labels, column in _evaluated(node.summed, query).items():
        groups.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), []).append((float(dict(labels)["le"]), column))
    return {labels: _quantiles(node.q, sorted(buckets, key=itemgetter(0))) for labels, buckets in groups.items()}


def _quantiles(q: float, buckets: list[tuple[float, Column]]) -> Column:
    """The quantile at each instant, from buckets in the order of their bounds."""
    bounds = [bound for bound, _ in buckets]
    found = (
        [(bound, count) for bound, count in zip(bounds, counts, strict=True) if count is not None]
        for counts in zip(*(column for _, column in buckets), strict=True)
    )
    return [_bucket_quantile(q, there) if there else None for there in found]


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


def _each(function: Callable[[float], float], column: Column) -> Column:
    return [None if value is None else function(value) for value in column]


def _quotient(node: Quotient, query: _Query) -> Matrix:
    whole = without_names(_evaluated(node.whole, query))
    part = without_names(_evaluated(node.part, query))
    return _present({
        labels: [None if a is None or b is None else _divided(a, b) for a, b in zip(column, whole[labels], strict=True)]
        for labels, column in part.items()
        if labels in whole
    })  # fmt: skip


def _times(node: Times, query: _Query) -> Matrix:
    factor = query.scope.value(node.threshold)
    return {labels: _each(lambda value: value * factor, column) for labels, column in without_names(_evaluated(node.operand, query)).items()}


def _time_since(node: TimeSince, query: _Query) -> Matrix:
    sign = 1 if node.direction == "since" else -1
    return {
        labels: [None if moment is None else sign * (at - moment) for moment, (at, _) in zip(column, query.instants, strict=True)]
        for labels, column in without_names(_evaluated(node.moment, query)).items()
    }


def _comparison(node: Comparison, query: _Query) -> Matrix:
    test, threshold = _COMPARE[node.operator], query.scope.value(node.threshold)
    return _present({
        labels: [value if value is not None and test(value, threshold) else None for value in column]
        for labels, column in _evaluated(node.left, query).items()
    })  # fmt: skip


def _absent(node: Absent, query: _Query) -> Matrix:
    there = _by(_evaluated(node.selector, query), lambda _: frozenset()).get(frozenset(), query.nothing)
    fixed = [*((m.label, m.operator, m.value) for m in node.selector.matchers), *matchers(query.scope.selector)]
    names = [label for label, _, _ in fixed]
    labels = frozenset((label, value) for label, operator, value in fixed if operator == "=" and names.count(label) == 1)
    return _present({labels: [1.0 if value is None else None for value in there]})


def _set_operation(node: SetOperation, query: _Query) -> Matrix:
    on = {*node.on, *(kept_labels(query.scope) if "job" in node.on and node.operator != "or" else ())}

    def key(labels: Labels) -> Labels:
        return only(labels, on) if on else without_name(labels)

    left = _evaluated(node.left, query)
    if not left and node.operator != "or":
        return left
    right = _evaluated(node.right, query)
    filtered, others = (right, left) if node.operator == "or" else (left, right)
    there, wanted = _by(others, key), node.operator == "and"
    result = {
        labels: [value if (other is not None) == wanted else None for value, other in zip(column, there.get(key(labels), query.nothing), strict=True)]
        for labels, column in filtered.items()
    }
    if node.operator == "or":
        result = {**left, **{labels: _over(column, left[labels]) if labels in left else column for labels, column in result.items()}}
    return _present(result)


def _complement(node: Complement, query: _Query) -> Matrix:
    return {labels: _each(lambda value: 1 - value, column) for labels, column in without_names(_evaluated(node.operand, query)).items()}


def _over_time(node: OverTime, query: _Query) -> Matrix:
    tests = matchers(query.scope.recorded)
    length = seconds(node.window, query.scope)
    return _present({
        one.key: [math.fsum(values) if values else None for values in query.samples(one, length)]
        for one in query.database.by_name.get(node.series.record, ())
        if all(agrees(one.labels.get(label, ""), *test) for label, *test in tests)
    })  # fmt: skip


def _recorded(node: Recorded, query: _Query) -> Matrix:
    tests = matchers(query.scope.recorded)
    return {
        labels | {(_NAME, node.record)}: column
        for labels, column in without_names(_evaluated(node.expr, query)).items()
        if all(agrees(dict(labels).get(label, ""), *test) for label, *test in tests)
    }


_EVALUATORS: dict[type, Callable[[Any, _Query], Matrix]] = {
    Absent: _absent, Aggregation: _aggregation, Changes: _changes, Comparison: _comparison, Complement: _complement, TimeSince: _time_since,
    OverTime: _over_time, Quantile: _quantile,
    RangeCall: _range_call, Quotient: _quotient, Recorded: _recorded, Times: _times, SetOperation: _set_operation,
}  # fmt: skip
