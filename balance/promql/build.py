"""The functions with which authors build expressions from metrics of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from balance.catalog.model import RATIO, Counter, Gauge, Histogram, Metric, StateSet, Threshold
from balance.errors import QueryError, choices
from balance.promql.ast import (
    Absent,
    Aggregation,
    Changes,
    Comparison,
    ComparisonOperator,
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
from balance.promql.selectors import (
    CounterRange,
    CounterSeries,
    Expr,
    GaugeSeries,
    HistogramSeries,
    Matcher,
    MatchOperator,
    Selector,
    StateSeries,
    Window,
)


@dataclass(frozen=True)
class Match:
    """A matcher other than equality: an operator and the value or regular expression to compare a label with."""

    operator: MatchOperator
    value: str


def matches(pattern: str) -> Match:
    """Match a regular expression, anchored at both ends, in RE2 syntax: ``status=matches("5..")``."""
    return Match("=~", pattern)


def is_not(value: str) -> Match:
    """Match everything but `value`."""
    return Match("!=", value)


@overload
def series(metric: Counter, /, **labels: str | Match) -> CounterSeries: ...
@overload
def series(metric: Gauge, /, **labels: str | Match) -> GaugeSeries: ...
@overload
def series(metric: Histogram, /, **labels: str | Match) -> HistogramSeries: ...
@overload
def series(metric: StateSet, /, **labels: str | Match) -> StateSeries: ...
def series(metric: Metric, /, **labels: str | Match) -> Selector | HistogramSeries:
    """The series of a metric, filtered by its labels. A state set needs the state: ``series(BREAKER, state="open")``.

    Raises `CatalogError` for a label that the metric does not have, `QueryError` for a value that the label cannot have.
    """
    matchers = tuple(Matcher(name, *((m.operator, m.value) if isinstance(m, Match) else ("=", m))) for name, m in sorted(labels.items()))
    if isinstance(metric, Counter):
        return CounterSeries(metric, matchers)
    if isinstance(metric, Histogram):
        return HistogramSeries(metric, matchers)
    if isinstance(metric, StateSet):
        if metric.state_label not in labels:
            raise QueryError("needs a state", where=metric.name, cure=f"give {metric.state_label}= one of: {choices(metric.states)}")
        return StateSeries(metric, matchers)
    return GaugeSeries(metric, matchers)


def rate(samples: CounterRange) -> Expr:
    """Increase per second over a window: ``rate(series(REQUESTS).over(RATE_WINDOW))``."""
    return RangeCall("rate", samples)


def increase(samples: CounterRange) -> Expr:
    """Increase over a window: ``increase(series(REQUESTS).over(Window(900)))``."""
    return RangeCall("increase", samples)


def sum_by(expr: Expr, *labels: str) -> Expr:
    """The sum, one series for each combination of `labels`, which must be labels of `expr`."""
    return Aggregation("sum", tuple(sorted(labels)), expr)


def max_by(expr: Expr, *labels: str) -> Expr:
    """The largest value for each combination of `labels`."""
    return Aggregation("max", tuple(sorted(labels)), expr)


def min_by(expr: Expr, *labels: str) -> Expr:
    """The smallest value for each combination of `labels`."""
    return Aggregation("min", tuple(sorted(labels)), expr)


def count_by(expr: Expr, *labels: str) -> Expr:
    """The number of series for each combination of `labels`."""
    return Aggregation("count", tuple(sorted(labels)), expr)


def changes(gauge: GaugeSeries, window: Window) -> Expr:
    """How often the value of a gauge changed over the window."""
    return Changes(gauge, window)


def ratio(part: Expr, whole: Expr) -> Expr:
    """`part` divided by `whole`. Raises `QueryError` unless both have the same labels and unit."""
    made = Quotient(part, whole)
    if made.unit != RATIO:
        raise QueryError(f"ratio() needs operands of one unit, got {part.unit} and {whole.unit}", cure="per() divides different units")
    return made


def per(part: Expr, whole: Expr) -> Expr:
    """`part` divided by `whole`, which may have another unit: bytes per request. Raises `QueryError` unless both have the same labels."""
    return Quotient(part, whole)


def mean(histogram: HistogramSeries, window: Window, *by: str) -> Expr:
    """The mean of the observations of the last `window`, for each combination of the labels `by`, in the histogram's unit."""
    return per(sum_by(rate(histogram.sum.over(window)), *by), sum_by(rate(histogram.count.over(window)), *by))


def quantile(q: float, histogram: HistogramSeries, window: Window, *by: str) -> Expr:
    """The q-quantile (0 < q < 1) of the observations of the last `window`, for each combination of the labels `by`."""
    return Quantile(q, histogram, window, tuple(sorted(by)))


def times(expr: Expr, threshold: Threshold) -> Expr:
    """`expr` times a threshold. Raises `QueryError` unless the threshold is a ratio."""
    return Times(expr, threshold)


def complement(expr: Expr) -> Expr:
    """One minus `expr`. Raises `QueryError` unless `expr` is a ratio."""
    return Complement(expr)


def recorded(record: str, expr: Expr) -> Recorded:
    """The series that a recording rule stores under the name `record`: `expr` at the last evaluation, over fixed windows."""
    return Recorded(record, expr)


def over_time(series: Recorded, window: Window) -> Expr:
    """The sum of the samples that a recording rule stored in the last `window`."""
    return OverTime(series, window)


def seconds_since(moment: GaugeSeries) -> Expr:
    """Seconds since a time, which is a gauge in seconds since 1970."""
    return TimeSince(moment, "since")


def seconds_until(moment: GaugeSeries) -> Expr:
    """Seconds until a time, which is a gauge in seconds since 1970."""
    return TimeSince(moment, "until")


def compare(left: Expr, operator: ComparisonOperator, threshold: Threshold) -> Comparison:
    """The series of `left` for which ``left operator threshold`` holds. Raises `QueryError` unless both have the same unit."""
    return Comparison(left, operator, threshold)


def absent(selector: Selector) -> Expr:
    """1 if no series matches the selector."""
    return Absent(selector)


def or_(left: Expr, right: Expr, *on: str) -> Expr:
    """``left or right``: all series of `left`, and those of `right` without a match in `left`. `on`: the labels that are matched (default: all)."""
    return SetOperation("or", left, right, tuple(sorted(on)))


def unless(left: Expr, right: Expr, *on: str) -> Expr:
    """``left unless right``: the series of `left` without a match in `right`. `on`: the labels that are matched (default: all)."""
    return SetOperation("unless", left, right, tuple(sorted(on)))
