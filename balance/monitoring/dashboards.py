"""Dashboards: rows of panels, which plot typed queries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from balance.catalog.model import INFO, Gauge, Metric, Threshold, Unit
from balance.errors import MonitoringError, choices
from balance.promql.selectors import Expr, require_vector

WIDTH = 24
"""Columns of Grafana's grid."""
PanelKind = Literal["timeseries", "state-timeline", "stat", "table", "heatmap", "text"]

_LEGEND_LABEL = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")


@dataclass(frozen=True)
class Query:
    """An expression and its legend, in which ``{{label}}`` stands for the label's value."""

    expr: Expr
    legend: str

    def __post_init__(self) -> None:
        require_vector(self.expr)
        for label in _LEGEND_LABEL.findall(self.legend):
            if label not in self.expr.labels:
                raise MonitoringError(
                    f"legend {self.legend!r} uses the unknown label {label!r}", cure=f"labels of the expression: {choices(self.expr.labels)}"
                )


@dataclass(frozen=True)
class State:
    """How a value is shown: a text and a colour (a name of Grafana's palette)."""

    value: int
    text: str
    color: str


@dataclass(frozen=True)
class Link:
    """A link to a `dashboard` (its uid), which keeps time range and variables, or to the `runbook` of an alert (its name). With a `label`, each
    series has its own link, which selects its value of that label.
    """

    title: str
    dashboard: str = ""
    runbook: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        if bool(self.dashboard) == bool(self.runbook):
            raise MonitoringError("needs exactly one target", where=f"link {self.title!r}", cure="give one of dashboard=, runbook=")


@dataclass(frozen=True)
class Panel:
    """A panel. `kind` is Grafana's panel type; `states` give texts and colours to values; `thresholds` are drawn as lines. All queries and
    thresholds must have one unit: Grafana's schema rejects the overrides that a second axis needs.

    A stat shows the last value of each query, red if it is `alarm` ("above", "below") the threshold. A table has a row for each combination of
    labels and a column with a sparkline for each query, headed by its legend. A heatmap shows one query of a histogram's buckets by ``le``. A
    text shows `text`, which is Markdown. `least` is the start of the axis, None for the minimum of the data; `nothing` is shown when there is
    no data. `width` is in columns of the grid (24), `height` in its rows.

    Raises `MonitoringError` for contradictions.
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
    text: str = ""
    alarm: Literal["above", "below"] = "above"
    least: int | None = 0
    nothing: str = ""
    links: tuple[Link, ...] = ()

    def __post_init__(self) -> None:
        where = f"panel {self.title!r}"
        if not (self.title.strip() and self.description.strip()):
            raise MonitoringError("needs a title and a description", where=where, cure="say what it shows and what to look for")
        if self.kind not in get_args(PanelKind):
            raise MonitoringError(f"unknown kind {self.kind!r}", where=where, cure=f"choices: {choices(get_args(PanelKind))}")
        if (self.kind == "text") != bool(self.text):
            raise MonitoringError('text= and kind="text" need each other', where=where, cure="give both or neither")
        if (self.kind == "text") == bool(self.queries):
            raise MonitoringError(
                "has no query" if not self.queries else "is a text panel with queries", where=where, cure="only text panels have no queries"
            )
        if self.kind == "heatmap" and (len(self.queries) > 1 or "le" not in self.queries[0].expr.labels):
            raise MonitoringError("is a heatmap without buckets", where=where, cure="give one query, for a histogram's buckets by le")
        for link in self.links:
            if link.label and any(link.label not in query.expr.labels for query in self.queries):
                raise MonitoringError(f"link {link.title!r} needs the label {link.label!r}", where=where, cure="keep it in every query")
        if not (1 <= self.width <= WIDTH and self.height >= 2):
            raise MonitoringError(f"invalid size {self.width} x {self.height}", where=where, cure=f"width 1 to {WIDTH}, height 2 or more")
        units = {str(query.expr.unit) for query in self.queries}
        if len(units) > 1:
            raise MonitoringError(f"shows several units: {choices(units)}", where=where, cure="make a panel for each unit")
        for threshold in self.thresholds:
            if threshold.unit != self.unit:
                raise MonitoringError(f"shows {self.unit}, its threshold {threshold.name!r} is in {threshold.unit}", where=where, cure="use one unit")

    @property
    def unit(self) -> Unit:
        """The unit of its queries; for a heatmap the unit of the observations, for a text panel `INFO`."""
        if not self.queries:
            return INFO
        expr = self.queries[0].expr
        return next(iter(expr.metrics())).unit if self.kind == "heatmap" else expr.unit


@dataclass(frozen=True)
class Row:
    """A titled row; its panels flow from left to right and wrap. A `collapsed` row shows only its title until it is clicked."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True)
class Variable:
    """A drop-down of the values of a label, read from a metric. It filters every query of a metric that has the label."""

    label: str
    title: str
    metric: Metric

    def __post_init__(self) -> None:
        self.metric.label(self.label)


@dataclass(frozen=True)
class Annotation:
    """Marks across all panels at the times when `expr` is 1 or more. `title` and `words` may use ``{{label}}``. An annotation of a `job` as a
    whole has no instance.
    """

    name: str
    expr: Expr
    title: str
    words: str
    color: str
    job: bool = False


@dataclass(frozen=True)
class Dashboard:
    """A dashboard. `name`: for `balance-gen dashboards NAME`. `uid`: identifies it in links and imports. `presence`: a metric that every instance
    always exposes; the drop-downs of jobs and instances are read from it. `tags`: dashboards with the same first tag are linked with each
    other. `main`: the one that `balance-gen dashboards` prints.

    Raises `MonitoringError` for an invalid name or uid, and for duplicate panel titles.
    """

    name: str
    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    presence: Gauge
    tags: tuple[str, ...] = ()
    main: bool = False
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()

    def __post_init__(self) -> None:
        where = f"dashboard {self.name!r}"
        for field, value in (("name", self.name), ("uid", self.uid)):
            if not (value.isascii() and value.replace("-", "a").replace("_", "a").isalnum() and len(value) <= 40):
                raise MonitoringError(f"invalid {field} {value!r}", where=where, cure="1 to 40 letters, digits, - or _")
        titles = [panel.title for panel in self.panels]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise MonitoringError(f"has several panels titled {choices(twice)}", where=where, cure="panel ids follow from titles: make them differ")

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels of all rows."""
        return tuple(panel for row in self.rows for panel in row.panels)
