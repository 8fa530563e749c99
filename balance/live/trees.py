"""PromQL as a tree: parsed within bounds, and what can be said of it without knowing series."""

from __future__ import annotations

import re
from typing import Any

import promql_parser as promql

_STRINGS = re.compile(r"""("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|`[^`]*+`)""")
_BRACKETS = re.compile(r"[()\[\]{}]")
_OPERATIONS = re.compile(r"[-+*/%^<>]|==|\b(?:and|or|unless|atan2)\b")
_MAX_DEPTH, _MAX_OPERATIONS = 150, 300
_SCALAR_FUNCTIONS = frozenset(("time", "pi", "scalar"))


def parse(text: str) -> Any:
    """The tree of an expression, or a string that says why it cannot be parsed.

    Depth and size are bounded: the parser aborts the process over brackets nested thousands deep, and each access to a part of its tree copies
    that part, so that a chain of thousands of operations would take gigabytes.
    """
    bare = _STRINGS.sub("", text)
    depth = deepest = 0
    for sign in _BRACKETS.findall(bare):
        depth += 1 if sign in "([{" else -1
        deepest = max(deepest, depth)
    operations = len(_OPERATIONS.findall(bare))
    if deepest > _MAX_DEPTH or operations > _MAX_OPERATIONS:
        return f"too complex: nested {deepest} deep, {operations} operations (at most {_MAX_DEPTH} and {_MAX_OPERATIONS})"
    try:
        return promql.parse(text)
    except ValueError as error:
        return str(error)


def is_scalar(node: Any) -> bool:
    """True if the expression gives a scalar or a string, not series."""
    match node:
        case promql.NumberLiteral() | promql.StringLiteral():
            return True
        case promql.ParenExpr() | promql.UnaryExpr():
            return is_scalar(node.expr)
        case promql.BinaryExpr():
            return is_scalar(node.lhs) and is_scalar(node.rhs)
        case promql.Call():
            return node.func.name in _SCALAR_FUNCTIONS
        case _:
            return False


def series_names(tree: Any) -> set[str]:
    """The names of the series that an expression selects, those given by a matcher on ``__name__`` too."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            positive = (promql.MatchOp.Equal, promql.MatchOp.Re)
            named = (matcher.value for matcher in node.matchers.matchers if matcher.name == "__name__" and matcher.op in positive)
            found.update(filter(None, (node.name, *named)))

    promql.walk(tree, visit)
    return found
