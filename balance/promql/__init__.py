"""Typed PromQL over the metrics of a catalog."""

from balance.promql.ast import Comparison, ComparisonOperator
from balance.promql.build import (
    Match,
    absent,
    compare,
    count_by,
    either,
    increase,
    is_not,
    matches,
    max_by,
    min_by,
    quantile,
    rate,
    ratio,
    scaled,
    series,
    since,
    sum_by,
    unless,
    until,
)
from balance.promql.selectors import RATE_WINDOW, Expr, Window
from balance.promql.text import Scope, text

__all__ = [
    "RATE_WINDOW", "Comparison", "ComparisonOperator", "Expr", "Match", "Scope", "Window", "absent", "compare", "count_by", "either", "increase",
    "is_not", "matches", "max_by", "min_by", "quantile", "rate", "ratio", "scaled", "series", "since", "sum_by", "text", "unless", "until",
]  # fmt: skip
