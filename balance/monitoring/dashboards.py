"""What people look at: dashboards of rows of panels, each panel a picture of typed queries."""

from __future__ import annotations

import re
from typing import Literal, get_args

from balance.catalog.model import Gauge, Threshold, Unit
from balance.errors import MonitoringError, choices
from balance.promql.selectors import Expr, require_vector
from balance.record import Record

WIDTH = 24
"""Columns of Grafana's grid."""
PanelKind = Literal["timeseries", "state-timeline"]

_LEGEND_LABEL = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")


class Query(Record):
    """An expression and its legend, in which ``{{label}}`` stands for the label's value."""

    expr: Expr
    legend: str

    def validate(self) -> None:
        require_vector(self.expr)
        for label in _LEGEND_LABEL.findall(self.legend):
            if label not in self.expr.labels:
                raise MonitoringError(f"legend {self.legend!r} uses {label!r}", cure=f"labels of the expression: {choices(self.expr.labels)}")


class State(Record):
    """How a value of a state is shown: its word and its colour (a name of Grafana's palette)."""

    value: int
    text: str
    color: str


class Panel(Record):
    """A picture of queries. `kind` is Grafana's panel type; `states` give words and colours to values; `thresholds` are drawn as
    lines. All queries and thresholds of a panel must have one unit: Grafana's own schema refuses the overrides that a second axis needs.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: PanelKind = "timeseries"
    thresholds: tuple[Threshold, ...] = ()
    states: tuple[State, ...] = ()
    width: int = 12
    height: int = 8
    stacked: bool = False

    def validate(self) -> None:
        where = f"panel {self.title!r}"
        if not (self.title.strip() and self.description.strip()):
            raise MonitoringError("needs a title and a description", where=where, cure="say what it shows and what to look for")
        if self.kind not in get_args(PanelKind):
            raise MonitoringError(f"is of kind {self.kind!r}", where=where, cure=f"choices: {choices(get_args(PanelKind))}")
        if not self.queries:
            raise MonitoringError("has no query", where=where, cure="give at least one")
        if not (1 <= self.width <= WIDTH and self.height >= 2):
            raise MonitoringError(f"is {self.width} x {self.height}", where=where, cure=f"width 1 to {WIDTH}, height 2 or more")
        units = {str(query.expr.unit) for query in self.queries}
        if len(units) > 1:
            raise MonitoringError(f"shows several units: {choices(units)}", where=where, cure="make a panel for each unit")
        for threshold in self.thresholds:
            if threshold.unit != self.unit:
                raise MonitoringError(f"shows {self.unit}, its threshold {threshold.name!r} is in {threshold.unit}", where=where, cure="use one unit")

    @property
    def unit(self) -> Unit:
        """The unit of all its queries."""
        return self.queries[0].expr.unit


class Row(Record):
    """A titled row; its panels flow from left to right and wrap."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(Record):
    """A dashboard. `name` is how `balance-gen dashboards NAME` calls it, `uid` what links and imports go by. `presence` is a
    metric that every instance shows at all times: the job and instance to choose from are read from it.
    """

    name: str
    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    presence: Gauge
    tags: tuple[str, ...] = ()
    main: bool = False

    def validate(self) -> None:
        where = f"dashboard {self.name!r}"
        for field, value in (("name", self.name), ("uid", self.uid)):
            if not (value.isascii() and value.replace("-", "a").replace("_", "a").isalnum() and len(value) <= 40):
                raise MonitoringError(f"{field} {value!r}", where=where, cure="1 to 40 letters, digits, - or _")
        titles = [panel.title for panel in self.panels]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise MonitoringError(f"has several panels titled {choices(twice)}", where=where, cure="panel ids follow from titles: make them differ")

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels of all rows."""
        return tuple(panel for row in self.rows for panel in row.panels)
