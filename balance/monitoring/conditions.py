"""Every condition of balance: what is wrong, said once for the alert that compares it and the panel that plots it."""

from __future__ import annotations

from balance.catalog import metrics as m
from balance.catalog import thresholds as t
from balance.catalog.metrics import Runtime
from balance.monitoring.alerts import Condition
from balance.promql import RATE_WINDOW, absent, compare, either, matches, quantile, rate, ratio, series, sum_by, unless
from balance.promql.selectors import Expr

_RUNNING = compare(series(m.UP), "==", t.TARGET_UP)

DOWN = Condition(series(m.UP), "==", t.TARGET_DOWN, missing=absent(series(m.UP)))
"""The instance cannot be scraped, or Prometheus knows no instance at all."""

ALL_BACKENDS_DOWN = Condition(
    sum_by(series(m.BACKEND_HEALTHY), "job", "instance"),
    "==",
    t.NO_BACKEND,
    missing=either(
        unless(_RUNNING, series(m.BACKEND_HEALTHY), "job", "instance"),
        absent(series(m.BACKEND_HEALTHY)),
        "job",
    ),
)
"""An instance has no healthy backend: all show 0, or it runs and shows none, or nobody shows any."""

BACKEND_DOWN = Condition(series(m.BACKEND_HEALTHY), "==", t.BACKEND_UNHEALTHY)


def responses_ratio(status: str, *by: str) -> Expr:
    """The share of responses whose status code matches the regular expression."""
    return ratio(
        sum_by(rate(series(m.HTTP_REQUESTS, status=matches(status)).over(RATE_WINDOW)), *by),
        sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), *by),
    )


HIGH_ERROR_RATE = Condition(responses_ratio("5..", "job"), ">", t.ERROR_RATIO)


def latency(q: float) -> Expr:
    """The q-quantile of request durations over all instances of a job."""
    return quantile(q, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "job")


HIGH_LATENCY = Condition(latency(0.99), ">", t.LATENCY_P99)

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
)


def high_memory_usage(runtime: Runtime) -> Condition:
    """The process holds more memory than it should, by the metric of its language's runtime."""
    return Condition(series(runtime.allocated), ">", t.MEMORY)
