"""The data that panels draw: values of expressions over a span of time."""

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
        """The times of the span, in seconds since 1970."""
        return range(self.start, self.end + 1, self.step)


@dataclass(frozen=True)
class Curve:
    """A series: its labels, and its value at each time of the span, None where there is none."""

    labels: Mapping[str, str]
    values: tuple[float | None, ...]

    @property
    def last(self) -> float | None:
        """The last value, NaN included: Grafana's reducer ``last`` (Prometheus returns no missing values)."""
        return next((value for value in reversed(self.values) if value is not None), None)

    @property
    def last_number(self) -> float | None:
        """The last value that is not NaN: Grafana's reducer ``lastNotNull``."""
        return next((value for value in reversed(self.values) if value is not None and not math.isnan(value)), None)

    @property
    def maximum(self) -> float | None:
        """The largest value: Grafana's reducer ``max``."""
        return max((value for value in self.values if value is not None and not math.isnan(value)), default=None)

    def title(self, legend: str) -> str:
        """The name of the series by a legend, with ``{{label}}`` replaced by the label's value."""
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: self.labels.get(match[1], ""), legend).strip()


class Ask(Protocol):
    """Evaluates an expression over a span. With `job`, it is restricted by job only, not by instance. Raises `BalanceError`."""

    def __call__(self, expr: Expr, *, job: bool = False) -> tuple[Curve, ...]: ...


def asking(database: Database, span: Span) -> Ask:
    """A function that evaluates expressions over samples in memory, each once."""
    answers: dict[Expr, tuple[Curve, ...]] = {}

    def ask(expr: Expr, *, job: bool = False) -> tuple[Curve, ...]:
        if expr not in answers:
            answers[expr] = _evaluated(expr, database, span)
        return answers[expr]

    return ask


def _evaluated(expr: Expr, database: Database, span: Span) -> tuple[Curve, ...]:
    return in_order(evaluate_all(expr, database, [Instant(at, database.version) for at in span.times]))


def in_order(found: Mapping[Any, Sequence[float | None]]) -> tuple[Curve, ...]:
    """Curves from label sets and values, sorted by label."""
    curves = (Curve({name: text for name, text in sorted(labels) if name != "__name__"}, tuple(values)) for labels, values in found.items())
    return tuple(sorted(curves, key=lambda curve: tuple(curve.labels.items())))


def stretches(values: Sequence[float | None]) -> Iterator[tuple[int, int, float]]:
    """Runs of equal values: index of the first, index after the last, the value. Runs of None are left out."""
    first = 0
    for place in range(1, len(values) + 1):
        if place == len(values) or values[place] != values[first]:
            if (value := values[first]) is not None:
                yield first, place, value
            first = place
