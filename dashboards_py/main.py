"""The main dashboard: the six panels that tell whether the load balancer is well."""

from __future__ import annotations

from balance.catalog import metrics as m
from balance.catalog import thresholds as t
from balance.catalog.metrics import RUNTIMES
from balance.monitoring.conditions import latency, responses_ratio
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.panels import quantile_panel, rate_panel, value_panel
from balance.monitoring.settings import Settings
from balance.promql import RATE_WINDOW, rate, scaled, series, sum_by
from dashboards_py import house

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
        Query(scaled(series(m.CONNECTIONS_LIMIT), t.CONNECTION_SATURATION), "{{instance}} alert level"),
    ),
)
BACKEND_HEALTH = Panel(
    "Backend Health",
    "Each backend by the health checks of each instance: green is in rotation, red is not.",
    (Query(series(m.BACKEND_HEALTHY), "{{backend}} ({{instance}})"),),
    kind="state-timeline",
    states=house.HEALTHY,
    width=24,
)


def resources(settings: Settings) -> tuple[Panel, ...]:
    """Memory and tasks, by the metrics of the service's runtime."""
    runtime = RUNTIMES[settings.runtime]
    tasks = str(runtime.tasks.unit)
    return (
        Panel(
            "Resource Usage",
            "Memory of the process: in use, and taken from the system. What grows and never falls is a leak; "
            "with memory in use above the line, BalanceHighMemoryUsage fires.",
            (Query(series(runtime.allocated), "{{instance}} in use"), Query(series(runtime.system), "{{instance}} from the system")),
            thresholds=(t.MEMORY,),
        ),
        Panel(
            tasks.capitalize(),
            f"Number of {tasks} of the process. A number that follows the connections is fine, one that only grows is a leak.",
            (Query(series(runtime.tasks), "{{instance}}"),),
        ),
    )


def main_dashboard(settings: Settings) -> Dashboard:
    """The dashboard `balance`."""
    return Dashboard(
        name="balance",
        uid="balance",
        title="Balance",
        description="Requests, errors, latency, connections, backends and resources of the balance load balancer.",
        tags=("balance", "load-balancer"),
        presence=m.ACTIVE_CONNECTIONS,
        main=True,
        rows=(
            Row("Traffic", (REQUEST_RATE, RESPONSE_TIME, ERROR_RATE, ACTIVE_CONNECTIONS)),
            Row("Backends", (BACKEND_HEALTH,)),
            Row(
                "Failures and Retries",
                (
                    rate_panel("Failed Requests", m.REQUEST_FAILURES, "source", "reason"),
                    rate_panel("Refused Connections", m.CONNECTIONS_REJECTED, "reason"),
                    rate_panel("Failed TLS Handshakes", m.TLS_HANDSHAKE_FAILURES, "reason"),
                    rate_panel("Retries", m.RETRIED, "reason"),
                    rate_panel("Requests Saved by Retries", m.RETRY_SUCCESS),
                    rate_panel("Requests without a Further Attempt", m.RETRIES_EXHAUSTED, "reason"),
                    value_panel("Retry Budget", m.RETRY_BUDGET),
                ),
            ),
            Row(
                "Connections, Queue and Tunnels",
                (
                    rate_panel("New Connections", m.CONNECTIONS_ACCEPTED),
                    value_panel("Requests in Flight", m.HTTP_REQUESTS_IN_FLIGHT),
                    value_panel("Queued Requests", m.QUEUE_DEPTH),
                    quantile_panel("Time in the Queue", m.QUEUE_DURATION, "pool"),
                    rate_panel("Requests Refused by the Queue", m.QUEUE_REJECTED, "pool", "reason"),
                    quantile_panel("Time in the Load Balancer", m.PROXY_OVERHEAD),
                    quantile_panel("Size of Requests", m.HTTP_REQUEST_SIZE),
                    quantile_panel("Size of Responses", m.HTTP_RESPONSE_SIZE),
                    value_panel("Tunnels", m.TUNNELS_ACTIVE),
                    rate_panel("New Tunnels", m.TUNNELS),
                    rate_panel("Bytes in Tunnels", m.TUNNEL_BYTES, "direction"),
                ),
            ),
            Row("Resources", resources(settings)),
        ),
    )
