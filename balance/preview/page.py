"""A dashboard as one self-contained HTML page.

The colours follow the reader's system or the switch (CSS `light-dark()`). Tables beside the pictures have the same figures for readers who cannot
see them. Without scripts the page is complete except for the switch and live updates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from balance.errors import BalanceError
from balance.monitoring.dashboards import Annotation, Dashboard, Link, Panel, Row
from balance.preview import palette
from balance.preview.curves import Ask, Curve, Span
from balance.preview.draw import draw
from balance.preview.view import Mark, View
from balance.promql.text import Scope

MAX_SERIES = 100
"""Maximum number of series of a query that are drawn."""


@dataclass(frozen=True)
class PageContext:
    """What all panels of a page share. `ask` runs their queries, `runbooks` is the base address of runbooks, `source` says where the data is from."""

    dashboards: Sequence[Dashboard]
    ask: Ask
    span: Span
    scope: Scope
    runbooks: str = ""
    source: str = ""

    def address(self, link: Link) -> str:
        """The address of a link; empty if a browser could not follow it."""
        if link.runbook:
            return f"{self.runbooks}/{link.runbook}.md" if re.match("https?:", self.runbooks) else ""
        return next((f"{dashboard.name}.html" for dashboard in self.dashboards if dashboard.uid == link.dashboard), "")


def page(dashboard: Dashboard, context: PageContext, refresh: int = 0) -> str:
    """The page of a dashboard, which reloads itself every `refresh` seconds unless that is 0."""
    marks, faults = _marks(dashboard, context)
    rows = "\n".join(_row(row, context, marks) for row in dashboard.rows)
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (context.span.start, context.span.end))
    words = f"{dashboard.description} {begin:%Y-%m-%d %H:%M} to {end:%H:%M} UTC{context.source and f', {context.source}'}."
    links = " ".join(_nav_link(other, current=other is dashboard) for other in context.dashboards)
    return _page(dashboard.title, escape(words), links, _marks_summary(marks, faults) + rows, refresh)


def error_page(title: str, lines: Sequence[str], refresh: int) -> str:
    """A page that says why the dashboards cannot be drawn, which reloads itself every `refresh` seconds."""
    return _page(title, "The dashboards cannot be drawn.", "", f'<pre class="problem" role="alert">{escape(chr(10).join(lines))}</pre>', refresh)


def _page(title: str, words: str, links: str, main: str, refresh: int) -> str:
    style = _resource("style.css").template.replace("/* the colours of curves */", palette.css())
    live = _resource("live.js").substitute(milliseconds=refresh * 1000) if refresh else ""
    return _resource("page.html").substitute(title=escape(title), words=words, style=style, links=links, main=main, live=live)


@cache
def _resource(name: str) -> Template:
    return Template((files(__package__ or "") / name).read_text(encoding="utf-8"))


def _nav_link(dashboard: Dashboard, *, current: bool) -> str:
    here = ' aria-current="page"' if current else ""
    return f'<a href="{dashboard.name}.html"{here}>{escape(dashboard.title)}</a>'


def _row(row: Row, context: PageContext, marks: Sequence[Mark]) -> str:
    """A row. One that is collapsed in Grafana can be closed here; it is open at first."""
    title = f"<h2>{escape(row.title)}</h2>"
    panels = "\n".join(_panel(panel, context, tuple(marks)) for panel in row.panels)
    inside = f'<div class="row">\n{panels}\n</div>'
    if row.collapsed:
        inside = f"<details open><summary>{title}</summary>\n{inside}</details>"
        title = ""
    return f'<section aria-label="{escape(row.title)}">{title}\n{inside}</section>'


def _panel(panel: Panel, context: PageContext, marks: tuple[Mark, ...]) -> str:
    answers: list[tuple[Curve, ...]] = []
    notes: list[str] = []
    try:
        for query in panel.queries:
            found = context.ask(query.expr)
            answers.append(found[:MAX_SERIES])
            notes += [f"{MAX_SERIES} of {len(found)} series"] if len(found) > MAX_SERIES else []
        inside = draw(View(panel, context.span, context.scope, tuple(answers), marks, context.address))
    except BalanceError as error:
        inside = f'<p class="none" role="alert">{escape(str(error))}</p>'
    links = [_panel_link(panel, link, address) for link in panel.links if not link.label and (address := context.address(link))]
    beside = "".join((*(f"<small>{escape(note)}</small>" for note in notes), *links, _panel_help(panel)))
    title = escape(panel.title)
    place = f"grid-column: span {panel.width}; grid-row: span {panel.height}"
    return f'<article style="{place}" aria-label="{title}"><div class="head"><h3>{title}</h3>{beside}</div>{inside}</article>'


def _panel_link(panel: Panel, link: Link, address: str) -> str:
    """A link in the header of a panel; an arrow where the panel is too narrow for its title."""
    title = escape(link.title)
    words = title if panel.width > 7 else "\u2197"
    return f'<a href="{escape(address)}" title="{title}" aria-label="{title}">{words}</a>'


def _panel_help(panel: Panel) -> str:
    """The description of a panel, behind an i."""
    return f'<details class="about"><summary aria-label="About {escape(panel.title)}">i</summary><p>{escape(panel.description)}</p></details>'


def _marks(dashboard: Dashboard, context: PageContext) -> tuple[list[Mark], list[str]]:
    """The marks of all annotations, and the errors of queries that failed."""
    marks: list[Mark] = []
    faults = []
    for annotation in dashboard.annotations:
        try:
            marks += (
                mark for curve in context.ask(annotation.expr, job=annotation.job)[:MAX_SERIES] for mark in _annotation_marks(annotation, curve)
            )
        except BalanceError as error:
            faults.append(f"{annotation.name}: {error}")
    return sorted(marks, key=lambda mark: (mark.first, mark.name, mark.words)), faults


def _annotation_marks(annotation: Annotation, curve: Curve) -> Iterator[Mark]:
    words = f"{curve.title(annotation.title)} {curve.title(annotation.words)}".strip()
    first = None
    for place, value in enumerate((*curve.values, None)):
        holds = value is not None and value >= 1
        if holds and first is None:
            first = place
        elif first is not None and not holds:
            yield Mark(first, place, annotation.color, annotation.name, words)
            first = None


def _marks_summary(marks: Sequence[Mark], faults: Sequence[str]) -> str:
    """A summary of the marks that opens into a list."""
    if not (marks or faults):
        return ""
    names = dict.fromkeys((mark.name, mark.color) for mark in marks)
    counts = [f'<i style="color:var(--{shade})"></i>{escape(name)}: {sum(mark.name == name for mark in marks)}' for name, shade in names]
    lines = [f"<li>{escape(mark.name)}: {escape(mark.words)}</li>" for mark in marks] + [f"<li>{escape(fault)}</li>" for fault in faults]
    return f'<details class="marks"><summary>Marked: {" ".join(counts) or "nothing"}</summary><ul>{"".join(lines)}</ul></details>\n'
