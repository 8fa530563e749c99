"""The page of the demo: buttons for the faults, the state of the alerts, and the main dashboard."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from balance.demo.faults import FAULTS, DemoFault
from balance.demo.history import History
from balance.demo.watch import Alarm, Board, Event
from balance.monitoring.dashboards import Dashboard
from balance.preview import page as preview
from balance.promql.text import Scope

EFFECTS = {"critical": "pages", "warning": "informs"}
"""What a firing alert does, by severity."""
DISTINCTIVE = ("backend", "pool", "worker", "certificate")
"""Labels that distinguish alerts of one name."""
SHOWN = 12
"""Number of events on the page."""


@dataclass(frozen=True)
class PageTexts:
    """Texts of the page: what evaluates the rules, and where the data comes from."""

    by: str
    source: str


def page(dashboard: Dashboard, history: History, scope: Scope, board: Board, active: Collection[str], texts: PageTexts, now: float) -> str:
    """The page as HTML. `active` are the names of the faults that are on; `now` is in seconds since 1970."""
    alarms = board.alarms
    quiet = sorted(board.alerts.keys() - {alarm.name for alarm in alarms})
    top = _resource("top.html").substitute(
        buttons="\n".join(_button(name, fault, board.stage(fault.alert), on=name in active) for name, fault in FAULTS.items()),
        marks="\n".join(_marks(board, dashboard)),
        by=escape(texts.by),
        alarms="".join(_alarm(alarm, board.alerts[alarm.name].severity, now) for alarm in alarms)
        or '<tr><td colspan="4"><span class="well">All is well.</span> Press a button to break something.</td></tr>',
        quiet=f'<span title="{escape(", ".join(quiet))}">{len(quiet)} inactive: {escape(", ".join(quiet))}</span>',
        events="".join(map(_event, list(board.events)[:SHOWN])) or "<li>Nothing yet.</li>",
    )
    text = preview.page(dashboard, preview.PageContext((), history.ask, history.period, scope, source=texts.source))
    head, header, rest = text.partition("</header>\n")
    return head.replace("</style>", _resource("top.css").template + "</style>", 1) + header + top + rest


@cache
def _resource(name: str) -> Template:
    return Template((files(__package__ or "") / name).read_text(encoding="utf-8"))


def _button(name: str, fault: DemoFault, stage: str, *, on: bool) -> str:
    """A button in a form of its own, so that it works without scripts."""
    title, description, alert = escape(fault.title), escape(fault.description), fault.alert.removeprefix("Balance")
    return (
        f'<form method="post" action="/faults/{name}"><button id="{name}" name="on" value="{int(not on)}" aria-pressed="{str(on).lower()}"'
        f' data-state="{stage}" title="{description}"><b>{title}</b><small>{alert}</small><em>{stage}</em></button></form>'
    )


def _marks(board: Board, dashboard: Dashboard) -> Iterator[str]:
    """CSS that marks panels with the expression of a pending or firing alert: a border, and the state in the title."""
    stages = {board.alerts[alarm.name].condition.expr: alarm.stage for alarm in reversed(board.alarms) if alarm.stage != "resolved"}
    plots = [(panel.title, [stages[query.expr] for query in panel.queries if query.expr in stages]) for panel in dashboard.panels]
    worst = {title: min(found) for title, found in plots if found}  # firing before pending
    for title, stage in worst.items():
        panel, color = f'article[aria-label="{title}"]', "var(--red)" if stage == "firing" else "var(--yellow)"
        yield f"{panel} {{ border-color: {color}; box-shadow: 0 0 0 1px {color}; }}"
        yield f'{panel} h3::after {{ content: " · {stage}"; color: {color}; }}'


def _alarm(alarm: Alarm, severity: str, now: float) -> str:
    note = "" if alarm.stage != "firing" else "inhibited by another alert" if alarm.held else EFFECTS[severity]
    summary = escape(alarm.summary) + (f" <small>({note})</small>" if note else "")
    return (
        f'<tr data-alert="{alarm.name}" data-state="{alarm.stage}"><td><span class="badge {alarm.stage}">{alarm.stage}</span></td>'
        f'<th scope="row">{alarm.name}</th><td>{now - alarm.since:.0f} s</td><td>{summary}</td></tr>'
    )


def _event(event: Event) -> str:
    at = datetime.fromtimestamp(event.at).astimezone()
    about = ", ".join(value for label, value in sorted(event.labels.items()) if label in DISTINCTIVE)
    named = " ".join(filter(None, (event.name, about and f"({about})", event.description)))
    moment = f'<time datetime="{at:%Y-%m-%dT%H:%M:%S%z}">{at:%H:%M:%S}</time>'
    return f'<li>{moment}<span class="badge {event.what}">{event.what}</span> {escape(named)}</li>'
