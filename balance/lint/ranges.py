"""What the catalog says about the values and labels of an expression, without any series.

Theory. From the catalog follows the range of an expression's values (`value_range`): states are 0 or 1, rates are not negative, a quantile is at
most the last bucket bound, a part of a whole at most 1. A comparison that no value of the range satisfies can never be true, one that all satisfy
always is. In the same way it follows which labels have a single value (`constant_labels`): two sides with different values of one never match.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from balance.catalog.model import INFO, STATE
from balance.promql.ast import Absent, Aggregation, Comparison, Complement, OverTime, Quantile, Quotient, RangeCall, Recorded, SetOperation, Times
from balance.promql.selectors import Expr, Selector
from balance.promql.text import Scope

ValueRange = tuple[float, float]
_ANY: ValueRange = (-math.inf, math.inf)


def value_range(expr: Expr, scope: Scope) -> ValueRange:
    """The smallest and the largest value that the expression can have."""
    match expr:
        case RangeCall():
            return 0, math.inf
        case Selector():
            return {STATE: (0, 1), INFO: (1, 1)}.get(expr.unit, _ANY)
        case Aggregation(operator="count"):
            return 1, math.inf
        case Aggregation(operator="sum"):
            return _of_sum(value_range(expr.operand, scope))
        case Aggregation():
            return value_range(expr.operand, scope)
        case Quantile():
            bounds = expr.histogram.metric.buckets
            return min(0, bounds[0]), bounds[-1]
        case Quotient():
            positive = value_range(expr.part, scope)[0] >= 0 and value_range(expr.whole, scope)[0] >= 0
            return (0, 1 if _is_share(expr) else math.inf) if positive else _ANY
        case Times():
            factor = scope.value(expr.threshold)
            low, high = value_range(expr.operand, scope)
            return (low * factor, high * factor) if factor > 0 else _ANY
        case Complement():
            low, high = value_range(expr.operand, scope)
            return 1 - high, 1 - low
        case Absent():
            return 1, 1
        case Recorded():
            return value_range(expr.expr, scope)
        case OverTime():
            return _of_sum(value_range(expr.series, scope))
        case Comparison():
            return value_range(expr.left, scope)
        case SetOperation(operator="or"):
            left, right = value_range(expr.left, scope), value_range(expr.right, scope)
            return min(left[0], right[0]), max(left[1], right[1])
        case SetOperation():
            return value_range(expr.left, scope)
    return _ANY


def _of_sum(one: ValueRange) -> ValueRange:
    """The range of a sum of any number of such values."""
    return one[0] if one[0] >= 0 else -math.inf, one[1] if one[1] <= 0 else math.inf


def _is_share(expr: Quotient) -> bool:
    """True if the part is a subset of the whole: the same expression with more matchers."""
    parts, wholes = list(expr.part.walk()), list(expr.whole.walk())
    if [type(node) for node in parts] != [type(node) for node in wholes]:
        return False
    for part, whole in zip(parts, wholes, strict=True):
        if isinstance(part, Selector) and isinstance(whole, Selector):
            if part.name != whole.name or not set(whole.matchers) <= set(part.matchers):
                return False
        elif isinstance(part, RangeCall) and isinstance(whole, RangeCall):
            if (part.function, part.range.window) != (whole.function, whole.range.window):
                return False
        elif not (isinstance(part, Aggregation) and isinstance(whole, Aggregation) and part.operator == whole.operator == "sum"):
            return False
    return True


def constant_labels(expr: Expr) -> Mapping[str, str]:
    """The labels of the result that can only have one value, with that value."""
    match expr:
        case Selector():
            return {matcher.label: matcher.value for matcher in expr.matchers if matcher.operator == "="}
        case SetOperation(operator="or"):
            return dict(constant_labels(expr.left).items() & constant_labels(expr.right).items())
        case SetOperation():
            return constant_labels(expr.left)
        case _:
            found = {label: value for part in expr.parts for label, value in constant_labels(part).items()}
            return {label: value for label, value in found.items() if label in expr.labels}
