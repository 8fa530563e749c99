"""What panels draw: the values of expressions over a span of time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from balance.promql.evaluate import Database, Instant, evaluate_all
from balance.promql.selectors import Expr


@dataclass(frozen=True)
class Span:
    """From `start` to `end` (both included, seconds since 1970), every `step` seconds."""

    start: int
    end: int
    step: int

    @property
    def times(self) -> range:
        """The moments."""
        return range(self.start, self.end + 1, self.step)


@dataclass(frozen=True)
class Curve:
    """A series: its labels, and its value at each moment of the span, None where there is none."""

    labels: Mapping[str, str]
    values: tuple[float | None, ...]

    @property
    def last(self) -> float | None:
        """The last value that there is, be it NaN: Grafana's reducer ``last``, for Prometheus answers no more than there is."""
        return next((value for value in reversed(self.values) if value is not None), None)

    @property
    def last_number(self) -> float | None:
        """The last value that is a number: Grafana's ``lastNotNull``."""
        return next((value for value in reversed(self.values) if value is not None and not math.isnan(value)), None)

    @property
    def most(self) -> float | None:
        """The largest value: Grafana's ``max``."""
        return max((value for value in self.values if value is not None and not math.isnan(value)), default=None)

    def called(self, legend: str) -> str:
        """Its name by a legend, in which ``{{label}}`` stands for the label's value."""
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: self.labels.get(match[1], ""), legend).strip()


class Ask(Protocol):
    """Answers an expression over a span. What is said of a job as a whole is asked without the labels of instances. Raises `BalanceError`."""

    def __call__(self, expr: Expr, *, job: bool = False) -> tuple[Curve, ...]: ...


def asking(database: Database, span: Span) -> Ask:
    """Answers from samples in memory."""
    answers: dict[Expr, tuple[Curve, ...]] = {}

    def ask(expr: Expr, *, job: bool = False) -> tuple[Curve, ...]:
        if expr not in answers:
            answers[expr] = _evaluated(expr, database, span)
        return answers[expr]

    return ask


def _evaluated(expr: Expr, database: Database, span: Span) -> tuple[Curve, ...]:
    return in_order(evaluate_all(expr, database, [Instant(at, database.version) for at in span.times]))


def in_order(found: Mapping[Any, Sequence[float | None]]) -> tuple[Curve, ...]:
    """Curves by their labels."""
    curves = (Curve({name: text for name, text in sorted(labels) if name != "__name__"}, tuple(values)) for labels, values in found.items())
    return tuple(sorted(curves, key=lambda curve: tuple(curve.labels.items())))


def stretches(values: Sequence[float | None]) -> Iterator[tuple[int, int, float]]:
    """Where a value stays the same: from, to (not included), the value."""
    first = 0
    for place in range(1, len(values) + 1):
        if place == len(values) or values[place] != values[first]:
            if (value := values[first]) is not None:
                yield first, place, value
            first = place
