"""The conditions of the load balancer, shared by the alerts that compare them and the panels that plot them."""

from __future__ import annotations

from balance.api import (
    RATE_WINDOW,
    Comparison,
    Condition,
    CounterSeries,
    Expr,
    Runtime,
    Window,
    absent,
    compare,
    increase,
    matches,
    or_,
    quantile,
    rate,
    ratio,
    seconds_until,
    series,
    standard,
    sum_by,
    unless,
)
from balance.lb.catalog import metrics as m
from balance.lb.catalog import thresholds as t

_RUNNING = compare(series(standard.UP), "==", t.TARGET_UP)


def traffic(window: Window) -> Comparison:
    """True if the job had enough requests in the window for a ratio to be meaningful."""
    return compare(sum_by(increase(series(m.HTTP_REQUESTS).over(window)), "job"), ">", t.MIN_REQUESTS)


def per_request(counted: CounterSeries) -> Expr:
    """The rate of a counter divided by the rate of requests, by job."""
    return ratio(
        sum_by(rate(counted.over(RATE_WINDOW)), "job"),
        sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), "job"),
    )


TRAFFIC = (traffic(RATE_WINDOW),)

DOWN = Condition(series(standard.UP), "==", t.TARGET_DOWN, missing=absent(series(standard.UP)))
"""The instance cannot be scraped, or Prometheus knows no instance at all."""

ALL_BACKENDS_DOWN = Condition(
    sum_by(series(m.BACKEND_HEALTHY), "job", "instance"),
    "==",
    t.NO_BACKEND,
    missing=or_(
        unless(_RUNNING, series(m.BACKEND_HEALTHY), "job", "instance"),
        absent(series(m.BACKEND_HEALTHY)),
        "job",
    ),
)
"""An instance has no healthy backend: all are 0, or it is up and exposes none, or no instance exposes any."""

BACKEND_DOWN = Condition(series(m.BACKEND_HEALTHY), "==", t.BACKEND_UNHEALTHY)


def responses_ratio(status: str, *by: str) -> Expr:
    """The share of responses whose status code matches the regular expression, for each combination of the labels `by`."""
    return ratio(
        sum_by(rate(series(m.HTTP_REQUESTS, status=matches(status)).over(RATE_WINDOW)), *by),
        sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), *by),
    )


HIGH_ERROR_RATE = Condition(responses_ratio("5..", "job"), ">", t.ERROR_RATIO, also=TRAFFIC)


def latency(q: float) -> Expr:
    """The q-quantile (0 < q < 1) of request durations in seconds, over all instances of a job."""
    return quantile(q, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "job")


HIGH_LATENCY = Condition(latency(0.99), ">", t.LATENCY_P99, also=TRAFFIC)

HIGH_CONNECTIONS = Condition(
    ratio(
        sum_by(series(m.ACTIVE_CONNECTIONS), "job", "instance"),
        sum_by(series(m.CONNECTIONS_LIMIT), "job", "instance"),
    ),
    ">",
    t.CONNECTION_SATURATION,
)

CIRCUIT_BREAKER_OPEN = Condition(series(m.CIRCUIT_BREAKER_STATE, state="open"), "==", t.BREAKER_OPEN)

HIGH_RETRY_RATE = Condition(
    ratio(
        sum_by(rate(series(m.BACKEND_RETRIES).over(RATE_WINDOW)), "job"),
        sum_by(rate(series(m.BACKEND_REQUESTS).over(RATE_WINDOW)), "job"),
    ),
    ">",
    t.RETRY_RATIO,
    also=TRAFFIC,
)

QUEUE_REJECTS = Condition(per_request(series(m.QUEUE_REJECTED)), ">", t.QUEUE_REJECT_RATIO, also=TRAFFIC)

RETRY_BUDGET_SPENT = Condition(per_request(series(m.RETRIES_EXHAUSTED, reason="budget")), ">", t.RETRY_BUDGET_RATIO, also=TRAFFIC)

POOL_PANIC = Condition(series(m.POOL_PANICKING), "==", t.PANICKING)

METRICS_MISSING = Condition(unless(series(standard.UP), series(m.BUILD_INFO), "job", "instance"), "==", t.TARGET_UP)
"""The instance answers scrapes, but without the metrics that every instance exposes."""

CONFIG_RELOAD_FAILED = Condition(series(m.CONFIG_SUCCESSFUL), "==", t.RELOAD_FAILED)

CERTIFICATE_EXPIRES = Condition(seconds_until(series(m.TLS_NOT_AFTER)), "<", t.CERTIFICATE_SOON)

CERTIFICATE_EXPIRES_NOW = Condition(seconds_until(series(m.TLS_NOT_AFTER)), "<", t.CERTIFICATE_IMMINENT)

EVENT_LOOP_LAG = Condition(quantile(0.99, series(m.EVENT_LOOP_LAG), RATE_WINDOW, "job", "instance", "worker"), ">", t.EVENT_LOOP_LAG)

WORKER_RESTARTS = Condition(sum_by(increase(series(m.WORKER_RESTARTS).over(Window(900))), "job", "instance"), ">", t.WORKER_RESTARTS)


def high_memory_usage(runtime: Runtime) -> Condition:
    """The process uses too much memory, by the metric of its runtime."""
    return Condition(series(runtime.allocated), ">", t.MEMORY)
