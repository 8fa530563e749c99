"""Typed PromQL over the metrics of a catalog."""

from balance.promql.ast import RATE_WINDOW, Comparison, ComparisonOperator, Expr, Window
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
    sum_by,
    unless,
)
from balance.promql.text import Scope, text

__all__ = [
    "RATE_WINDOW", "Comparison", "ComparisonOperator", "Expr", "Match", "Scope", "Window", "absent", "compare", "count_by", "either", "increase",
    "is_not", "matches", "max_by", "min_by", "quantile", "rate", "ratio", "scaled", "series", "sum_by", "text", "unless",
]  # fmt: skip
