"""Which labels the result of an expression has, by the labels that the series of an index have."""

from __future__ import annotations

from typing import Any

import promql_parser as promql

from balance.live.audited_query import UNKNOWN_NAME
from balance.live.series_index import SeriesIndex
from balance.live.trees import is_scalar

_KEEP_ALL = frozenset(("topk", "bottomk", "limitk", "limit_ratio"))
"""Aggregations whose result has the labels of their operand."""
_UNKNOWN_LABELS = frozenset(("label_replace", "label_join", "absent", "absent_over_time", "info", "count_values", "vector", "time", "pi"))
"""Functions whose result does not have the labels of their operand."""


def result_labels(node: Any, index: SeriesIndex) -> frozenset[str] | None:
    """The labels that every series of the result has; None if unknown."""
    match node:
        case promql.VectorSelector():
            return index.labels(node.name) if node.name and node.name in index.owner else None
        case promql.MatrixSelector():
            return result_labels(node.vector_selector, index)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return result_labels(node.expr, index)
        case promql.AggregateExpr():
            return _aggregated(node, index)
        case promql.Call():
            vectors = [argument for argument in node.args if not is_scalar(argument)]
            labels = result_labels(vectors[0], index) if len(vectors) == 1 and node.func.name not in _UNKNOWN_LABELS else None
            return labels - {"le"} if labels is not None and node.func.name == "histogram_quantile" else labels
        case promql.BinaryExpr():
            return _joined(node, index)
        case _:
            return None


def _aggregated(node: Any, index: SeriesIndex) -> frozenset[str] | None:
    operator = str(node.op)
    labels = result_labels(node.expr, index)
    if labels is None or operator == "count_values":
        return None
    if operator in _KEEP_ALL:
        return labels
    named = set(node.modifier.labels) if node.modifier else set()
    if any(label.startswith(UNKNOWN_NAME) for label in named):
        return None
    if node.modifier and str(node.modifier.type).endswith("Without"):
        return labels - named
    if named - labels and not index.complete:
        return None  # Prometheus may add them
    return labels & named


def _joined(node: Any, index: SeriesIndex) -> frozenset[str] | None:
    if is_scalar(node.lhs) or is_scalar(node.rhs):
        return result_labels(node.rhs if is_scalar(node.lhs) else node.lhs, index)
    left, operator = result_labels(node.lhs, index), str(node.op)
    if left is None or operator in ("and", "unless"):
        return left
    if operator == "or" or (node.modifier and not str(node.modifier.card).endswith("OneToOne")):
        return None
    return matching_labels(left, node.modifier)


def matching_labels(labels: frozenset[str], modifier: Any) -> frozenset[str]:
    """The labels that one side of a binary operation is matched by."""
    matching = modifier.matching if modifier else None
    if matching is None:
        return labels
    named = frozenset(matching.labels)
    return labels & named if str(matching.type).endswith("Include") else labels - named
