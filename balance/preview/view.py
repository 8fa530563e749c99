"""What is needed to draw a panel: its declaration, the results of its queries, marks and links."""

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
    """An event: the first step of the span and the one after the last, a colour, the name of its annotation, and a text."""

    first: int
    end: int
    color: str
    name: str
    words: str


@dataclass(frozen=True)
class View:
    """A panel with the results of its queries. `address_of` returns the address of a link, empty if there is none here."""

    panel: Panel
    span: Span
    scope: Scope
    answers: tuple[tuple[Curve, ...], ...]
    marks: tuple[Mark, ...]
    address_of: Callable[[Link], str]

    @property
    def named(self) -> list[tuple[str, Curve]]:
        """Every curve with its name by the legend."""
        return [(curve.title(query.legend), curve) for query, curves in zip(self.panel.queries, self.answers, strict=True) for curve in curves]

    @property
    def unit(self) -> str:
        """Grafana's id of the panel's unit."""
        return unit_id(self.panel.unit)

    @property
    def limits(self) -> list[float]:
        """The values of the thresholds, ascending."""
        return sorted(self.scope.value(threshold) for threshold in self.panel.thresholds)

    def figure(self, value: float | None) -> str:
        """A value with its unit, as HTML."""
        return escape(formatted(value, self.unit))

    def text_and_color(self, value: float | None) -> tuple[str, str]:
        """The text for a value and the name of its colour: its state's; else green, orange or red by the thresholds; else blue."""
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
        """A text, linked if the panel has a link by one of the curve's labels, as HTML."""
        for link in self.panel.links:
            if link.label in curve.labels and (address := self.address_of(link)):
                about = escape(f"{link.title}: {curve.labels[link.label]}")
                return f'<a href="{escape(address)}" title="{about}">{escape(text)}</a>'
        return escape(text)
