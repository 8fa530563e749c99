"""What wakes people: conditions, alerts and recording rules."""

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
    """What is wrong: an expression that compares so with a threshold.

    What is in `also` must hold, or exist, as well, for the same labels: enough traffic for a ratio to mean something, the same over a
    shorter window, a history as long as the window. `otherwise` is another condition that suffices. `missing` is an expression that has a
    result when the series that `expr` needs do not exist; it is joined with ``or``, so that the condition also holds when there is nothing
    to compare.
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
            raise QueryError(f"compares {unit}, but tells what is missing in {self.missing.unit}", cure="use one unit: absent() is a state")
        for other in (*self.also, *([self.otherwise.comparison] if self.otherwise else ())):
            if other.labels != self.expr.labels:
                raise QueryError(f"holds by ({choices(self.expr.labels)}) and by ({choices(other.labels)})", cure="aggregate both by the same labels")

    @property
    def comparison(self) -> Comparison:
        """The comparison alone, without what `missing` adds."""
        return Comparison(self.expr, self.operator, self.threshold)

    @cached_property
    def branches(self) -> tuple[Condition, ...]:
        """This condition and those that suffice as well."""
        return (self, *(self.otherwise.branches if self.otherwise else ()))

    @cached_property
    def whole(self) -> Expr:
        """All of it as one expression: what the rule says."""
        held = (_joined("and", branch.comparison, *branch.also) for branch in self.branches)
        return _joined("or", *held, *([self.missing] if self.missing else ()))

    @property
    def labels(self) -> frozenset[str]:
        """Labels that every series of the result carries."""
        return self.expr.labels & self.missing.labels if self.missing else self.expr.labels

    @property
    def some_labels(self) -> frozenset[str]:
        """Labels that some series of the result carries."""
        return self.expr.labels | self.missing.labels if self.missing else self.expr.labels


def _joined(operator: Literal["or", "and"], *operands: Expr) -> Expr:
    return reduce(partial(SetOperation, operator), operands)


@dataclass(frozen=True)
class Alert:
    """A condition, who is told, and how.

    `summary` and `description` are Prometheus templates in which ``{value}`` and ``{threshold}`` stand for the value and the
    threshold, written in the threshold's unit, and ``{window}`` for the window of rates. A label in them must survive the
    expression; one that only some results carry must be guarded: ``{{ with $labels.instance }}...{{ end }}``. `wait` is the ``for``
    and `keep_firing` the ``keep_firing_for``, in seconds; `group` the rule group, by default that of the catalog's name.
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
            raise MonitoringError("is no CamelCase alert name", where=f"alert {self.name}", cure="letters and digits, a capital first")
        if self.wait < 0 or self.keep_firing < 0:
            raise MonitoringError(
                f"waits {self.wait} s and keeps firing for {self.keep_firing} s", where=f"alert {self.name}", cure="0 or more seconds"
            )
        if self.severity not in get_args(Severity):
            raise MonitoringError(f"severity {self.severity!r}", where=f"alert {self.name}", cure=f"choices: {choices(get_args(Severity))}")
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
    """An expression stored under a name of the form ``level:metric:operation`` (prometheus.io/docs/practices/rules)."""

    record: str
    expr: Expr
    group: str = ""

    def __post_init__(self) -> None:
        level, *rest = self.record.split(":")
        if not (len(rest) == 2 and is_name(level) and all(part and is_name(f"_{part}") for part in rest)):
            raise MonitoringError("is no name of a recording rule", where=self.record, cure="name it level:metric:operation")
        require_vector(self.expr)
        if any(f"_{label}_" not in f"_{level}_" for label in self.expr.labels):
            raise QueryError(f"keeps the labels {choices(self.expr.labels)}", where=self.record, cure="name all of them in the level, joined by _")
