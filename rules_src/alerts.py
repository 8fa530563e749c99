"""The alerts of the load balancer. A critical alert pages; a warning can wait for working hours."""

from __future__ import annotations

from functools import cache

from balance.api import Alert, Settings, standard
from rules_src import conditions

MINUTE = 60


def alerts(settings: Settings) -> tuple[Alert, ...]:
    """All alerts, for the runtime in the settings."""
    return _alerts(settings.runtime)


@cache
def _alerts(name: str) -> tuple[Alert, ...]:
    runtime = standard.runtime(name)
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
            description="Over {window}, {value} of all responses had a 5xx status; the threshold is {threshold}. "
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
            description="The 99th percentile of request durations over {window} is {value}; the threshold is {threshold}.",
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
            description="Over {window}, {value} of all attempts at backends were repetitions; the threshold is {threshold}. "
            "Clients may not notice yet: the failures behind it are hidden by the retries.",
        ),
        Alert(
            "BalanceMetricsMissing", conditions.METRICS_MISSING, "warning", wait=5 * MINUTE,
            summary="{{ $labels.instance }} is up but shows no metrics of balance",
            description="Scrapes of {{ $labels.instance }} succeed and bring none of the metrics that the load balancer always shows: its "
            "other alerts are blind. Something else answers there, or the metrics are dropped on the way.",
        ),
        Alert(
            "BalanceConfigReloadFailed", conditions.CONFIG_RELOAD_FAILED, "warning", wait=1 * MINUTE,
            summary="{{ $labels.instance }} could not load its configuration",
            description="The last attempt of {{ $labels.instance }} to load its configuration failed; it goes on with the one before. "
            "It would not start with what is there now.",
        ),
        Alert(
            "BalanceCertificateExpires", conditions.CERTIFICATE_EXPIRES, "warning", wait=5 * MINUTE,
            summary="Certificate {{ $labels.certificate }} of {{ $labels.instance }} expires in {value}",
            description="The certificate {{ $labels.certificate }} that {{ $labels.instance }} shows expires in {value}; "
            "the threshold is {threshold}. Its renewal is overdue.",
        ),
        Alert(
            "BalanceCertificateExpiresNow", conditions.CERTIFICATE_EXPIRES_NOW, "critical", wait=5 * MINUTE,
            summary="Certificate {{ $labels.certificate }} of {{ $labels.instance }} expires in {value}",
            description="The certificate {{ $labels.certificate }} that {{ $labels.instance }} shows expires in {value}; "
            "the threshold is {threshold}. After that, clients refuse to connect.",
        ),
        Alert(
            "BalanceEventLoopLag", conditions.EVENT_LOOP_LAG, "warning", wait=5 * MINUTE,
            summary="Worker {{ $labels.worker }} of {{ $labels.instance }} is late by {value}",
            description="The event loop of worker {{ $labels.worker }} of {{ $labels.instance }} is so busy that one tick in a hundred is late "
            "by more than {value}; the threshold is {threshold}. All requests of that worker wait as long.",
        ),
        Alert(
            "BalanceQueueRejects", conditions.QUEUE_REJECTS, "warning", wait=5 * MINUTE,
            summary="{value} of the requests of job {{ $labels.job }} are refused by a queue",
            description="Over {window}, {value} of all requests waited in vain for a backend below its limit; the threshold is {threshold}. "
            "The backends are too few, too slow, or limited too tightly.",
        ),
        Alert(
            "BalanceRetryBudgetSpent", conditions.RETRY_BUDGET_SPENT, "warning", wait=5 * MINUTE,
            summary="{value} of the requests of job {{ $labels.job }} fail because the retry budget is spent",
            description="Over {window}, {value} of all requests were not tried again because too many retries were under way; "
            "the threshold is {threshold}. Backends fail more often than retries can hide.",
        ),
        Alert(
            "BalancePoolPanic", conditions.POOL_PANIC, "critical", wait=1 * MINUTE, keep_firing=5 * MINUTE,
            summary="Pool {{ $labels.pool }} behind {{ $labels.instance }} is in panic mode",
            description="So few backends of pool {{ $labels.pool }} are healthy that {{ $labels.instance }} sends requests to all of them, "
            "the unhealthy ones included, rather than overload the rest.",
        ),
        Alert(
            "BalanceWorkerRestarts", conditions.WORKER_RESTARTS, "warning",
            summary="Workers of {{ $labels.instance }} were restarted {value} times",
            description="Worker processes of {{ $labels.instance }} ended and were started anew {value} times within a quarter of an hour; "
            "the threshold is {threshold}. Each takes the requests that it served with it.",
        ),
    )  # fmt: skip
