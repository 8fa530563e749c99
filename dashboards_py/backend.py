"""The dashboard `backend`: what each backend is asked, how it answers, and what is thought of it."""

from __future__ import annotations

from balance.catalog import metrics as m
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.panels import quantile_panel, rate_panel, value_panel
from balance.promql import RATE_WINDOW, rate, series, since, sum_by
from dashboards_py import house

AVAILABLE = value_panel("Available Backends", m.BACKENDS_AVAILABLE)
PANIC = value_panel("Panic Mode", m.POOL_PANICKING, kind="state-timeline", states=house.PANIC)
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
    (Query(since(series(m.DISCOVERY_TIMESTAMP)), "{{pool}} ({{instance}})"),),
)

BACKEND = Dashboard(
    name="backend",
    uid="balance-backend",
    title="Balance / Backends",
    description="Traffic, time, connections and health of each backend.",
    tags=("balance", "load-balancer"),
    presence=m.ACTIVE_CONNECTIONS,
    rows=(
        Row("Traffic", (
            rate_panel("Attempts", m.BACKEND_REQUESTS, "backend", "status_class"),
            RETRIES,
            quantile_panel("Time to First Byte", m.BACKEND_FIRST_BYTE, "backend"),
            quantile_panel("Time to Connect", m.BACKEND_CONNECT_DURATION, "pool"),
        )),
        Row("Connections", (
            CONNECTIONS,
            rate_panel("Connections by What Became of Them", m.UPSTREAM_CONNECTIONS, "state", stacked=False),
        )),
        Row("Health", (
            AVAILABLE,
            PANIC,
            BREAKER,
            rate_panel("Failures Counted by Circuit Breakers", m.CIRCUIT_BREAKER_FAILURES, "backend"),
            rate_panel("Health Checks", m.HEALTH_CHECKS, "backend", "result"),
            quantile_panel("Time of Health Checks", m.HEALTH_CHECK_DURATION, "pool"),
            rate_panel("Changes of State", m.BACKEND_TRANSITIONS, "backend", "from", "to"),
            rate_panel("Ejections", m.EJECTIONS, "backend", "reason"),
        )),
        Row("Discovery", (
            value_panel("Discovered Backends", m.DISCOVERY_BACKENDS),
            rate_panel("Looks", m.DISCOVERY_LOOKS, "pool", "result", description="Looks at where backends are discovered, by what came of them."),
            LAST_LOOK,
        )),
    ),
)  # fmt: skip
