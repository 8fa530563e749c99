"""The last minutes of one target in memory: its scrapes, and the results of expressions over them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from balance.catalog import standard
from balance.live.scrape import Labels, parse
from balance.preview.curves import Curve, Span, in_order
from balance.promql.ast import OverTime
from balance.promql.evaluate import STALE, Database, Series, Vector, evaluate
from balance.promql.selectors import Expr
from balance.promql.text import Scope

KEPT = 400
"""Minimum number of samples kept per series: at one a second, more than the lookback of five minutes."""
Head = tuple[str, Labels]
"""The name of a series, and its labels."""
MIN_SECONDS = 60
"""Length of the shown period at the start, when there is less data."""


class Growing(Series):
    """A series that grows by new samples, and drops old ones."""

    def add(self, at: float, value: float | None) -> None:
        """Add a sample, or end the series with `STALE`."""
        if value is STALE:
            self.ends.append(at)
            return
        if self.values and value <= self.values[-1]:
            if value < self.values[-1]:
                self.resets.append(len(self.values))
            else:
                value = self.values[-1]  # one object for what does not change
        self.times.append(at)
        self.values.append(value)
        if len(self.values) > 2 * KEPT:
            del self.times[:KEPT], self.values[:KEPT]
            self.resets = [place - KEPT for place in self.resets if place > KEPT]


class History:
    """Samples of a target with the labels `target`. What is `drawn` is evaluated as time goes on; the results of the last `span` seconds are kept."""

    def __init__(self, target: Mapping[str, str], scope: Scope, drawn: Iterable[Expr], span: int, step: int) -> None:
        self.database = Database((), scope, (3, 0))
        self._target = tuple(target.items())
        self._series: dict[Head, Growing] = {}
        self._there: dict[str, set[Head]] = {}
        self._drawn: dict[Expr, deque[tuple[int, Vector]]] = {expr: deque(maxlen=span // step + 1) for expr in drawn}
        self._stored = {node.series.record: node.series for expr in self._drawn for node in expr.walk() if isinstance(node, OverTime)}
        self.period, self._span, self._first = Span(-MIN_SECONDS, 0, step), span, 0

    def __repr__(self) -> str:
        return f"<History of {len(self._series)} series>"

    def scraped(self, text: str | None, at: float) -> None:
        """Take the answer to a scrape, None if there was none: all series but ``up`` have ended then."""
        families = parse(text).families.values() if text else ()
        self._add("scrape", at, {(one.name, one.labels + self._target): one.value for family in families for one in family.samples})
        self._add("up", at, {(standard.UP.name, self._target): 0.0 if text is None else 1.0})

    def fired(self, alerts: Iterable[tuple[str, Mapping[str, str]]], at: float) -> None:
        """Take the names and labels of the alerts that fire."""
        self._add(
            "alerts", at, {(standard.ALERTS.name, (("alertname", name), ("alertstate", "firing"), *labels.items())): 1.0 for name, labels in alerts}
        )

    def draw(self, at: int) -> None:
        """Evaluate what is drawn, and record what it is drawn from."""
        for record, series in self._stored.items():
            self._add(record, at, {(record, _pairs(labels)): value for labels, value in evaluate(series, self.database, at).items()})
        for expr, results in self._drawn.items():
            results.append((at, evaluate(expr, self.database, at)))
        self._first = self._first or at
        self.period = Span(max(at - self._span, min(self._first, at - MIN_SECONDS)), at, self.period.step)

    def ask(self, expr: Expr, *, job: bool = False) -> tuple[Curve, ...]:
        """The curves of an expression over the period; nothing where there was no evaluation."""
        found: dict[object, list[float | None]] = {}
        times = self.period.times
        for at, vector in self._drawn[expr]:
            if at in times:
                for labels, value in vector.items():
                    found.setdefault(labels, [None] * len(times))[times.index(at)] = value
        return in_order(found)

    def _add(self, origin: str, at: float, values: Mapping[Head, float]) -> None:
        """A sample for each of the series from one origin; those of it that were there before and are not now have ended."""
        for head, value in values.items():
            series = self._series.get(head)
            if series is None:
                series = self._series[head] = self._new(head)
            series.add(at, value)
        for head in self._there.get(origin, set()) - values.keys():
            self._series[head].add(at, STALE)
        self._there[origin] = set(values)

    def _new(self, head: Head) -> Growing:
        name, labels = head
        made = Growing(name, dict(labels))
        self.database.by_name.setdefault(name, []).append(made)
        return made


def _pairs(labels: Iterable[tuple[str, str]]) -> Labels:
    return tuple(sorted(pair for pair in labels if pair[0] != "__name__"))
