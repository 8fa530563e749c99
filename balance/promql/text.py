"""Write expressions as PromQL, in canonical form: as Prometheus itself prints it after parsing. No other module writes PromQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from balance.catalog.model import Threshold, number
from balance.config import units
from balance.promql.ast import (
    Absent,
    Aggregation,
    Changes,
    Comparison,
    Complement,
    OverTime,
    Quantile,
    Quotient,
    RangeCall,
    Recorded,
    RenamedSeries,
    SetOperation,
    Times,
    TimeSince,
)
from balance.promql.selectors import CounterRange, Expr, Matcher, Selector, Window


@dataclass(frozen=True)
class Scope:
    """What depends on where an expression is used: matchers of every selector, adaptive windows, values of thresholds.

    `selector`: matchers for every selector, such as ``job="balance"``. `rate_window`: text of adaptive windows (default: as declared).
    `thresholds`: values by name that override the catalog's. `keep`: labels that every aggregation and matching by job keeps too, as a
    prefix: ``"cluster, "``. `recorded`: matchers for series of recording rules, which have fewer labels. `by_label`: matchers for metrics
    that have the label: ``{"backend": 'backend=~"$backend"'}``.
    """

    selector: str = ""
    rate_window: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    keep: str = ""
    recorded: str = ""
    by_label: Mapping[str, str] = field(default_factory=dict)

    def value(self, threshold: Threshold) -> float:
        """The effective value of a threshold, in its unit: as overridden, or else as declared."""
        return self.thresholds.get(threshold.name, threshold.value)

    def written(self, threshold: Threshold) -> str:
        """The effective value of a threshold as PromQL."""
        return number(self.value(threshold))

    def names(self, labels: tuple[str, ...]) -> str:
        """A list of labels as PromQL; with the job come the labels to keep."""
        return (self.keep if "job" in labels else "") + ", ".join(labels)


NO_SCOPE = Scope()


def duration(seconds: int) -> str:
    """The Prometheus duration of a number of seconds: 300 is ``5m``, 90 is ``1m30s``, 0 is ``0s``."""
    return units.format_duration(int(seconds))


def seconds(window: Window, scope: Scope) -> int:
    """The length of a window in seconds, within a scope."""
    if not (window.adaptive and scope.rate_window):
        return window.seconds
    return int(units.parse_duration(scope.rate_window) or 0)


def quoted(value: str) -> str:
    """A PromQL string literal in double quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def matching(matchers: Iterable[Matcher]) -> str:
    """The matchers between the braces of a selector: ``job="balance",status=~"5.."``."""
    return ",".join(f"{matcher.label}{matcher.operator}{quoted(matcher.value)}" for matcher in matchers)


def text(expr: Expr, scope: Scope = NO_SCOPE) -> str:
    """An expression as PromQL, for use in `scope`."""
    if isinstance(expr, Selector):
        return " or ".join(_selectors(expr, scope))
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
    if isinstance(expr, (Selector, RangeCall, Changes, Absent, RenamedSeries)) and any(selector.metric.renamed_from for selector in expr.selectors()):
        return SetOperation.precedence["and" if isinstance(expr, Absent) else "or"]
    if isinstance(expr, Comparison):
        return COMPARING
    if isinstance(expr, (TimeSince, Complement)):
        return ADDING
    return MULTIPLYING if isinstance(expr, (Quotient, Times)) else ATOM


def _window(window: Window, scope: Scope) -> str:
    return scope.rate_window if window.adaptive and scope.rate_window else duration(window.seconds)


def _selectors(node: Selector, scope: Scope) -> Iterator[str]:
    """The selector under every name of its metric, the current one first."""
    chosen = (matcher for label, matcher in scope.by_label.items() if label in node.metric.label_names)
    inside = ",".join(
        filter(None, (matching(node.matchers), *chosen, scope.selector))
    )  # overrides of a mixin may leave a trailing comma, which is valid
    for name in node.metric.names:
        yield f"{name}{node.suffix}{{{inside}}}" if inside else f"{name}{node.suffix}"


def _ranges(node: CounterRange, scope: Scope) -> Iterator[str]:
    offset = f" offset {duration(node.window.offset)}" if node.window.offset else ""
    return (f"{selector}[{_window(node.window, scope)}]{offset}" for selector in _selectors(node.series, scope))


def _aggregation(node: Aggregation, scope: Scope) -> str:
    by = f" by ({scope.names(node.by)})" if node.by else ""
    return f"{node.operator}{by} ({text(node.operand, scope)})" if by else f"{node.operator}({text(node.operand, scope)})"


def _binary(left: Expr, operator: str, right: Expr, scope: Scope, precedence: int) -> str:
    return f"{operand(left, scope, precedence)} {operator} {operand(right, scope, precedence, right=True)}"


def _set_operation(node: SetOperation, scope: Scope) -> str:
    on = f" on ({', '.join(node.on) if node.operator == 'or' else scope.names(node.on)})" if node.on else ""
    return _binary(node.left, node.operator + on, node.right, scope, SetOperation.precedence[node.operator])


def _time_since(node: TimeSince, scope: Scope) -> str:
    if node.direction == "since":
        return f"time() - {operand(node.moment, scope, ADDING, right=True)}"
    return f"{operand(node.moment, scope, ADDING)} - time()"


_WRITERS: dict[type, Callable[[Any, Scope], str]] = {
    Absent: lambda node, scope: " and ".join(f"absent({selector})" for selector in _selectors(node.selector, scope)),
    Aggregation: _aggregation,
    RenamedSeries: lambda node, scope: text(node.selector, scope),
    Changes: lambda node, scope: " or ".join(f"changes({chosen}[{duration(node.window.seconds)}])" for chosen in _selectors(node.series, scope)),
    Comparison: lambda node, scope: f"{operand(node.left, scope, COMPARING)} {node.operator} {scope.written(node.threshold)}",
    TimeSince: _time_since,
    Quantile: lambda node, scope: f"histogram_quantile({number(node.q)}, {text(node.summed, scope)})",
    RangeCall: lambda node, scope: " or ".join(f"{node.function}({samples})" for samples in _ranges(node.range, scope)),
    Quotient: lambda node, scope: _binary(node.part, "/", node.whole, scope, MULTIPLYING),
    Times: lambda node, scope: f"{operand(node.operand, scope, MULTIPLYING)} * {scope.written(node.threshold)}",
    Complement: lambda node, scope: f"1 - {operand(node.operand, scope, ADDING, right=True)}",
    OverTime: lambda node, scope: f"sum_over_time({text(node.series, scope)}[{duration(node.window.seconds)}])",
    Recorded: lambda node, scope: f"{node.record}{{{scope.recorded}}}" if scope.recorded else node.record,
    SetOperation: _set_operation,
}
