"""The dashboard `backend`: traffic, time, connections and health of one backend, or of several side by side."""

from __future__ import annotations

from balance.api import (
    RATE_WINDOW,
    Panel,
    Query,
    Row,
    Variable,
    latency_panel,
    matches,
    max_by,
    min_by,
    quantile,
    rate,
    rate_panel,
    seconds_since,
    series,
    stat_panel,
    sum_by,
    text_panel,
    value_panel,
)
from balance.lb.catalog import metrics as m
from dashboards_py import style

AVAILABLE = value_panel(m.BACKENDS_AVAILABLE, title="Available Backends")
PANIC = value_panel(m.POOL_PANICKING, title="Panic Mode", kind="state-timeline", states=style.PANIC)
BREAKER = Panel(
    "Circuit Breakers",
    "Backends whose circuit breaker is open or half open: 1 while it is. An open one gets no requests, a half open one a few, to see how it fares.",
    tuple(Query(series(m.CIRCUIT_BREAKER_STATE, state=state), f"{{{{backend}}}} ({{{{instance}}}}) {state}") for state in ("open", "half_open")),
)
CONNECTIONS = Panel(
    "Backend Connections",
    "Open connections to each backend, and those of them that wait for a request.",
    (
        Query(sum_by(series(m.BACKEND_CONNECTIONS), "backend"), "{{backend}} open"),
        Query(sum_by(series(m.UPSTREAM_IDLE), "backend"), "{{backend}} idle"),
    ),
)
RETRIES = Panel(
    "Retries by Backend",
    "Attempts that were repetitions of a request, by the backend that received them: it stands in for one that has failed.",
    (Query(sum_by(rate(series(m.BACKEND_RETRIES).over(RATE_WINDOW)), "backend"), "{{backend}}"),),
    stacked=True,
)
LAST_LOOK = Panel(
    "Since the Last Successful Look",
    "Time since the list of backends could last be read: what grows without end is a source that fails. Empty without discovery.",
    (Query(seconds_since(series(m.DISCOVERY_TIMESTAMP)), "{{pool}} ({{instance}})"),),
    width=8,
)

FAILED = series(m.BACKEND_REQUESTS, status_class=matches("5xx|none"))
FIRST_ROW = (
    Panel(
        "In Rotation",
        "Whether every instance has it in rotation by its health checks; of several backends, whether all are.",
        (Query(min_by(series(m.BACKEND_HEALTHY)), "healthy"),),
        kind="stat", states=style.HEALTHY, width=4, height=4,
    ),
    stat_panel("Attempts Now", sum_by(rate(series(m.BACKEND_REQUESTS).over(RATE_WINDOW))), description="Attempts per second, retries included."),
    stat_panel("Failed Attempts Now", sum_by(rate(FAILED.over(RATE_WINDOW))), nothing="None",
               description="Attempts per second that ended with a 5xx status or without a response."),
    stat_panel("Time to First Byte Now", quantile(0.99, series(m.BACKEND_FIRST_BYTE), RATE_WINDOW),
               description="99th percentile of the time until it begins to answer."),
    stat_panel("Connections Now", sum_by(series(m.BACKEND_CONNECTIONS)), description="Open connections to it, idle ones included."),
    Panel(
        "Circuit Breaker Now",
        "Whether the circuit breaker of any instance is open.",
        (Query(max_by(series(m.CIRCUIT_BREAKER_STATE, state="open")), "open"),),
        kind="stat", states=style.BREAKER, width=4, height=4,
    ),
    text_panel(
        "Which Backends",
        "Choose one **Backend** above, or All to compare them. Panels by pool (connecting, checking, discovery) show the pools whole: "
        "their metrics are not kept for each backend.",
        description="What the choice above does.", height=2,
    ),
)  # fmt: skip

BACKEND = style.board(
    "backend",
    "Balance / Backends",
    "Traffic, time, connections and health of each backend.",
    variables=(Variable("backend", "Backend", m.BACKEND_HEALTHY),),
    rows=(
        Row("How Is It?", FIRST_ROW),
        Row("Traffic", (
            rate_panel(m.BACKEND_REQUESTS, "Attempts", by=("backend", "status_class")),
            RETRIES,
            latency_panel(m.BACKEND_FIRST_BYTE, "Time to First Byte", by="backend"),
            latency_panel(m.BACKEND_CONNECT_DURATION, "Time to Connect", by="pool"),
        )),
        Row("Connections", (
            CONNECTIONS,
            rate_panel(m.UPSTREAM_CONNECTIONS, "Connections by What Became of Them", by="state", stacked=False),
        )),
        Row("Health", (
            value_panel(m.BACKEND_HEALTHY, title="Health", kind="state-timeline", states=style.HEALTHY, width=24),
            AVAILABLE,
            PANIC,
            BREAKER,
            rate_panel(m.CIRCUIT_BREAKER_FAILURES, "Failures Counted by Circuit Breakers", by="backend"),
            rate_panel(m.HEALTH_CHECKS, "Health Checks", by=("backend", "result")),
            latency_panel(m.HEALTH_CHECK_DURATION, "Time of Health Checks", by="pool"),
            rate_panel(m.BACKEND_TRANSITIONS, "Changes of State", by=("backend", "from", "to")),
            rate_panel(m.EJECTIONS, "Ejections", by=("backend", "reason")),
        )),
        Row("Discovery", (
            value_panel(m.DISCOVERY_BACKENDS, title="Discovered Backends", width=8),
            rate_panel(m.DISCOVERY_UPDATES, "Looks", by=("pool", "result"), width=8, description="Looks for backends, by what came of them."),
            LAST_LOOK,
        )),
    ),
)  # fmt: skip
