"""Shared style: tags, annotations, links, states with their colours, and panels that several dashboards use."""

from __future__ import annotations

from typing import Any

from balance.api import RATE_WINDOW, Annotation, Dashboard, Link, Panel, Query, State, Window, changes, rate, series, standard, sum_by
from balance.lb.catalog import metrics as m

TAGS = ("balance", "load-balancer")
RECENT = Window(120)
"""Twice the step of annotations, so that no change falls between two evaluations."""
ANNOTATIONS = (
    Annotation("Firing alerts", series(standard.ALERTS, alertstate="firing"), "{{alertname}}", "{{severity}} {{instance}}", "red", job=True),
    Annotation("Reloads", changes(series(m.CONFIG_TIMESTAMP), RECENT), "Configuration loaded", "{{instance}}", "blue"),
    Annotation("Restarts", changes(series(standard.PROCESS_START), RECENT), "Process started", "{{instance}}", "purple"),
)
BACKEND_LINK = Link("This backend in depth", dashboard="balance-backend", label="backend")

BREAKER = (State(0, "Not open", "green"), State(1, "Open", "red"))
PANIC = (State(0, "By health", "green"), State(1, "Panic", "red"))
SUCCESSFUL = (State(1, "Successful", "green"), State(0, "Failed", "red"))
UP = (State(1, "Up", "green"), State(0, "Down", "red"))
HEALTHY = (State(1, "Healthy", "green"), State(0, "Unhealthy", "red"))

PROCESSOR = Panel(
    "Processor Time",
    "Seconds of processor time per second: 1 is one core.",
    (Query(sum_by(rate(series(standard.PROCESS_CPU).over(RATE_WINDOW)), "instance"), "{{instance}}"),),
)


def board(name: str, title: str, description: str, **options: Any) -> Dashboard:
    """A dashboard with the shared tags, annotations and `presence`. `options` are those of `Dashboard`, including `rows`."""
    uid = "-".join(dict.fromkeys(("balance", name)))
    return Dashboard(
        name=name, title=title, description=description,
        **{"uid": uid, "tags": TAGS, "presence": m.ACTIVE_CONNECTIONS, "annotations": ANNOTATIONS, **options},
    )  # fmt: skip
