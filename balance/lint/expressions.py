"""Checks of expressions that pint makes against a live Prometheus, here from the catalog. What constructors reject is not checked again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TypeVar

from balance.catalog.model import number
from balance.errors import Problem
from balance.lint.check import Inputs, check
from balance.lint.ranges import constant_labels, value_range
from balance.promql.ast import (
    Aggregation,
    Comparison,
    ComparisonOperator,
    Quantile,
    Quotient,
    RangeCall,
    Recorded,
    SetOperation,
    Times,
    TimeSince,
)
from balance.promql.selectors import Expr

_NEGATED: dict[str, ComparisonOperator] = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}
Node = TypeVar("Node", bound=Expr)


def nodes(expr: Expr, *kinds: type[Node]) -> Collection[Node]:
    """The distinct nodes of these kinds within the expression."""
    return dict.fromkeys(node for node in expr.walk() if isinstance(node, kinds)).keys()


def _comparisons(inputs: Inputs) -> Iterator[tuple[str, str, Comparison, float]]:
    """Every comparison of an alert or recording rule: where, the name of the rule, the comparison, and its threshold under the settings."""
    for kind, name, expr in rules(inputs):
        for node in nodes(expr, Comparison):
            yield f"{kind} {name}", name, node, inputs.settings.scope.value(node.threshold)


def rules(inputs: Inputs) -> Iterator[tuple[str, str, Expr]]:
    """Kind, name and expression of every alert and recording rule."""
    yield from (("alert", alert.name, alert.condition.whole) for alert in inputs.bundle.alerts)
    yield from (("recording rule", rule.record, rule.expr) for rule in inputs.bundle.recording_rules)


def _satisfiable(operator: ComparisonOperator, low: float, high: float, value: float) -> bool:
    """True if some number from `low` to `high` satisfies the comparison with `value`."""
    match operator:
        case ">":
            return high > value
        case ">=":
            return high >= value
        case "<":
            return low < value
        case "<=":
            return low <= value
        case "==":
            return low <= value <= high
        case "!=":
            return not low == high == value


def _description(node: Comparison, value: float) -> str:
    return f"compares {node.left.unit} {node.operator} {number(value)}"


@check("condition-impossible", "error")
def condition_impossible(inputs: Inputs) -> Iterator[Problem]:
    """A comparison that is never true.

    A state is 0 or 1, a rate is not negative, a part of a whole is at most 1, and a quantile is at most the last bucket bound: an alert beyond that
    never fires (pint: promql/impossible). Choose a threshold within the range, or give the histogram a higher bucket.
    """
    for where, name, node, value in _comparisons(inputs):
        low, high = value_range(node.left, inputs.settings.scope)
        if not _satisfiable(node.operator, low, high, value):
            yield Problem(where, f"{_description(node, value)}, which is never true", f"values are between {low:g} and {high:g}", name)


@check("condition-certain", "error")
def condition_certain(inputs: Inputs) -> Iterator[Problem]:
    """A comparison that is always true.

    The rate of a counter is never below 0 and a state never above 1: such an alert fires as long as there are series. Choose a threshold within the
    range.
    """
    for where, name, node, value in _comparisons(inputs):
        low, high = value_range(node.left, inputs.settings.scope)
        if not _satisfiable(_NEGATED[node.operator], low, high, value):
            yield Problem(where, f"{_description(node, value)}, which is always true", f"values are between {low:g} and {high:g}", name)


@check("threshold-between-buckets", "error")
def threshold_between_buckets(inputs: Inputs) -> Iterator[Problem]:
    """A quantile compared with a value that is not a bucket bound.

    Between two bounds Prometheus interpolates linearly, so the alert depends on an estimate. Make the threshold a bound, and declare it:
    `Histogram(..., thresholds=(...))` keeps the two together.
    """
    for where, name, node, value in _comparisons(inputs):
        if isinstance(node.left, Quantile) and value not in (metric := node.left.histogram.metric).buckets:
            yield Problem(where, f"compares {metric.name} with {number(value)}, which is not a bucket bound", f"bounds: {metric.bounds}", name)


@check("equality-of-measured", "error")
def equality_of_measured(inputs: Inputs) -> Iterator[Problem]:
    """A measured value compared with `==` or `!=`.

    Rates, ratios, quantiles and times hardly ever equal a number exactly: the condition flickers or is never true. Compare with `>` or `<`. (0 is
    exact.)
    """
    for where, name, node, value in _comparisons(inputs):
        if node.operator in ("==", "!=") and value and nodes(node.left, RangeCall, Quotient, Times, TimeSince):
            yield Problem(where, f"{_description(node, value)}, which is a measured value", "compare with >, >=, < or <=", name)


@check("nan-in-aggregation", "error")
def nan_in_aggregation(inputs: Inputs) -> Iterator[Problem]:
    """A sum or average of ratios or quantiles.

    Without traffic a ratio is 0/0 = NaN, and one NaN makes the whole sum NaN, so that no comparison is true any more. A sum of ratios is wrong
    anyway: it weighs one request like a thousand. Aggregate first, then divide (pint: promql/nan). `min` and `max` ignore NaN and may be used to
    pick the worst.
    """
    for where, expr in inputs.bundle.expressions():
        for node in nodes(expr, Aggregation):
            if node.operator not in ("count", "min", "max") and nodes(node.operand, Quotient, Quantile):
                yield Problem(where, f"takes the {node.operator} of ratios or quantiles", "aggregate first, then divide", _subject(where))


def _subject(where: str) -> str:
    return where.removeprefix("recording rule ").removeprefix("alert ")


@check("vector-matching", "error")
def vector_matching(inputs: Inputs) -> Iterator[Problem]:
    """A binary operator whose two sides never match.

    The sides have different labels and no `on`, or a label that is matched has different values on the two sides. The result is always empty; that
    of `unless` is always the whole left side (pint: promql/vector_matching).
    """
    for where, expr in inputs.bundle.expressions():
        for node in nodes(expr, SetOperation, Quotient):
            match node:
                case SetOperation(operator="and" | "unless"):
                    left, right, on = node.left, node.right, node.on
                case Quotient():
                    left, right, on = node.part, node.whole, ()
                case _:
                    continue
            if not on and left.labels != right.labels:
                lost = ", ".join(sorted(left.labels ^ right.labels))
                yield Problem(where, f"never matches: one side lacks {lost}", "name the labels to match: on", _subject(where))
            else:
                one, other = constant_labels(left), constant_labels(right)
                for label in sorted(one.keys() & other.keys() & set(on or left.labels)):
                    if one[label] != other[label]:
                        problem = f"never matches: {label} is {one[label]!r} on one side, {other[label]!r} on the other"
                        yield Problem(where, problem, f"aggregate {label} away, or match other labels", _subject(where))


@check("regex-needless", "warning")
def regex_needless(inputs: Inputs) -> Iterator[Problem]:
    """A regular expression where none is needed.

    Without special characters, `=` is faster and clearer; a pattern that matches every declared value filters nothing (pint: promql/regexp).
    """
    for where, expr in inputs.bundle.expressions():
        for selector in dict.fromkeys(expr.selectors()):
            for matcher in selector.matchers:
                if matcher.label == "le" or matcher.operator not in ("=~", "!~"):
                    continue
                values = selector.metric.label(matcher.label).values
                if re.escape(matcher.value) == matcher.value.replace("-", r"\-"):
                    yield Problem(where, f"matches {matcher.label} with the pattern {matcher.value!r}", "use = or !=", _subject(where))
                elif values and all(re.fullmatch(matcher.value, value) for value in values):
                    yield Problem(where, f"matches every {matcher.label} with {matcher.value!r}", "remove the matcher", _subject(where))


@check("record-undeclared", "error")
def record_undeclared(inputs: Inputs) -> Iterator[Problem]:
    """A recorded series that no recording rule records, or that is recorded from another expression.

    Whatever reads it would be empty, or show something else (pint: rule/dependency). Declare the recording rule, with this very expression.
    """
    declared = {rule.record: rule.expr for rule in inputs.bundle.recording_rules}
    for where, expr in inputs.bundle.expressions():
        for node in nodes(expr, Recorded):
            if declared.get(node.record) != node.expr:
                problem = (
                    f"reads {node.record}, which is recorded from another expression"
                    if node.record in declared
                    else f"reads {node.record}, which nothing records"
                )
                yield Problem(where, problem, "declare it in recording_rules", _subject(where))
