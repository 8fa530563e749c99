"""The main dashboard: the state of the load balancer in one row; then rate, errors and duration; then saturation; then every alert."""

from __future__ import annotations

from balance.api import (
    RATE_WINDOW,
    Dashboard,
    Link,
    Panel,
    Query,
    Row,
    Settings,
    State,
    alert_panel,
    complement,
    count_by,
    heatmap_panel,
    latency_panel,
    matches,
    max_by,
    min_by,
    or_,
    quantile,
    quantile_panel,
    rate,
    rate_panel,
    ratio,
    series,
    standard,
    stat_panel,
    sum_by,
    table_panel,
    text_panel,
    times,
    value_panel,
)
from balance.lb.catalog import metrics as m
from balance.lb.catalog import thresholds as t
from dashboards_py import style
from rules_src import conditions as c
from rules_src.alerts import alerts
from rules_src.conditions import latency, responses_ratio
from rules_src.objectives import slos

REQUEST_RATE = Panel(
    "Request Rate",
    "Requests answered per second, by method and status code. A sudden drop matters as much as a rise.",
    (Query(sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), "method", "status"), "{{method}} {{status}}"),),
    stacked=True,
)
RESPONSE_TIME = Panel(
    "Response Time",
    "95th and 99th percentile of the time from the first byte of a request to the last byte of its response. "
    "Above the line, BalanceHighLatency fires.",
    (Query(latency(0.95), "{{job}} p95"), Query(latency(0.99), "{{job}} p99")),
    thresholds=(t.LATENCY_P99,),
)
ERROR_RATE = Panel(
    "Error Rate",
    "Share of responses with a 4xx (client errors) and a 5xx status (server errors). With 5xx above the line, BalanceHighErrorRate fires.",
    (Query(responses_ratio("4..", "job"), "{{job}} 4xx"), Query(responses_ratio("5..", "job"), "{{job}} 5xx")),
    thresholds=(t.ERROR_RATIO,),
)
ACTIVE_CONNECTIONS = Panel(
    "Active Connections",
    "Open client connections of each instance, beside the configured limit and the level from which BalanceHighConnections fires.",
    (
        Query(series(m.ACTIVE_CONNECTIONS), "{{instance}}"),
        Query(series(m.CONNECTIONS_LIMIT), "{{instance}} limit"),
        Query(times(series(m.CONNECTIONS_LIMIT), t.CONNECTION_SATURATION), "{{instance}} alert level"),
    ),
)
BACKEND_HEALTH = Panel(
    "Backend Health",
    "Each backend by the health checks of each instance: green is in rotation, red is not.",
    (Query(series(m.BACKEND_HEALTHY), "{{backend}} ({{instance}})"),),
    kind="state-timeline",
    states=style.HEALTHY,
    links=(style.BACKEND_LINK,),
)


def memory(settings: Settings) -> Panel:
    """The panel of memory, from the metrics of the chosen runtime."""
    runtime = standard.runtime(settings.runtime)
    return Panel(
        "Resource Usage",
        "Memory of the process: in use, and taken from the system. What grows and never falls is a leak; "
        "with memory in use above the line, BalanceHighMemoryUsage fires.",
        (Query(series(runtime.allocated), "{{instance}} in use"), Query(series(runtime.system), "{{instance}} from the system")),
        thresholds=(t.MEMORY,),
    )


def tasks(settings: Settings) -> Panel:
    """The panel of tasks or goroutines, from the metrics of the chosen runtime."""
    runtime = standard.runtime(settings.runtime)
    things = str(runtime.tasks.unit)
    return Panel(
        things.capitalize(),
        f"Number of {things} of the process. A number that follows the connections is fine, one that only grows is a leak.",
        (Query(series(runtime.tasks), "{{instance}}"),),
    )


STATUS = text_panel(
    "How to Read This",
    "**First row**: is it well? Green is fine, red is above (or below) the level at which an alert fires. **Below**, from what clients see "
    "(rate, errors, duration) to what the load balancer has left (utilisation, saturation). Dashed lines are the thresholds of alerts. Marks across "
    "all panels: firing alerts (red), reloads (blue), restarts (purple). The last row has a panel for each alert, with a link to its runbook.",
    description="What the colours, lines and marks mean.",
    height=3,
)


def first_row(settings: Settings) -> tuple[Panel, ...]:
    """The first row: one number for each of requests, errors, latency, backends, saturation and error budget."""
    requests = sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)))
    healthy = min_by(series(m.BACKEND_HEALTHY), "backend")
    availability = slos(settings)[0]
    return (
        stat_panel("Requests", requests, description="Requests answered per second, over all instances."),
        stat_panel(
            "Errors",
            or_(responses_ratio("5.."), complement(ratio(requests, requests))),
            description="Share of the responses that are server errors (5xx). Red where BalanceHighErrorRate fires.",
            thresholds=(t.ERROR_RATIO,),
        ),
        stat_panel(
            "Slowest Hundredth",
            quantile(0.99, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW),
            description="99th percentile of the time to answer: one request in a hundred takes longer. Red where BalanceHighLatency fires.",
            thresholds=(t.LATENCY_P99,),
        ),
        Panel(
            "Healthy Backends",
            "Backends that are healthy in the eyes of every instance, and all that there are.",
            (Query(sum_by(healthy), "healthy"), Query(count_by(healthy), "of")),
            kind="stat", states=(State(0, "None", "red"),), width=4, height=4,
        ),
        stat_panel(
            "Saturation",
            max_by(c.HIGH_CONNECTIONS.expr),
            description="Open client connections over the configured limit, of the fullest instance. Red where BalanceHighConnections fires.",
            thresholds=(t.CONNECTION_SATURATION,),
        ),
        stat_panel(
            "Error Budget Left",
            min_by(availability.remaining),
            description=f"Share of the error budget of {availability.days} days that is left for availability. Below 0 the objective is missed.",
            thresholds=(t.BUDGET_SPENT,), alarm="below", least=None,
            links=(Link("Objectives", dashboard="balance-slo"),),
        ),
    )  # fmt: skip


def backends() -> tuple[Panel, ...]:
    """Panels with a line or row for each backend."""
    attempts = series(m.BACKEND_REQUESTS)
    failed = series(m.BACKEND_REQUESTS, status_class=matches("5xx|none"))
    first_byte = series(m.BACKEND_FIRST_BYTE)
    return (
        table_panel(
            "Backends: Traffic",
            {
                "Attempts": sum_by(rate(attempts.over(RATE_WINDOW)), "backend"),
                "Failed": sum_by(rate(failed.over(RATE_WINDOW)), "backend"),
                "Retries": sum_by(rate(series(m.BACKEND_RETRIES).over(RATE_WINDOW)), "backend"),
            },
            description="Attempts at each backend per second; those with a 5xx status or no response; and those that stood in for another.",
            links=(style.BACKEND_LINK,),
        ),
        table_panel(
            "Backends: Time to First Byte",
            {"p50": quantile(0.5, first_byte, RATE_WINDOW, "backend"), "p99": quantile(0.99, first_byte, RATE_WINDOW, "backend")},
            description="How long each backend takes to begin its response: half of the requests, and all but one in a hundred, take less.",
            links=(style.BACKEND_LINK,),
        ),
        rate_panel(m.BACKEND_REQUESTS, "Attempts by Backend", by="backend", description="How the load is shared out.", links=(style.BACKEND_LINK,)),
        Panel(
            "Circuit Breakers",
            "Backends whose circuit breaker is open: red while it is, and no requests are sent.",
            (Query(series(m.CIRCUIT_BREAKER_STATE, state="open"), "{{backend}} ({{instance}})"),),
            kind="state-timeline", states=style.BREAKER, links=(style.BACKEND_LINK,),
        ),
    )  # fmt: skip


def main_dashboard(settings: Settings) -> Dashboard:
    """The dashboard `balance`."""
    objectives = slos(settings)
    declared = (*alerts(settings), *(alert for slo in objectives for alert in slo.alerts))
    everything = [alert for alert in declared if settings.alert(alert.name).enabled]
    return style.board(
        "balance",
        "Balance",
        "Requests, errors, latency, connections, backends and resources of the balance load balancer.",
        main=True,
        rows=(
            Row("Is It Well?", (*first_row(settings), STATUS)),
            Row("At a Glance", (REQUEST_RATE, RESPONSE_TIME, ERROR_RATE, ACTIVE_CONNECTIONS, BACKEND_HEALTH, memory(settings))),
            Row("Traffic and Time", (
                heatmap_panel(m.HTTP_REQUEST_DURATION, "Response Times", description="How many requests took how long: the darker, the more."),
                latency_panel(m.PROXY_OVERHEAD, "Time in the Load Balancer"),
                quantile_panel(m.HTTP_REQUEST_SIZE, "Size of Requests"),
                quantile_panel(m.HTTP_RESPONSE_SIZE, "Size of Responses"),
            )),
            Row("Errors", (
                rate_panel(m.REQUEST_FAILURES, "Failed Requests", by=("source", "reason"), width=8),
                rate_panel(m.CONNECTIONS_REJECTED, "Refused Connections", by="reason", width=8),
                rate_panel(m.TLS_HANDSHAKE_FAILURES, "Failed TLS Handshakes", by="reason", width=8, nothing="No TLS, or no failures"),
            )),
            Row("Backends", backends()),
            Row("Retries", (
                rate_panel(m.RETRIED, "Retries", by="reason"),
                rate_panel(m.RETRY_SUCCESS, "Requests Saved by Retries"),
                rate_panel(m.RETRIES_EXHAUSTED, "Requests without a Further Attempt", by="reason"),
                value_panel(m.RETRY_BUDGET, title="Retry Budget"),
            )),
            Row("Connections and Queue", (
                rate_panel(m.CONNECTIONS_ACCEPTED, "New Connections"),
                value_panel(m.HTTP_REQUESTS_IN_FLIGHT, title="Requests in Flight"),
                value_panel(m.QUEUE_DEPTH, title="Queued Requests"),
                latency_panel(m.QUEUE_DURATION, "Time in the Queue", by="pool"),
                rate_panel(m.QUEUE_REJECTED, "Requests Refused by the Queue", by=("pool", "reason")),
                value_panel(m.TUNNELS_ACTIVE, title="Tunnels"),
                rate_panel(m.TUNNELS, "New Tunnels"),
                rate_panel(m.TUNNEL_BYTES, "Bytes in Tunnels", by="direction"),
            )),
            Row("Runtime", (tasks(settings), style.PROCESSOR)),
            Row("Alerts", tuple(alert_panel(alert, width=8) for alert in everything), collapsed=True),
        ),
    )  # fmt: skip
