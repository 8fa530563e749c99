"""The alerts: who is told, when, and in which words. Critical pages somebody; a warning waits for working hours."""

from __future__ import annotations

from balance.catalog.metrics import RUNTIMES
from balance.monitoring import conditions
from balance.monitoring.alerts import Alert
from balance.monitoring.settings import Settings

MINUTE = 60


def alerts(settings: Settings) -> tuple[Alert, ...]:
    """All alerts, for the runtime that the settings name."""
    runtime = RUNTIMES[settings.runtime]
    return (
        Alert(
            "BalanceDown", conditions.DOWN, "critical", wait=1 * MINUTE,
            summary="Load balancer {{ with $labels.instance }}{{ . }} {{ end }}of job {{ $labels.job }} is down",
            description="Prometheus cannot scrape {{ with $labels.instance }}{{ . }}{{ else }}any instance{{ end }} of job {{ $labels.job }}. "
            "Clients that depend on it get no answer, or its admin port is unreachable.",
        ),
        Alert(
            "BalanceAllBackendsDown", conditions.ALL_BACKENDS_DOWN, "critical", wait=1 * MINUTE,
            summary="No healthy backend{{ with $labels.instance }} behind {{ . }}{{ end }} (job {{ $labels.job }})",
            description="Every backend fails its health checks, or no backend is known. All requests are answered 503.",
        ),
        Alert(
            "BalanceHighErrorRate", conditions.HIGH_ERROR_RATE, "critical", wait=5 * MINUTE,
            summary="{value} of the responses of job {{ $labels.job }} are server errors",
            description="Over five minutes, {value} of all responses had a 5xx status; the threshold is {threshold}. "
            "502, 503 and 504 come from the load balancer itself, others from the backends.",
        ),
        Alert(
            "BalanceBackendDown", conditions.BACKEND_DOWN, "warning", wait=1 * MINUTE,
            summary="Backend {{ $labels.backend }} behind {{ $labels.instance }} is down",
            description="The health checks of {{ $labels.instance }} took backend {{ $labels.backend }} out of rotation; the others carry its load.",
        ),
        Alert(
            "BalanceHighLatency", conditions.HIGH_LATENCY, "warning", wait=5 * MINUTE,
            summary="One request in a hundred of job {{ $labels.job }} takes longer than {value}",
            description="The 99th percentile of request durations over five minutes is {value}; the threshold is {threshold}.",
        ),
        Alert(
            "BalanceHighConnections", conditions.HIGH_CONNECTIONS, "warning", wait=5 * MINUTE,
            summary="{{ $labels.instance }} uses {value} of its client connections",
            description="Of the configured limit of client connections {value} are in use; the threshold is {threshold}. "
            "At the limit, new clients are refused with 503.",
        ),
        Alert(
            "BalanceHighMemoryUsage", conditions.high_memory_usage(runtime), "warning", wait=10 * MINUTE,
            summary="{{ $labels.instance }} uses {value} of memory",
            description="The process {{ $labels.instance }} holds {value} of memory; the threshold is {threshold}.",
        ),
        Alert(
            "BalanceCircuitBreakerOpen", conditions.CIRCUIT_BREAKER_OPEN, "warning", keep_firing=5 * MINUTE,
            summary="Circuit breaker of backend {{ $labels.backend }} behind {{ $labels.instance }} is open",
            description="Requests to backend {{ $labels.backend }} failed so often that {{ $labels.instance }} sends it none until it has recovered.",
        ),
        Alert(
            "BalanceHighRetryRate", conditions.HIGH_RETRY_RATE, "warning", wait=5 * MINUTE,
            summary="{value} of the attempts of job {{ $labels.job }} are retries",
            description="Over five minutes, {value} of all attempts at backends were repetitions; the threshold is {threshold}. "
            "Clients may not notice yet: the failures behind it are hidden by the retries.",
        ),
    )  # fmt: skip
