"""Nodes of typed PromQL. Every expression knows the labels and the unit of its result; constructors reject invalid queries.

Only queries that the catalog can answer can be built: a selector holds a metric of the catalog and matchers on labels it has,
an aggregation keeps labels that its operand has, the sides of a division carry the same labels. Authors use the functions of
`balance.promql.build`; `text.py` is the only module that writes PromQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

from balance.catalog.model import RATIO, SECONDS, STATE, Gauge, Metric, StateSet, Threshold, Unit
from balance.errors import QueryError, choices
from balance.promql.selectors import (
    OBSERVATIONS,
    CounterRange,
    Expr,
    GaugeSeries,
    HistogramSeries,
    LabelNames,
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
        require(CounterRange, self.range, f"{self.function}()", "series(COUNTER).over(WINDOW)")

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.range.series,)

    @property
    def labels(self) -> LabelNames:
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
    def labels(self) -> LabelNames:
        return frozenset(self.by)

    @property
    def unit(self) -> Unit:
        counted = self.operator == "count" and self.operand.unit != STATE  # a count of states may be compared with a sum of states
        return Unit.of("series") if counted else self.operand.unit


@dataclass(frozen=True)
class Quantile(Expr):
    """``histogram_quantile`` over the summed rates of a histogram's buckets, which keep ``le``. `q` is between 0 and 1."""

    q: float
    histogram: HistogramSeries
    window: Window
    by: tuple[str, ...]

    def __post_init__(self) -> None:
        require(HistogramSeries, self.histogram, "quantile()", "series(HISTOGRAM)")
        if not 0 < self.q < 1:
            raise QueryError(f"invalid quantile {self.q}", where=self.histogram.metric.name, cure="must be between 0 and 1")
        if "le" in self.by:
            raise QueryError(
                "cannot group a quantile by 'le'", where=self.histogram.metric.name, cure="leave it out: the quantile is computed over le"
            )
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
    def labels(self) -> LabelNames:
        return frozenset(self.by)

    @property
    def unit(self) -> Unit:
        return self.histogram.metric.unit


@dataclass(frozen=True)
class Quotient(Expr):
    """`part` divided by `whole`, which have the same labels. The units divide too: bytes by requests are bytes per request, seconds by
    seconds a ratio. Observations count as plain numbers: seconds by observations, the mean of a histogram, are seconds.
    """

    part: Expr
    whole: Expr

    def __post_init__(self) -> None:
        require_vector(self.part, self.whole)
        if self.part.labels != self.whole.labels:
            raise QueryError(
                f"divides series by ({choices(self.part.labels)}) by series by ({choices(self.whole.labels)})",
                cure="aggregate both sides by the same labels",
            )

    @property
    def labels(self) -> LabelNames:
        return self.part.labels

    @cached_property
    def unit(self) -> Unit:
        unit = self.part.unit / self.whole.unit
        return unit * OBSERVATIONS if self.whole.unit.power(OBSERVATIONS) > self.part.unit.power(OBSERVATIONS) else unit


@dataclass(frozen=True)
class Times(Expr):
    """A vector times a threshold that is a ratio, in the unit of the vector: the level at which a share of a limit is reached."""

    operand: Expr
    threshold: Threshold

    def __post_init__(self) -> None:
        require_vector(self.operand)
        if self.threshold.unit != RATIO:
            raise QueryError(
                f"times() needs a ratio, got the threshold {self.threshold.name!r} in {self.threshold.unit}", cure="use one that is a ratio"
            )

    @property
    def labels(self) -> LabelNames:
        return self.operand.labels

    @property
    def unit(self) -> Unit:
        return self.operand.unit


@dataclass(frozen=True)
class TimeSince(Expr):
    """Seconds since (``time() - MOMENT``) or until (``MOMENT - time()``) a time; `moment` is a gauge in seconds since 1970."""

    moment: Expr
    direction: Literal["since", "until"]

    def __post_init__(self) -> None:
        function, needs = f"seconds_{self.direction}()", "a gauge in seconds since 1970"
        require(Expr, self.moment, function, needs)
        metric = getattr(self.moment, "metric", None)
        if not isinstance(metric, Gauge) or metric.unit != SECONDS:
            given = f"a {metric.kind} in {metric.unit}" if isinstance(metric, Metric) else type(self.moment).__name__
            raise QueryError(f"{function} needs {needs}, got {given}", where=getattr(metric, "name", ""))

    @property
    def labels(self) -> LabelNames:
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
        require(GaugeSeries, self.series, "changes()", "the series of a gauge")

    @property
    def labels(self) -> LabelNames:
        return self.series.labels

    @property
    def unit(self) -> Unit:
        return Unit.of("changes")


@dataclass(frozen=True)
class Comparison(Expr):
    """The series whose value is above, below, equal to ... a threshold of the same unit."""

    left: Expr
    operator: ComparisonOperator
    threshold: Threshold

    def __post_init__(self) -> None:
        require_vector(self.left)
        if self.operator not in get_args(ComparisonOperator):
            raise QueryError(f"unknown operator {self.operator!r}", cure=f"choices: {choices(get_args(ComparisonOperator))}")
        if self.left.unit != self.threshold.unit:
            raise QueryError(
                f"compares {self.left.unit} with the threshold {self.threshold.name!r}, which is in {self.threshold.unit}",
                cure="use an expression and a threshold of the same unit",
            )

    @property
    def labels(self) -> LabelNames:
        return self.left.labels

    @property
    def unit(self) -> Unit:
        return self.left.unit


@dataclass(frozen=True)
class Absent(Expr):
    """1 if no series matches the selector; the result has the labels that the selector fixes with ``=``."""

    selector: Selector

    def __post_init__(self) -> None:
        require(Selector, self.selector, "absent()", "the series of a metric", "of a histogram take .count")

    @property
    def labels(self) -> LabelNames:
        return frozenset({"job"} | {matcher.label for matcher in self.selector.matchers if matcher.operator == "="})

    @property
    def unit(self) -> Unit:
        return STATE


@dataclass(frozen=True)
class Recorded(Expr):
    """The series that a recording rule stores under the name `record`: the value of `expr` at the last evaluation.

    Raises `QueryError` for an adaptive window, which settings may change: the name of the rule contains the window.
    """

    record: str
    expr: Expr

    def __post_init__(self) -> None:
        if any(window.adaptive for window in self.expr.windows()):
            raise QueryError("records over an adaptive window", where=self.record, cure="use a fixed one: Window(SECONDS)")

    @property
    def labels(self) -> LabelNames:
        return self.expr.labels

    @property
    def unit(self) -> Unit:
        return self.expr.unit


@dataclass(frozen=True)
class RenamedSeries(Expr):
    """The raw series of a renamed metric under its current name or, where there are none, under its former name."""

    selector: Selector

    @property
    def labels(self) -> LabelNames:
        metric = self.selector.metric
        return self.selector.labels | ({metric.state_label} if isinstance(metric, StateSet) else frozenset())

    @property
    def unit(self) -> Unit:
        return self.selector.unit


@dataclass(frozen=True)
class OverTime(Expr):
    """``sum_over_time`` of the series of a recording rule."""

    series: Recorded
    window: Window

    @property
    def labels(self) -> LabelNames:
        return self.series.labels

    @property
    def unit(self) -> Unit:
        return self.series.unit


@dataclass(frozen=True)
class Complement(Expr):
    """``1 - RATIO``."""

    operand: Expr

    def __post_init__(self) -> None:
        require_vector(self.operand)
        if self.operand.unit != RATIO:
            raise QueryError(f"complement() needs a ratio, got {self.operand.unit}", cure="divide by the total first: ratio()")

    @property
    def labels(self) -> LabelNames:
        return self.operand.labels

    @property
    def unit(self) -> Unit:
        return RATIO


@dataclass(frozen=True)
class SetOperation(Expr):
    """``or``, ``and`` or ``unless`` of two vectors; `on` names the labels that are matched, empty means all."""

    operator: Literal["or", "and", "unless"]
    left: Expr
    right: Expr
    on: tuple[str, ...] = ()

    precedence: ClassVar[dict[str, int]] = {"or": 0, "and": 1, "unless": 1}

    def __post_init__(self) -> None:
        require_vector(self.left, self.right)
        if self.operator == "or" and self.left.unit != self.right.unit:
            raise QueryError(f"or_() needs operands of one unit, got {self.left.unit} and {self.right.unit}", cure="convert one of them")
        for label in self.on:
            for side in (self.left, self.right):
                if label not in side.labels:
                    raise QueryError(f"{self.operator} on {label!r}: one side has no such label", cure=f"labels: {choices(side.labels)}")

    @property
    def labels(self) -> LabelNames:
        """The labels that every series of the result carries: for ``or`` those of both sides."""
        return self.left.labels & self.right.labels if self.operator == "or" else self.left.labels

    @property
    def unit(self) -> Unit:
        return self.left.unit
