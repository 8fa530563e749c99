"""Dashboards as Grafana gets them, walked for checks: their variables, panels and queries, and the series that a query selects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import promql_parser as promql

from balance.errors import Problem
from balance.lint.check import Inputs

Json = Mapping[str, Any]

RATE_INTERVAL = 8869991
"""Seconds that stand for `$__rate_interval`: a window that nobody writes."""
_DURATIONS = {"__rate_interval": f"{RATE_INTERVAL}s", "__interval": "4867857s", "__range": "6069771s"}
_NUMBERS = {"__interval_ms": "4867857000", "__range_ms": "6069771000", "__range_s": "6069771"}
_STRING_OR_VARIABLE = re.compile(r""""(?:[^"\\]|\\.)*"|\$(\w+)|\$\{(\w+)[^}]*\}|\[\[(\w+)[^\]]*\]\]""")


@dataclass(frozen=True)
class BoardPlace:
    """A dashboard (`name`, `board`), one of its panels, and one of the queries (`target`) of that panel."""

    name: str
    board: Json
    panel: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)

    def problem(self, problem: str, cure: str, variable: str = "") -> Problem:
        """A problem at this place. Its subject, which a waiver names, is the dashboard and the panel or variable."""
        title = variable or self.panel.get("title") or self.panel.get("id", "")
        where = f"dashboard {self.name!r}" + (f", panel {title!r}" if self.panel else "")
        ref = f" ({self.target['refId']})" if self.target.get("refId") else ""
        return Problem(where + ref, problem, cure, f"{self.name}: {title}" if title else self.name)

    @property
    def loki(self) -> bool:
        """True if the query's data source, or else the panel's, is Loki."""
        source = self.target.get("datasource") or self.panel.get("datasource")
        return isinstance(source, Mapping) and source.get("type") == "loki"

    @property
    def expr(self) -> str:
        """The expression of the query."""
        return str(self.target.get("expr", ""))


@dataclass(frozen=True)
class Selection:
    """A selector of a query, with the function that is called on it and the length of its range, if any."""

    selector: Any
    function: str = ""
    range: timedelta | None = None

    def matches(self, label: str) -> bool:
        """True if it is restricted to the variable of that name: ``job=~"$job"``."""
        matchers = self.selector.matchers.matchers
        return any((one.name, one.op, one.value) == (label, promql.MatchOp.Re, f"${label}") for one in matchers)


def boards(inputs: Inputs) -> Iterator[BoardPlace]:
    """Every dashboard."""
    return (BoardPlace(name, board) for name, board in inputs.boards.items())


def variables(inputs: Inputs) -> Iterator[tuple[BoardPlace, Json]]:
    """Every variable, with its dashboard."""
    return ((place, variable) for place in boards(inputs) for variable in place.board["templating"]["list"])


def panels(inputs: Inputs) -> Iterator[BoardPlace]:
    """Every panel that shows data, those of collapsed rows included."""
    for place in boards(inputs):
        for top in place.board["panels"]:
            for panel in (top, *top.get("panels", ())):
                if panel["type"] not in ("row", "text"):
                    yield replace(place, panel=panel)


def targets(inputs: Inputs, *, loki: bool = False) -> Iterator[BoardPlace]:
    """Every query of a panel that asks Prometheus, or Loki."""
    places = (replace(place, target=target) for place in panels(inputs) for target in place.panel.get("targets") or ())
    return (place for place in places if place.loki == loki)


def _with_samples(expr: str) -> str:
    """The expression with samples for Grafana's variables, except within strings."""

    def sample(found: re.Match[str]) -> str:
        name = next(filter(None, found.groups()), "")
        return _DURATIONS.get(name) or _NUMBERS.get(name) or name or found[0]

    return _STRING_OR_VARIABLE.sub(sample, expr)


def syntax_error(expr: str) -> str:
    """Why the expression is not valid PromQL; empty if it is."""
    try:
        promql.parse(_with_samples(expr))
    except ValueError as error:
        return str(error)
    return ""


def selections(place: BoardPlace) -> Iterator[Selection]:
    """All selectors of a query; none if it is not valid PromQL, which another check reports."""
    try:
        root = promql.parse(_with_samples(place.expr))
    except ValueError:
        return
    open_nodes: list[tuple[Any, str]] = [(root, "")]
    while open_nodes:
        node, function = open_nodes.pop()
        if isinstance(node, promql.VectorSelector):
            yield Selection(node)
        elif isinstance(node, promql.MatrixSelector):
            yield Selection(node.vector_selector, function, node.range)
        elif isinstance(node, promql.Call):
            open_nodes += [(argument, node.func.name) for argument in node.args]
        else:
            open_nodes += [(inner, "") for name in ("expr", "param", "lhs", "rhs") if (inner := getattr(node, name, None)) is not None]
