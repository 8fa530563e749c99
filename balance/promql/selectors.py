"""Series of the catalog's metrics, the leaves of every expression. A selector holds a metric and matchers on labels that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from balance.catalog.model import TARGET_LABELS, Counter, Histogram, Metric, Unit, number
from balance.errors import QueryError, choices

MatchOperator = Literal["=", "!=", "=~", "!~"]
LabelNames = frozenset[str]
OBSERVATIONS = Unit.of("observations")
_NOT_RE2 = re.compile(r"\(\?<?[=!]|\(\?P=|\\[1-9]|[*+?}]\+")
"""Python syntax that RE2 does not have: lookaround, backreferences, possessive quantifiers."""


@dataclass(frozen=True)
class Window:
    """The length of a range in seconds. On a dashboard, an `adaptive` window follows the resolution; a window with an `offset` ends that many
    seconds ago.
    """

    seconds: int
    adaptive: bool = False
    offset: int = 0

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.seconds % 1:
            raise QueryError(f"invalid window of {self.seconds} s", cure="must be a whole number of seconds, 1 or more")
        if self.offset < 0 or self.offset % 1:
            raise QueryError(f"invalid offset of {self.offset} s", cure="must be a whole number of seconds, 0 or more")


RATE_WINDOW = Window(300, adaptive=True)
"""The window of rates: five minutes in rules, Grafana's `$__rate_interval` on a dashboard."""


@dataclass(frozen=True)
class Matcher:
    """One condition on a label: ``status=~"5.."``."""

    label: str
    operator: MatchOperator
    value: str


def pattern_problem(pattern: str) -> str:
    """What is wrong with a regular expression as Prometheus reads it (RE2); empty if it is valid."""
    if _NOT_RE2.search(pattern):
        return "uses lookaround, backreferences or possessive quantifiers, which RE2 does not support"
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is not a valid regular expression: {error}"
    return ""


@dataclass(frozen=True)
class Expr:
    """An instant vector: the base of all expressions."""

    @property
    def labels(self) -> LabelNames:
        """Names of the labels that series of the result can have."""
        raise NotImplementedError

    @property
    def unit(self) -> Unit:
        """The unit of the result's values."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[Expr, ...]:
        """The direct subexpressions."""
        return tuple(value for value in vars(self).values() if isinstance(value, Expr))

    @cached_property
    def nodes(self) -> tuple[Expr, ...]:
        """This expression and all its subexpressions, depth first."""
        return (self, *(node for part in self.parts for node in part.nodes))

    def walk(self) -> Iterator[Expr]:
        """Iterate over this expression and all its subexpressions, depth first."""
        return iter(self.nodes)

    def selectors(self) -> Iterator[Selector]:
        """All selectors within this expression."""
        return (node for node in self.walk() if isinstance(node, Selector))

    @cached_property
    def _metrics(self) -> frozenset[Metric]:
        return frozenset(selector.metric for selector in self.selectors())

    def metrics(self) -> frozenset[Metric]:
        """The metrics that this expression selects."""
        return self._metrics

    def windows(self) -> Iterator[Window]:
        """The windows of all rates and increases within this expression."""
        ranges = (getattr(node, "range", None) for node in self.walk())
        return (samples.window for samples in ranges if isinstance(samples, CounterRange))


@dataclass(frozen=True)
class Selector(Expr):
    """Series of one metric. `suffix` picks a part of a histogram: ``_bucket``, ``_count``, ``_sum``."""

    metric: Metric
    matchers: tuple[Matcher, ...] = ()
    suffix: str = ""

    def __post_init__(self) -> None:
        for matcher in self.matchers:
            self._check(matcher)

    def _check(self, matcher: Matcher) -> None:
        label = self.metric.label(matcher.label)
        if matcher.operator in ("=", "!="):
            if not label.allows(matcher.value):
                raise QueryError(label.refusal(matcher.value), where=self.metric.name)
            return
        if fault := pattern_problem(matcher.value):
            raise QueryError(f"label {label.name!r}: {matcher.value!r} {fault}", where=self.metric.name)
        pattern = re.compile(matcher.value)
        if label.values and not any(pattern.fullmatch(value) for value in label.values):
            raise QueryError(f"label {label.name!r}: {matcher.value!r} matches no value ({choices(label.values)})", where=self.metric.name)

    @property
    def name(self) -> str:
        """The series name, for a histogram with its suffix."""
        return self.metric.name + self.suffix

    @property
    def labels(self) -> LabelNames:
        return frozenset((*self.metric.label_names, *TARGET_LABELS))

    @property
    def unit(self) -> Unit:
        return self.metric.unit


def require(wanted: type, given: object, function: str, needs: str, cure: str = "") -> None:
    """Raise `QueryError` ("FUNCTION needs NEEDS, got ...") unless `given` is a `wanted`: what the type checker says, at run time."""
    if isinstance(given, wanted):
        return
    metric = getattr(given, "metric", given)
    where, kind = (metric.name, f"a {metric.kind}") if isinstance(metric, Metric) else ("", type(given).__name__)
    raise QueryError(f"{function} needs {needs}, got {kind}", where=where, cure=cure)


def require_vector(*operands: object) -> None:
    """Raise `QueryError` for operands that are not instant vectors, and for raw counters, whose value depends on the age of the process."""
    for operand in operands:
        if isinstance(operand, CounterSeries):
            raise QueryError("cannot use the raw value of a counter", where=operand.name, cure="take rate() or increase() first")
        require(Expr, operand, "a query", "an expression", "of a histogram take quantile() or mean()")


class _NoRange:
    """Series without ranges: `over` raises at run time, and the type checker does not see it."""

    if not TYPE_CHECKING:

        def over(self, window: Window) -> None:
            require(CounterSeries, self, "over()", "the series of a counter")


@dataclass(frozen=True)
class GaugeSeries(_NoRange, Selector):
    """Series of a gauge."""


@dataclass(frozen=True)
class CounterSeries(Selector):
    """Series of a counter, to be used as a rate or an increase over a window."""

    of: ClassVar[type[Metric]] = Counter

    def __post_init__(self) -> None:
        require(self.of, self.metric, f"{type(self).__name__}()", f"a {self.of.kind}")
        super().__post_init__()

    def over(self, window: Window) -> CounterRange:
        """The samples of the last `window`, for `rate()` and `increase()`. Raises `QueryError` for anything but a `Window`."""
        require(Window, window, "over()", "a Window", "write RATE_WINDOW, or Window(SECONDS)")
        return CounterRange(self, window)


@dataclass(frozen=True)
class StateSeries(GaugeSeries):
    """Series of one state of a state set: 1 while that state holds, else 0."""

    @property
    def labels(self) -> LabelNames:
        return super().labels | {matcher.label for matcher in self.matchers}


@dataclass(frozen=True)
class PartSeries(CounterSeries):
    """``_count``, ``_sum`` or ``_bucket`` of a histogram; the buckets have the label ``le``."""

    of: ClassVar[type[Metric]] = Histogram

    def _check(self, matcher: Matcher) -> None:
        if matcher.label != "le":
            super()._check(matcher)

    @property
    def labels(self) -> LabelNames:
        return super().labels | ({"le"} if self.suffix == "_bucket" else frozenset())

    @property
    def unit(self) -> Unit:
        return self.metric.unit if self.suffix == "_sum" else OBSERVATIONS


@dataclass(frozen=True)
class HistogramSeries(_NoRange):
    """Series of a histogram. Not a vector by itself: take a quantile of it, or one of its parts."""

    metric: Histogram
    matchers: tuple[Matcher, ...] = ()

    def __post_init__(self) -> None:
        PartSeries(self.metric, self.matchers, "_count")

    @property
    def buckets(self) -> PartSeries:
        """Counts of observations up to each bound ``le``."""
        return PartSeries(self.metric, self.matchers, "_bucket")

    def within(self, bound: float) -> PartSeries:
        """Counts of observations up to one of the bucket bounds, which Prometheus 3 writes as 1.0 and others as 1. Raises `QueryError`."""
        if bound not in self.metric.buckets:
            raise QueryError(f"{number(bound)} is not a bucket bound", where=self.metric.name, cure=f"bounds: {self.metric.bounds}")
        whole = r"(\.0)?" if float(bound).is_integer() else ""
        return PartSeries(self.metric, (*self.matchers, Matcher("le", "=~", re.escape(number(bound)) + whole)), "_bucket")

    @property
    def count(self) -> PartSeries:
        """The number of observations."""
        return PartSeries(self.metric, self.matchers, "_count")

    @property
    def sum(self) -> PartSeries:
        """The sum of all observations."""
        return PartSeries(self.metric, self.matchers, "_sum")


@dataclass(frozen=True)
class CounterRange:
    """A range vector: the samples of a counter over a window."""

    series: CounterSeries
    window: Window

    def __post_init__(self) -> None:
        require(CounterSeries, self.series, "over()", "the series of a counter")
