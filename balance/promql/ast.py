"""Nodes of typed PromQL. Every expression knows the labels of its result and its unit; constructors refuse what cannot be answered.

Only queries that the catalog can answer can be built: a selector holds a metric of the catalog and matchers on labels it has,
an aggregation keeps labels that its operand has, the sides of a division carry the same labels. Authors use `balance.promql`'s
words; `text.py` is the one place that writes PromQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from balance.catalog.model import RATIO, SECONDS, STATE, TARGET_LABELS, Counter, Histogram, Metric, Threshold, Unit
from balance.errors import QueryError, choices
from balance.record import Record

MatchOperator = Literal["=", "!=", "=~", "!~"]
ComparisonOperator = Literal[">", ">=", "<", "<=", "==", "!="]
Labels = frozenset[str]
OBSERVATIONS = Unit.of("observations")
_NOT_RE2 = re.compile(r"\(\?<?[=!]|\(\?P=|\\[1-9]|[*+?}]\+")
"""What Python's regular expressions have and Prometheus' have not: lookaround, back references, possessive quantifiers."""


class Window(Record):
    """How far back a range looks, in seconds. An `adaptive` one follows the resolution where a dashboard draws it."""

    seconds: int
    adaptive: bool = False

    def validate(self) -> None:
        if self.seconds <= 0 or self.seconds % 1:
            raise QueryError(f"a window of {self.seconds} s", cure="windows are whole seconds, 1 or more")


RATE_WINDOW = Window(300, adaptive=True)
"""The window of rates: five minutes in rules, Grafana's `$__rate_interval` on a dashboard."""


class Matcher(Record):
    """One condition on a label: ``status=~"5.."``."""

    label: str
    operator: MatchOperator
    value: str


class Expr(Record):
    """An instant vector."""

    @property
    def labels(self) -> Labels:
        """Names of the labels that series of the result can carry."""
        raise NotImplementedError

    @property
    def unit(self) -> Unit:
        """The unit of the result's values."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[Expr, ...]:
        """The expressions that this one is made of."""
        return tuple(value for value in vars(self).values() if isinstance(value, Expr))

    def walk(self) -> Iterator[Expr]:
        """This expression and all within it."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def windows(self) -> Iterator[Window]:
        """Every window over which a rate or an increase is taken."""
        return (node.range.window for node in self.walk() if isinstance(node, RangeCall))


class Selector(Expr):
    """Series of one metric. `suffix` picks a part of a histogram: ``_bucket``, ``_count``, ``_sum``."""

    metric: Metric
    matchers: tuple[Matcher, ...] = ()
    suffix: str = ""

    def validate(self) -> None:
        for matcher in self.matchers:
            self._check(matcher)

    def _check(self, matcher: Matcher) -> None:
        label = self.metric.label(matcher.label)
        if matcher.operator in ("=", "!="):
            if not label.allows(matcher.value):
                raise QueryError(label.refusal(matcher.value), where=self.metric.name)
            return
        if _NOT_RE2.search(matcher.value):
            raise QueryError(f"label {label.name!r}: {matcher.value!r} looks around or back", where=self.metric.name, cure="RE2 cannot: spell it out")
        try:
            pattern = re.compile(matcher.value)
        except re.error as error:
            raise QueryError(f"label {label.name!r}: {matcher.value!r} is no regular expression: {error}", where=self.metric.name) from None
        if label.values and not any(pattern.fullmatch(value) for value in label.values):
            raise QueryError(f"label {label.name!r}: {matcher.value!r} matches no value ({choices(label.values)})", where=self.metric.name)

    @property
    def name(self) -> str:
        """The series name, for a histogram with its suffix."""
        return self.metric.name + self.suffix

    @property
    def labels(self) -> Labels:
        return frozenset((*self.metric.label_names, *TARGET_LABELS))

    @property
    def unit(self) -> Unit:
        return self.metric.unit


def _require(wanted: type, given: object, what: str, cure: str) -> None:
    """Refuse an operand of another class: what the type checker sees, seen again at run time."""
    if isinstance(given, wanted):
        return
    metric = getattr(given, "metric", given)
    where, kind = (metric.name, metric.kind) if isinstance(metric, Metric) else (type(given).__name__, "different thing")
    raise QueryError(f"{what} of a {kind}", where=where, cure=cure)


def require_vector(*operands: object) -> None:
    """Refuse what is no instant vector, and the raw value of a counter, which says only how long ago the process started."""
    for operand in operands:
        if isinstance(operand, CounterSeries):
            raise QueryError("the raw value of a counter", where=operand.name, cure="take rate() or increase() first")
        _require(Expr, operand, "the value", "takes an expression; of a histogram, a quantile")


class _NoRange:
    """Something over which no range can be taken; the type checker sees no `over` at all."""

    if not TYPE_CHECKING:

        def over(self, window: Window) -> None:
            _require(CounterSeries, self, "a range", "takes the series of a counter")


class GaugeSeries(_NoRange, Selector):
    """Series of a gauge."""


class CounterSeries(Selector):
    """Series of a counter: of use only as a rate or an increase over a window."""

    of: ClassVar[type[Metric]] = Counter

    def validate(self) -> None:
        _require(self.of, self.metric, "counter series", "takes a counter, or a part of a histogram")
        super().validate()

    def over(self, window: Window) -> CounterRange:
        """The samples of the last `window`."""
        return CounterRange(self, window)


class StateSeries(GaugeSeries):
    """Series of a state set: 1 where the chosen state holds."""

    @property
    def labels(self) -> Labels:
        return super().labels | {matcher.label for matcher in self.matchers}


class PartSeries(CounterSeries):
    """``_count``, ``_sum`` or ``_bucket`` of a histogram; the buckets carry ``le``."""

    of: ClassVar[type[Metric]] = Histogram

    @property
    def labels(self) -> Labels:
        return super().labels | ({"le"} if self.suffix == "_bucket" else frozenset())

    @property
    def unit(self) -> Unit:
        return self.metric.unit if self.suffix == "_sum" else OBSERVATIONS


class HistogramSeries(_NoRange, Record):
    """Series of a histogram. It is no vector by itself: take a quantile of it, or one of its parts."""

    metric: Histogram
    matchers: tuple[Matcher, ...] = ()

    def validate(self) -> None:
        PartSeries(self.metric, self.matchers, "_count")

    @property
    def buckets(self) -> PartSeries:
        """Counts of observations up to each bound ``le``."""
        return PartSeries(self.metric, self.matchers, "_bucket")

    @property
    def count(self) -> PartSeries:
        """The number of observations."""
        return PartSeries(self.metric, self.matchers, "_count")

    @property
    def sum(self) -> PartSeries:
        """The sum of all observations."""
        return PartSeries(self.metric, self.matchers, "_sum")


class CounterRange(Record):
    """A range vector of a counter."""

    series: CounterSeries
    window: Window

    def validate(self) -> None:
        _require(CounterSeries, self.series, "a range", "takes the series of a counter")


class RangeCall(Expr):
    """``rate`` or ``increase`` of a counter over a window."""

    function: Literal["rate", "increase"]
    range: CounterRange

    def validate(self) -> None:
        _require(CounterRange, self.range, f"{self.function}()", "takes series(COUNTER).over(WINDOW)")

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.range.series,)

    @property
    def labels(self) -> Labels:
        return self.range.series.labels

    @property
    def unit(self) -> Unit:
        return self.range.series.unit / SECONDS if self.function == "rate" else self.range.series.unit


class Aggregation(Expr):
    """``sum``, ``min``, ``max``, ``avg`` or ``count`` by labels that the operand has."""

    operator: Literal["sum", "min", "max", "avg", "count"]
    by: tuple[str, ...]
    operand: Expr

    def validate(self) -> None:
        if self.operator != "count":
            require_vector(self.operand)
        for label in self.by:
            if label not in self.operand.labels:
                raise QueryError(f"{self.operator} by {label!r}: no such label", cure=f"labels: {choices(self.operand.labels)}")

    @property
    def labels(self) -> Labels:
        return frozenset(self.by)

    @property
    def unit(self) -> Unit:
        return Unit.of("series") if self.operator == "count" else self.operand.unit


class Quantile(Expr):
    """``histogram_quantile`` over the summed rates of a histogram's buckets, ``le`` kept."""

    q: float
    histogram: HistogramSeries
    window: Window
    by: tuple[str, ...]

    def validate(self) -> None:
        _require(HistogramSeries, self.histogram, "a quantile", "takes series(HISTOGRAM)")
        if not 0 < self.q < 1:
            raise QueryError(f"quantile {self.q}", where=self.histogram.metric.name, cure="must be between 0 and 1")
        if "le" in self.by:
            raise QueryError("a quantile by 'le'", where=self.histogram.metric.name, cure="the quantile is taken over le: leave it out of by")
        _ = self.summed

    @property
    def summed(self) -> Aggregation:
        """The argument of ``histogram_quantile``."""
        rates = RangeCall("rate", self.histogram.buckets.over(self.window))
        return Aggregation("sum", (*self.by, "le"), rates)

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.summed,)

    @property
    def labels(self) -> Labels:
        return frozenset(self.by)

    @property
    def unit(self) -> Unit:
        return self.histogram.metric.unit


class Ratio(Expr):
    """One vector over another with the same labels and the same unit: a share of the whole."""

    part: Expr
    whole: Expr

    def validate(self) -> None:
        require_vector(self.part, self.whole)
        if self.part.labels != self.whole.labels:
            raise QueryError(
                f"a ratio of series by ({choices(self.part.labels)}) and by ({choices(self.whole.labels)})",
                cure="aggregate both sides by the same labels",
            )
        if self.part.unit != self.whole.unit:
            raise QueryError(f"a ratio of {self.part.unit} and {self.whole.unit}", cure="both sides need the same unit")

    @property
    def labels(self) -> Labels:
        return self.part.labels

    @property
    def unit(self) -> Unit:
        return RATIO


class Scaled(Expr):
    """A vector times a threshold that is a ratio: where, in the vector's own unit, the limit lies."""

    operand: Expr
    threshold: Threshold

    def validate(self) -> None:
        require_vector(self.operand)
        if self.threshold.unit != RATIO:
            raise QueryError(f"scaling by {self.threshold.name!r}, which is in {self.threshold.unit}", cure="scale by a ratio")

    @property
    def labels(self) -> Labels:
        return self.operand.labels

    @property
    def unit(self) -> Unit:
        return self.operand.unit


class Comparison(Expr):
    """The series whose value compares so with a threshold."""

    left: Expr
    operator: ComparisonOperator
    threshold: Threshold

    def validate(self) -> None:
        require_vector(self.left)
        if self.operator not in get_args(ComparisonOperator):
            raise QueryError(f"no operator {self.operator!r}", cure=f"choices: {choices(get_args(ComparisonOperator))}")
        if self.left.unit != self.threshold.unit:
            raise QueryError(
                f"compares {self.left.unit} with the threshold {self.threshold.name!r}, which is in {self.threshold.unit}",
                cure="use an expression and a threshold of one unit",
            )

    @property
    def labels(self) -> Labels:
        return self.left.labels

    @property
    def unit(self) -> Unit:
        return self.left.unit


class Absent(Expr):
    """1 where no such series exists at all; carries the labels that its selector fixes with ``=``."""

    selector: Selector

    def validate(self) -> None:
        _require(Selector, self.selector, "absent()", "takes the series of a metric; of a histogram, its count")

    @property
    def labels(self) -> Labels:
        return frozenset({"job"} | {matcher.label for matcher in self.selector.matchers if matcher.operator == "="})

    @property
    def unit(self) -> Unit:
        return STATE


class SetOperation(Expr):
    """``or`` and ``unless`` of two vectors; `on` names the labels that are matched, none means all."""

    operator: Literal["or", "unless"]
    left: Expr
    right: Expr
    on: tuple[str, ...] = ()

    precedence: ClassVar[dict[str, int]] = {"or": 0, "unless": 1}

    def validate(self) -> None:
        require_vector(self.left, self.right)
        if self.operator == "or" and self.left.unit != self.right.unit:
            raise QueryError(f"{self.left.unit} or {self.right.unit}", cure="both sides need the same unit")
        for label in self.on:
            for side in (self.left, self.right):
                if label not in side.labels:
                    raise QueryError(f"{self.operator} on {label!r}: no such label on one side", cure=f"labels: {choices(side.labels)}")

    @property
    def labels(self) -> Labels:
        """The labels that every series of the result carries: for ``or`` those of both sides."""
        return self.left.labels & self.right.labels if self.operator == "or" else self.left.labels

    @property
    def unit(self) -> Unit:
        return self.left.unit
