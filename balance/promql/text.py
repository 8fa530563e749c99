"""The one place that writes PromQL, in canonical form: what Prometheus itself prints after parsing it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from balance.catalog.model import Threshold, number
from balance.promql.ast import (
    Absent,
    Aggregation,
    Changes,
    Comparison,
    Complement,
    Distance,
    OverTime,
    Quantile,
    RangeCall,
    Ratio,
    Recorded,
    Scaled,
    SetOperation,
)
from balance.promql.selectors import CounterRange, Expr, Matcher, Selector, Window
from balance.record import Record

_UNITS = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class Scope(Record):
    """Where an expression is used: matchers put into every selector, the text of adaptive windows, thresholds that differ.

    `selector` is PromQL such as ``job="balance"``; `thresholds` maps names to values that replace the catalog's. `keep` is put
    before ``job`` and its like in every aggregation or matching by job: ``"cluster, "``. `recorded` are the matchers on series of
    recording rules, which have fewer labels; `by_label` are those on metrics that have a label: ``{"backend": 'backend=~"$backend"'}``.
    """

    selector: str = ""
    rate_window: str = ""
    thresholds: Mapping[str, float] = {}
    keep: str = ""
    recorded: str = ""
    by_label: Mapping[str, str] = {}

    def value(self, threshold: Threshold) -> float:
        """The value of a threshold in this scope."""
        return self.thresholds.get(threshold.name, threshold.value)

    def written(self, threshold: Threshold) -> str:
        """The threshold in PromQL."""
        return number(self.value(threshold))

    def names(self, labels: tuple[str, ...]) -> str:
        """A list of labels in PromQL, with those to keep where there is the job."""
        return (self.keep if "job" in labels else "") + ", ".join(labels)


NO_SCOPE = Scope()


def duration(seconds: int) -> str:
    """A Prometheus duration: 300 is ``5m``, 90 is ``1m30s``, 0 is ``0s``."""
    text, seconds = "", int(seconds)
    for unit, length in _UNITS:
        count, seconds = divmod(seconds, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def seconds(window: Window, scope: Scope) -> int:
    """The length of a window within a scope."""
    if not (window.adaptive and scope.rate_window):
        return window.seconds
    lengths = dict(_UNITS)
    return sum(int(count) * lengths[unit] for count, unit in re.findall(r"(\d+)([smhdw])", scope.rate_window))


def quoted(value: str) -> str:
    """A PromQL string literal in double quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def matching(matchers: Iterable[Matcher]) -> str:
    """What stands between the braces of a selector: ``job="balance",status=~"5.."``."""
    return ",".join(f"{matcher.label}{matcher.operator}{quoted(matcher.value)}" for matcher in matchers)


def text(expr: Expr, scope: Scope = NO_SCOPE) -> str:
    """The PromQL of an expression within `scope`."""
    if isinstance(expr, Selector):
        return _selector(expr, scope)
    return _WRITERS[type(expr)](expr, scope)


def operand(expr: Expr, scope: Scope, precedence: int, *, right: bool = False) -> str:
    """An operand of a binary operator, in parentheses where the operator would otherwise bind tighter."""
    inner = _precedence(expr)
    written = text(expr, scope)
    return f"({written})" if inner < precedence or (right and inner == precedence) else written


COMPARING, ADDING, MULTIPLYING, ATOM = 2, 3, 4, 9


def _precedence(expr: Expr) -> int:
    if isinstance(expr, SetOperation):
        return SetOperation.precedence[expr.operator]
    if isinstance(expr, Comparison):
        return COMPARING
    if isinstance(expr, (Distance, Complement)):
        return ADDING
    return MULTIPLYING if isinstance(expr, (Ratio, Scaled)) else ATOM


def _window(window: Window, scope: Scope) -> str:
    return scope.rate_window if window.adaptive and scope.rate_window else duration(window.seconds)


def _selector(node: Selector, scope: Scope) -> str:
    chosen = (matcher for label, matcher in scope.by_label.items() if label in node.metric.label_names)
    inside = ",".join(filter(None, (matching(node.matchers), *chosen, scope.selector)))  # a mixin's user may leave a comma behind, which is allowed
    return f"{node.name}{{{inside}}}" if inside else node.name


def _range(node: CounterRange, scope: Scope) -> str:
    offset = f" offset {duration(node.window.offset)}" if node.window.offset else ""
    return f"{_selector(node.series, scope)}[{_window(node.window, scope)}]{offset}"


def _aggregation(node: Aggregation, scope: Scope) -> str:
    by = f" by ({scope.names(node.by)})" if node.by else ""
    return f"{node.operator}{by} ({text(node.operand, scope)})" if by else f"{node.operator}({text(node.operand, scope)})"


def _binary(left: Expr, operator: str, right: Expr, scope: Scope, precedence: int) -> str:
    return f"{operand(left, scope, precedence)} {operator} {operand(right, scope, precedence, right=True)}"


def _set_operation(node: SetOperation, scope: Scope) -> str:
    on = f" on ({', '.join(node.on) if node.operator == 'or' else scope.names(node.on)})" if node.on else ""
    return _binary(node.left, node.operator + on, node.right, scope, SetOperation.precedence[node.operator])


_WRITERS: dict[type, Callable[[Any, Scope], str]] = {
    Absent: lambda node, scope: f"absent({text(node.selector, scope)})",
    Aggregation: _aggregation,
    Changes: lambda node, scope: f"changes({text(node.series, scope)}[{duration(node.window.seconds)}])",
    Comparison: lambda node, scope: f"{operand(node.left, scope, COMPARING)} {node.operator} {scope.written(node.threshold)}",
    Distance: lambda node, scope: f"time() - {text(node.moment, scope)}" if node.direction == "since" else f"{text(node.moment, scope)} - time()",
    Quantile: lambda node, scope: f"histogram_quantile({number(node.q)}, {text(node.summed, scope)})",
    RangeCall: lambda node, scope: f"{node.function}({_range(node.range, scope)})",
    Ratio: lambda node, scope: _binary(node.part, "/", node.whole, scope, MULTIPLYING),
    Scaled: lambda node, scope: f"{operand(node.operand, scope, MULTIPLYING)} * {scope.written(node.threshold)}",
    Complement: lambda node, scope: f"1 - {operand(node.operand, scope, ADDING, right=True)}",
    OverTime: lambda node, scope: f"sum_over_time({text(node.series, scope)}[{duration(node.window.seconds)}])",
    Recorded: lambda node, scope: f"{node.record}{{{scope.recorded}}}" if scope.recorded else node.record,
    SetOperation: _set_operation,
}
