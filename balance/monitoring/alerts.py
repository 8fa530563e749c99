"""Conditions, alerts and recording rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import Literal, get_args

from balance.catalog.model import Threshold, is_name
from balance.errors import MonitoringError, QueryError, choices
from balance.monitoring.settings import Severity
from balance.promql.ast import Comparison, ComparisonOperator, SetOperation
from balance.promql.selectors import Expr, require_vector

_LABEL_USE = re.compile(r"(with|if)?\s*\$labels\.([a-zA-Z_][a-zA-Z0-9_]*)")


@dataclass(frozen=True)
class Condition:
    """What is wrong: ``expr operator threshold``.

    `also`: expressions that must have a result too, with the same labels: enough traffic for a ratio, the same over a shorter window, a
    history as long as the window. `otherwise`: an alternative condition. `missing`: an expression with a result if the series of `expr`
    do not exist; it is joined by ``or``, so that the condition also holds when there is nothing to compare.

    Raises `QueryError` if units or labels differ.
    """

    expr: Expr
    operator: ComparisonOperator
    threshold: Threshold
    missing: Expr | None = None
    also: tuple[Expr, ...] = ()
    otherwise: Condition | None = None

    def __post_init__(self) -> None:
        unit = self.comparison.unit
        if self.missing and self.missing.unit != unit:
            raise QueryError(f"compares {unit}, but missing= is in {self.missing.unit}", cure="use one unit: absent() is a state")
        for other in (*self.also, *([self.otherwise.comparison] if self.otherwise else ())):
            if other.labels != self.expr.labels:
                raise QueryError(
                    f"combines series by ({choices(self.expr.labels)}) and by ({choices(other.labels)})", cure="aggregate both by the same labels"
                )

    @property
    def comparison(self) -> Comparison:
        """The comparison alone, without `also`, `otherwise` and `missing`."""
        return Comparison(self.expr, self.operator, self.threshold)

    @cached_property
    def branches(self) -> tuple[Condition, ...]:
        """This condition and its alternatives."""
        return (self, *(self.otherwise.branches if self.otherwise else ()))

    @cached_property
    def whole(self) -> Expr:
        """The complete expression, as in the rule."""
        held = (_joined("and", branch.comparison, *branch.also) for branch in self.branches)
        return _joined("or", *held, *([self.missing] if self.missing else ()))

    @property
    def labels(self) -> frozenset[str]:
        """Labels of every series of the result."""
        return self.expr.labels & self.missing.labels if self.missing else self.expr.labels

    @property
    def some_labels(self) -> frozenset[str]:
        """Labels of at least some series of the result."""
        return self.expr.labels | self.missing.labels if self.missing else self.expr.labels


def _joined(operator: Literal["or", "and"], *operands: Expr) -> Expr:
    return reduce(partial(SetOperation, operator), operands)


@dataclass(frozen=True)
class Alert:
    """A condition with its severity, waiting times and texts.

    `summary` and `description` are Prometheus templates in which ``{value}`` and ``{threshold}`` stand for the value and the
    threshold, in the threshold's unit, and ``{window}`` for the window of rates. They may use the labels of the expression; labels that
    only some results have must be guarded: ``{{ with $labels.instance }}...{{ end }}``. `wait` is the ``for`` and `keep_firing` the
    ``keep_firing_for``, in seconds; `group` is the rule group (default: the name of the catalog).

    Raises `MonitoringError` for contradictions.
    """

    name: str
    condition: Condition
    severity: Severity
    summary: str
    description: str
    wait: int = 0
    keep_firing: int = 0
    group: str = ""

    def __post_init__(self) -> None:
        if not (self.name.isalnum() and self.name.isascii() and self.name[0].isupper()):
            raise MonitoringError("invalid alert name", where=f"alert {self.name}", cure="use CamelCase: letters and digits, a capital first")
        if self.wait < 0 or self.keep_firing < 0:
            raise MonitoringError(
                f"invalid wait of {self.wait} s or keep_firing of {self.keep_firing} s", where=f"alert {self.name}", cure="must be 0 s or more"
            )
        if self.severity not in get_args(Severity):
            raise MonitoringError(f"unknown severity {self.severity!r}", where=f"alert {self.name}", cure=f"choices: {choices(get_args(Severity))}")
        for field, words in (("summary", self.summary), ("description", self.description)):
            if not words.strip():
                raise MonitoringError(f"has no {field}", where=f"alert {self.name}", cure="say what is wrong and where to look")
            for guard, label in _LABEL_USE.findall(words):
                known = self.condition.some_labels if guard else self.condition.labels
                if label not in known:
                    raise MonitoringError(
                        f"{field} uses $labels.{label}, which the expression does not keep",
                        where=f"alert {self.name}",
                        cure=f"labels of every result: {choices(self.condition.labels)}; of some: {choices(self.condition.some_labels)}",
                    )


@dataclass(frozen=True)
class RecordingRule:
    """An expression stored under a name of the form ``level:metric:operation`` (prometheus.io/docs/practices/rules).

    Raises `MonitoringError` for other names, `QueryError` if the level does not name all labels of the expression.
    """

    record: str
    expr: Expr
    group: str = ""

    def __post_init__(self) -> None:
        level, *rest = self.record.split(":")
        if not (len(rest) == 2 and is_name(level) and all(part and is_name(f"_{part}") for part in rest)):
            raise MonitoringError("invalid name of a recording rule", where=self.record, cure="name it level:metric:operation")
        require_vector(self.expr)
        if any(f"_{label}_" not in f"_{level}_" for label in self.expr.labels):
            raise QueryError(f"has the labels {choices(self.expr.labels)}", where=self.record, cure="name all of them in the level, joined by _")
