"""What a drawing of a panel needs: the panel, the answers to its queries, what is marked across it, where its links lead."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from balance.monitoring.dashboards import Link, Panel
from balance.preview.curves import Curve, Span
from balance.preview.formats import formatted
from balance.promql.text import Scope
from balance.render.grafana_ids import unit_id


@dataclass(frozen=True)
class Mark:
    """Something that happened: from which step of the span to which (not included), in which colour, in words."""

    first: int
    end: int
    color: str
    name: str
    words: str


@dataclass(frozen=True)
class View:
    """A panel with the answers to its queries. `lead` gives the address of a link, empty where it leads nowhere from here."""

    panel: Panel
    span: Span
    scope: Scope
    answers: tuple[tuple[Curve, ...], ...]
    marks: tuple[Mark, ...]
    lead: Callable[[Link], str]

    @property
    def named(self) -> list[tuple[str, Curve]]:
        """Every curve by its legend."""
        return [(curve.called(query.legend), curve) for query, curves in zip(self.panel.queries, self.answers, strict=True) for curve in curves]

    @property
    def unit(self) -> str:
        """The unit, as Grafana calls it."""
        return unit_id(self.panel.unit)

    @property
    def limits(self) -> list[float]:
        """The values of the thresholds."""
        return sorted(self.scope.value(threshold) for threshold in self.panel.thresholds)

    def figure(self, value: float | None) -> str:
        """A value with its unit."""
        return escape(formatted(value, self.unit))

    def judged(self, value: float | None) -> tuple[str, str]:
        """The words for a value and the name of its colour: that of its state; green, orange, red by the thresholds; else blue."""
        for state in self.panel.states:
            if value == state.value:
                return escape(state.text), state.color
        if value is None or math.isnan(value):
            return "No data" if value is None else "No traffic", "text"
        steps = ["green", *["orange"] * (len(self.limits) - 1), "red"] if self.limits else ["blue"]
        if self.panel.alarm == "below":
            steps.reverse()
        return self.figure(value), steps[bisect_right(self.limits, value)]

    def linked(self, text: str, curve: Curve) -> str:
        """A text that leads where the panel's links by label do."""
        for link in self.panel.links:
            if link.label in curve.labels and (address := self.lead(link)):
                about = escape(f"{link.title}: {curve.labels[link.label]}")
                return f'<a href="{escape(address)}" title="{about}">{escape(text)}</a>'
        return escape(text)
