"""Nodes of typed PromQL. Every expression knows the labels of its result and its unit; constructors refuse what cannot be answered.

Only queries that the catalog can answer can be built: a selector holds a metric of the catalog and matchers on labels it has,
an aggregation keeps labels that its operand has, the sides of a division carry the same labels. Authors use `balance.promql`'s
words; `text.py` is the one place that writes PromQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

from balance.catalog.model import RATIO, SECONDS, STATE, Gauge, StateSet, Threshold, Unit
from balance.errors import QueryError, choices
from balance.promql.selectors import (
    OBSERVATIONS,
    CounterRange,
    Expr,
    GaugeSeries,
    HistogramSeries,
    Labels,
    Selector,
    Window,
    require,
    require_vector,
)

ComparisonOperator = Literal[">", ">=", "<", "<=", "==", "!="]


@dataclass(frozen=True)
class RangeCall(Expr):
    """``rate`` or ``increase`` of a counter over a window."""

    function: Literal["rate", "increase"]
    range: CounterRange

    def __post_init__(self) -> None:
        require(CounterRange, self.range, f"{self.function}()", "takes series(COUNTER).over(WINDOW)")

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.range.series,)

    @property
    def labels(self) -> Labels:
        return self.range.series.labels

    @cached_property
    def unit(self) -> Unit:
        return self.range.series.unit / SECONDS if self.function == "rate" else self.range.series.unit


@dataclass(frozen=True)
class Aggregation(Expr):
    """``sum``, ``min``, ``max``, ``avg`` or ``count`` by labels that the operand has."""

    operator: Literal["sum", "min", "max", "avg", "count"]
    by: tuple[str, ...]
    operand: Expr

    def __post_init__(self) -> None:
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
        counted = self.operator == "count" and self.operand.unit != STATE  # states are counted, or those that hold added up: one unit
        return Unit.of("series") if counted else self.operand.unit


@dataclass(frozen=True)
class Quantile(Expr):
    """``histogram_quantile`` over the summed rates of a histogram's buckets, ``le`` kept."""

    q: float
    histogram: HistogramSeries
    window: Window
    by: tuple[str, ...]

    def __post_init__(self) -> None:
        require(HistogramSeries, self.histogram, "a quantile", "takes series(HISTOGRAM)")
        if not 0 < self.q < 1:
            raise QueryError(f"quantile {self.q}", where=self.histogram.metric.name, cure="must be between 0 and 1")
        if "le" in self.by:
            raise QueryError("a quantile by 'le'", where=self.histogram.metric.name, cure="the quantile is taken over le: leave it out of by")
        _ = self.summed

    @cached_property
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


@dataclass(frozen=True)
class Quotient(Expr):
    """One vector over another with the same labels, in the unit that follows: bytes over requests are bytes per request, seconds over
    seconds a ratio. What is observed counts as a number: seconds over observations, the mean of a histogram, are seconds.
    """

    part: Expr
    whole: Expr

    def __post_init__(self) -> None:
        require_vector(self.part, self.whole)
        if self.part.labels != self.whole.labels:
            raise QueryError(
                f"a ratio of series by ({choices(self.part.labels)}) and by ({choices(self.whole.labels)})",
                cure="aggregate both sides by the same labels",
            )

    @property
    def labels(self) -> Labels:
        return self.part.labels

    @cached_property
    def unit(self) -> Unit:
        unit = self.part.unit / self.whole.unit
        return unit * OBSERVATIONS if self.whole.unit.power(OBSERVATIONS) > self.part.unit.power(OBSERVATIONS) else unit


@dataclass(frozen=True)
class Scaled(Expr):
    """A vector times a threshold that is a ratio: where, in the vector's own unit, the limit lies."""

    operand: Expr
    threshold: Threshold

    def __post_init__(self) -> None:
        require_vector(self.operand)
        if self.threshold.unit != RATIO:
            raise QueryError(f"scaling by {self.threshold.name!r}, which is in {self.threshold.unit}", cure="scale by a ratio")

    @property
    def labels(self) -> Labels:
        return self.operand.labels

    @property
    def unit(self) -> Unit:
        return self.operand.unit


@dataclass(frozen=True)
class Distance(Expr):
    """How far a moment is from now: ``time() - MOMENT`` since it, ``MOMENT - time()`` until it. `moment` is a gauge in seconds since 1970."""

    moment: Expr
    direction: Literal["since", "until"]

    def __post_init__(self) -> None:
        require(Expr, self.moment, f"the time {self.direction}", "takes the series of a gauge that holds a time")
        metric = getattr(self.moment, "metric", None)
        if not isinstance(metric, Gauge) or metric.unit != SECONDS:
            what = metric.name if metric is not None else type(self.moment).__name__
            raise QueryError(f"the time {self.direction} {what}", cure="takes a gauge in seconds since 1970")

    @property
    def labels(self) -> Labels:
        return self.moment.labels

    @property
    def unit(self) -> Unit:
        return SECONDS


@dataclass(frozen=True)
class Changes(Expr):
    """How often the value of a gauge changed over a window."""

    series: GaugeSeries
    window: Window

    def __post_init__(self) -> None:
        require(GaugeSeries, self.series, "changes()", "takes the series of a gauge")

    @property
    def labels(self) -> Labels:
        return self.series.labels

    @property
    def unit(self) -> Unit:
        return Unit.of("changes")


@dataclass(frozen=True)
class Comparison(Expr):
    """The series whose value compares so with a threshold."""

    left: Expr
    operator: ComparisonOperator
    threshold: Threshold

    def __post_init__(self) -> None:
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


@dataclass(frozen=True)
class Absent(Expr):
    """1 where no such series exists at all; carries the labels that its selector fixes with ``=``."""

    selector: Selector

    def __post_init__(self) -> None:
        require(Selector, self.selector, "absent()", "takes the series of a metric; of a histogram, its count")

    @property
    def labels(self) -> Labels:
        return frozenset({"job"} | {matcher.label for matcher in self.selector.matchers if matcher.operator == "="})

    @property
    def unit(self) -> Unit:
        return STATE


@dataclass(frozen=True)
class Recorded(Expr):
    """What a recording rule has stored under a name: the value of `expr` at the last evaluation.

    Raises `QueryError` for a window that settings may choose: the name of the rule goes with the window, and would be another.
    """

    record: str
    expr: Expr

    def __post_init__(self) -> None:
        if any(window.adaptive for window in self.expr.windows()):
            raise QueryError("reads a recording rule whose window the settings choose", where=self.record, cure="record over a fixed window")

    @property
    def labels(self) -> Labels:
        return self.expr.labels

    @property
    def unit(self) -> Unit:
        return self.expr.unit


@dataclass(frozen=True)
class Bridged(Expr):
    """The series of a renamed metric as they are, under whichever of its names they exist; of both, those with the present one."""

    selector: Selector

    @property
    def labels(self) -> Labels:
        metric = self.selector.metric
        return self.selector.labels | ({metric.state_label} if isinstance(metric, StateSet) else frozenset())

    @property
    def unit(self) -> Unit:
        return self.selector.unit


@dataclass(frozen=True)
class OverTime(Expr):
    """``sum_over_time`` of what a recording rule has stored."""

    series: Recorded
    window: Window

    @property
    def labels(self) -> Labels:
        return self.series.labels

    @property
    def unit(self) -> Unit:
        return self.series.unit


@dataclass(frozen=True)
class Complement(Expr):
    """What a share leaves: ``1 - RATIO``."""

    operand: Expr

    def __post_init__(self) -> None:
        require_vector(self.operand)
        if self.operand.unit != RATIO:
            raise QueryError(f"what {self.operand.unit} leave of 1", cure="takes a ratio")

    @property
    def labels(self) -> Labels:
        return self.operand.labels

    @property
    def unit(self) -> Unit:
        return RATIO


@dataclass(frozen=True)
class SetOperation(Expr):
    """``or``, ``and`` and ``unless`` of two vectors; `on` names the labels that are matched, none means all."""

    operator: Literal["or", "and", "unless"]
    left: Expr
    right: Expr
    on: tuple[str, ...] = ()

    precedence: ClassVar[dict[str, int]] = {"or": 0, "and": 1, "unless": 1}

    def __post_init__(self) -> None:
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
