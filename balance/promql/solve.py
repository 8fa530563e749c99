"""Find series that give an expression a wanted value: the inverse of evaluation, in exact arithmetic.

Theory. There are few kinds of nodes, and each can be inverted: a gauge shows the value, the rate of a counter is its slope, a sum is one of
its members, a ratio is that share of a fixed total, a quantile is a number of observations below and within a bucket, a time is a distance
from now. Series are straight lines, so that the value holds from the second sample on, whatever the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from balance.catalog.model import TARGET_LABELS, Label
from balance.errors import QueryError
from balance.promql.ast import Absent, Aggregation, Comparison, Complement, Quantile, Quotient, RangeCall, Recorded, SetOperation, Times, TimeSince
from balance.promql.evaluate import agrees, kept_labels, matchers
from balance.promql.selectors import CounterSeries, Expr, Selector
from balance.promql.text import Scope, seconds, text

SeriesKey = tuple[str, tuple[tuple[str, str], ...]]
"""Name and sorted labels of a series."""
_BASE = 10000
"""Increase of the total of a ratio between two samples: large enough that a hundredth of a percent of it is a whole number."""
_NAMES = ("one", "two", "three", "four", "a", "b", *map(str, range(10)), "200", "300", "400", "500")
"""Values for open labels: names, numbers, status codes."""


@dataclass(frozen=True)
class Line:
    """A straight line: its value at time 0 and its increase per second. The line of a `counter` continues from its last value."""

    start: Fraction
    slope: Fraction = Fraction(0)
    counter: bool = False


Lines = dict[SeriesKey, Line]


@dataclass(frozen=True)
class Solver:
    """Finds lines within a scope. `step`: seconds between samples. `scale`: factor for the totals of ratios. `last`: take the last value of each
    label, not the first.
    """

    scope: Scope
    step: int
    instance: str = "a"
    scale: int = 1
    last: bool = False

    def solve(self, expr: Expr, value: Fraction, avoid: tuple[Selector, ...] = ()) -> Lines:
        """Series for which `expr` has one result, `value`. They match none of the selectors `avoid`. Raises `QueryError` if it is impossible."""
        match expr:
            case CounterSeries():
                raise QueryError("cannot use the raw value of a counter", where=expr.name)
            case Selector():
                return {self.series(expr, avoid): Line(value)}
            case RangeCall():
                slope = value if expr.function == "rate" else value / seconds(expr.range.window, self.scope)
                return {self.series(expr.range.series, avoid): Line(Fraction(0), slope, counter=True)}
            case Aggregation(operator="count"):
                return self._several(expr, value, avoid)
            case Aggregation():
                return self.solve(expr.operand, value, avoid)
            case Quantile():
                return self._buckets(expr, value, avoid)
            case Quotient():
                return self._quotient(expr, value, avoid)
            case Times():
                return self.solve(expr.operand, value / exact(self.scope.value(expr.threshold)), avoid)
            case TimeSince():
                return {
                    key: Line(line.start, Fraction(1))
                    for key, line in self.solve(expr.moment, -value if expr.direction == "since" else value).items()
                }
            case Complement():
                return self.solve(expr.operand, 1 - value, avoid)
            case Recorded():
                return self.solve(expr.expr, value, avoid)
            case Comparison():
                return self.solve(expr.left, value, avoid)
            case SetOperation(operator="and"):
                return {**self.solve(expr.right, _some(expr.right), avoid), **self.solve(expr.left, value, avoid)}
            case SetOperation():
                return self.solve(expr.left, value, avoid)
            case Absent() if value == 1:
                return {}
        raise self.unsolvable(expr, value)

    def unsolvable(self, expr: Expr, value: Fraction) -> QueryError:
        """The error for an expression that no series gives that value."""
        return QueryError(f"no series gives it the value {float(value):g}", where=text(expr, self.scope), cure="choose a value that it can have")

    def series(self, selector: Selector, avoid: Iterable[Selector] = (), **fixed: str) -> SeriesKey:
        """A series that matches the selector and the scope, and none of `avoid`. `fixed`: values of labels. Raises `QueryError`."""
        avoided = [other for other in avoid if other.name == selector.name]
        names = {
            **dict.fromkeys(TARGET_LABELS),
            **dict.fromkeys(kept_labels(self.scope)),
            **{label: None for label, _, _ in matchers(self.scope.selector)},
        }
        labels = {label.name: label for label in selector.metric.labels}
        bounds = [repr(float(bound)) for bound in getattr(selector.metric, "buckets", ())]
        for matcher in selector.matchers:
            if matcher.label == "le":
                names["le"] = None
                continue
            labels.setdefault(matcher.label, selector.metric.label(matcher.label))
        tests = [*((m.label, m.operator, m.value) for m in selector.matchers), *matchers(self.scope.selector)]

        def choices(name: str) -> Iterator[tuple[str, str]]:
            return iter([(name, fixed[name])]) if name in fixed else self._choices(name, labels.get(name), tests, bounds)

        wanted = {**names, **labels}
        varied = {matcher.label for other in avoided for matcher in other.matchers}
        for found in product(*(choices(name) if name in varied else [next(choices(name), (name, ""))] for name in wanted)):
            values = {**dict(found), **fixed}
            fits = all(agrees(values[label], operator, value) for label, operator, value in tests)
            if fits and not any(all(agrees(values.get(m.label, ""), m.operator, m.value) for m in other.matchers) for other in avoided):
                return selector.name, tuple(sorted(values.items()))
        raise QueryError(
            "every series that matches it matches another selector too", where=text(selector, self.scope), cure="add a matcher on another label"
        )

    def _choices(self, name: str, label: Label | None, tests: list[tuple[str, str, str]], bounds: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The name with each value that the label may have, by the matchers on it."""
        mine = [(operator, value) for tested, operator, value in tests if tested == name]
        first = (self.instance,) if name == "instance" else (f"{name}-1",) if label is None else ()
        written = [word for operator, value in mine if operator in ("=", "=~") for word in (value, *value.split("|"))]
        closed = label.values if label else ()
        values = (closed[::-1] if self.last else closed) or (*first, *written, *_NAMES, *bounds)
        for value in values:
            if all(agrees(value, *test) for test in mine) and (label is None or label.allows(value)):
                yield name, value

    def _several(self, node: Aggregation, value: Fraction, avoid: tuple[Selector, ...]) -> Lines:
        if value.denominator != 1 or value < 1:
            raise self.unsolvable(node, value)
        selectors = [part for part in node.walk() if isinstance(part, Selector)]
        free = [name for name in (*selectors[0].metric.label_names, "instance") if name not in node.by]
        if not free:
            raise self.unsolvable(node, value)
        lines: Lines = {}
        one = next(iter(self.solve(node.operand, Fraction(1), avoid).items()))
        for number in range(int(value)):
            labels = {**dict(one[0][1]), **({free[0]: f"{dict(one[0][1])[free[0]]}{number}"} if number else {})}
            lines[one[0][0], tuple(sorted(labels.items()))] = one[1]
        return lines

    @property
    def _whole(self) -> Fraction:
        """Increase of the total of a ratio per second."""
        return Fraction(_BASE * self.scale, self.step)

    def _quotient(self, node: Quotient, value: Fraction, avoid: tuple[Selector, ...]) -> Lines:
        if value < 0:
            raise self.unsolvable(node, value)
        whole = self._whole if any(isinstance(part, RangeCall) for part in node.walk()) else Fraction(_BASE * self.scale)
        part = self.solve(node.part, whole * value, avoid)
        mine = tuple(inner for inner in node.part.walk() if isinstance(inner, Selector))
        wholes = [inner for inner in node.whole.walk() if isinstance(inner, Selector)]
        inside = sum(
            (line.slope if line.counter else line.start for key, line in part.items() if any(selects(selector, key) for selector in wholes)),
            Fraction(0),
        )
        if inside > whole:
            raise self.unsolvable(node, value)
        rest = self.solve(node.whole, whole - inside, (*avoid, *mine)) if inside < whole else {}
        return {**part, **rest}

    def _buckets(self, node: Quantile, value: Fraction, avoid: tuple[Selector, ...]) -> Lines:
        bounds = [Fraction(0), *map(exact, node.histogram.metric.buckets)]
        above = next((index for index in range(1, len(bounds)) if value <= bounds[index]), 0)
        if not above or value <= 0:
            raise self.unsolvable(node, value)
        q, total = exact(node.q), self._whole
        within = (value - bounds[above - 1]) / (bounds[above] - bounds[above - 1])
        below, upto = (total * (q - within) / (1 - within), total) if within <= q and within < 1 else (Fraction(0), total * q / within)
        if below and above == 1:
            raise self.unsolvable(node, value)
        lines = {}
        for index, bound in enumerate(bounds[1:], 1):
            slope = Fraction(0) if index < above - 1 else below if index == above - 1 else upto if index == above else total
            lines[self.series(node.histogram.buckets, avoid, le=repr(float(bound)))] = Line(Fraction(0), slope, counter=True)
        lines[self.series(node.histogram.buckets, avoid, le="+Inf")] = Line(Fraction(0), total, counter=True)
        return lines


def selects(selector: Selector, key: SeriesKey) -> bool:
    """True if the selector matches the series (scope matchers ignored)."""
    labels = dict(key[1])
    return selector.name == key[0] and all(agrees(labels.get(m.label, ""), m.operator, m.value) for m in selector.matchers)


def exact(value: float) -> Fraction:
    """The exact number of a float's shortest decimal text: 0.05 is 1/20."""
    return Fraction(repr(value))


def _some(expr: Expr) -> Fraction:
    """A value for which an expression has a result."""
    return inside(expr, exact(expr.threshold.value))[0] if isinstance(expr, Comparison) else Fraction(1)


def inside(comparison: Comparison, threshold: Fraction) -> tuple[Fraction, ...]:
    """Values that satisfy the comparison with the threshold, just."""
    near = abs(threshold) / 100 or Fraction(1)
    return {
        ">": (threshold + near,), "<": (threshold - near,), ">=": (threshold,), "<=": (threshold,), "==": (threshold,),
        "!=": (1 - threshold if threshold in (0, 1) else threshold + near,),
    }[comparison.operator]  # fmt: skip


def outside(comparison: Comparison, threshold: Fraction) -> tuple[Fraction, ...]:
    """Values that do not satisfy the comparison, the nearest first; a later one is for inexact arithmetic."""
    near = abs(threshold) / 100 or Fraction(1)
    little = near / 10
    other = 1 - threshold if threshold in (0, 1) else threshold + near
    return {
        ">": (threshold, threshold - little), "<": (threshold, threshold + little), ">=": (threshold - near,), "<=": (threshold + near,),
        "==": (other,), "!=": (threshold,),
    }[comparison.operator]  # fmt: skip
