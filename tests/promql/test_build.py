from __future__ import annotations

from collections.abc import Callable

import pytest

from balance.catalog import standard
from balance.catalog.model import BYTES, RATIO, SECONDS, STATE, Unit
from balance.errors import BalanceError, QueryError
from balance.lb.catalog import metrics as m
from balance.lb.catalog import thresholds as t
from balance.promql import (
    RATE_WINDOW,
    Expr,
    Window,
    absent,
    changes,
    compare,
    complement,
    count_by,
    increase,
    is_not,
    matches,
    mean,
    or_,
    per,
    quantile,
    rate,
    ratio,
    recorded,
    seconds_since,
    series,
    sum_by,
    times,
    unless,
)
from balance.promql.selectors import CounterRange, CounterSeries

REQUESTS = rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW))
SIZES = rate(series(m.HTTP_RESPONSE_SIZE).sum.over(RATE_WINDOW))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: series(m.HTTP_REQUESTS, code="200"), "balance_http_requests_total: no label 'code' (labels: method, status)"),
        (lambda: series(m.HTTP_REQUESTS, method="get"), "balance_http_requests_total: label 'method' cannot be 'get' (CONNECT, DELETE, GET"),
        (lambda: series(m.HTTP_REQUESTS, status=matches("6..")), "label 'status': '6..' matches no value"),
        (lambda: series(m.HTTP_REQUESTS, status=matches("(")), "'(' is not a valid regular expression"),
        (lambda: series(m.HTTP_REQUESTS, method=is_not("FETCH")), "label 'method' cannot be 'FETCH'"),
        (lambda: series(m.HTTP_REQUESTS, job="x"), "no label 'job'"),
        (lambda: series(m.CIRCUIT_BREAKER_STATE), "balance_circuit_breaker_state: needs a state (give state= one of: closed, half_open, open)"),
        (lambda: series(m.CIRCUIT_BREAKER_STATE, state="ajar"), "label 'state' cannot be 'ajar'"),
        (lambda: series(m.HTTP_REQUEST_DURATION, code="1"), "no label 'code'"),
        (lambda: rate(series(m.BACKEND_HEALTHY)), "balance_backend_healthy: rate() needs series(COUNTER).over(WINDOW), got a gauge"),  # type: ignore[arg-type]
        (lambda: rate(series(m.HTTP_REQUESTS)), "balance_http_requests_total: rate() needs series(COUNTER).over(WINDOW), got a counter"),  # type: ignore[arg-type]
        (
            lambda: seconds_since(series(m.BACKEND_HEALTHY)),
            "balance_backend_healthy: seconds_since() needs a gauge in seconds since 1970, got a gauge in state",
        ),
        (lambda: increase(5), "increase() needs series(COUNTER).over(WINDOW), got int"),  # type: ignore[arg-type]
        (
            lambda: quantile(0.9, series(m.HTTP_REQUESTS), RATE_WINDOW),  # type: ignore[arg-type]
            "balance_http_requests_total: quantile() needs series(HISTOGRAM), got a counter",
        ),
        (lambda: quantile(99, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW), "invalid quantile 99 (must be between 0 and 1)"),
        (
            lambda: quantile(0.9, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "le"),
            "cannot group a quantile by 'le' (leave it out: the quantile is computed over le)",
        ),
        (lambda: quantile(0.9, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "backend"), "sum by 'backend': no such label"),
        (lambda: sum_by(REQUESTS, "backend"), "sum by 'backend': no such label (labels: instance, job, method, status)"),
        (lambda: sum_by(sum_by(REQUESTS, "job"), "instance"), "sum by 'instance': no such label (labels: job)"),
        (
            lambda: sum_by(series(m.HTTP_REQUESTS), "job"),
            "balance_http_requests_total: cannot use the raw value of a counter (take rate() or increase() first)",
        ),
        (
            lambda: ratio(REQUESTS, sum_by(REQUESTS, "job")),
            "divides series by (instance, job, method, status) by series by (job) (aggregate both sides by the same labels)",
        ),
        (lambda: ratio(sum_by(SIZES, "job"), sum_by(REQUESTS, "job")), "ratio() needs operands of one unit, got bytes/seconds and requests/seconds"),
        (
            lambda: compare(sum_by(REQUESTS, "job"), ">", t.ERROR_RATIO),
            "compares requests/seconds with the threshold 'error_ratio', which is in ratio",
        ),
        (lambda: compare(SIZES, ">", t.MEMORY), "compares bytes/seconds with the threshold 'memory', which is in bytes"),
        (
            lambda: compare(rate(series(standard.PROCESS_CPU).over(RATE_WINDOW)), ">", t.LATENCY_P99),
            "compares ratio with the threshold 'latency_p99', which is in seconds",
        ),
        (lambda: compare(per(sum_by(SIZES, "job"), sum_by(REQUESTS, "job")), ">", t.MEMORY), "compares bytes/requests with the threshold 'memory'"),
        (
            lambda: ratio(sum_by(SIZES, "job"), sum_by(rate(series(m.HTTP_RESPONSE_SIZE).count.over(RATE_WINDOW)), "job")),
            "ratio() needs operands of one unit, got bytes/seconds and observations/seconds (per() divides different units)",
        ),
        (lambda: times(REQUESTS, t.MEMORY), "times() needs a ratio, got the threshold 'memory' in bytes (use one that is a ratio)"),
        (lambda: complement(series(m.TLS_NOT_AFTER)), "complement() needs a ratio, got seconds (divide by the total first: ratio())"),
        (
            lambda: unless(series(standard.UP), series(m.BACKEND_HEALTHY), "backend"),
            "unless on 'backend': one side has no such label (labels: instance, job)",
        ),
        (lambda: series(m.HTTP_REQUESTS).over("5m"), "over() needs a Window, got str (write RATE_WINDOW, or Window(SECONDS))"),  # type: ignore[arg-type]
        (lambda: Window(0), "invalid window of 0 s (must be a whole number of seconds, 1 or more)"),
        (lambda: Window(90.5), "invalid window of 90.5 s"),  # type: ignore[arg-type]
        (lambda: rate(series(m.BACKEND_HEALTHY).over(RATE_WINDOW)), "balance_backend_healthy: over() needs the series of a counter, got a gauge"),  # type: ignore[attr-defined]
        (
            lambda: rate(series(m.HTTP_REQUEST_SIZE).over(RATE_WINDOW)),  # type: ignore[attr-defined]
            "balance_http_request_size_bytes: over() needs the series of a counter, got a histogram",
        ),
        (lambda: rate(CounterSeries(m.BACKEND_HEALTHY).over(RATE_WINDOW)), "balance_backend_healthy: CounterSeries() needs a counter, got a gauge"),
        (lambda: rate(CounterRange(series(standard.UP), RATE_WINDOW)), "up: over() needs the series of a counter, got a gauge"),  # type: ignore[arg-type]
        (lambda: compare(series(standard.PROCESS_CPU), ">", t.LATENCY_P99), "process_cpu_seconds_total: cannot use the raw value of a counter"),
        (lambda: ratio(series(m.HTTP_REQUESTS), series(m.HTTP_REQUESTS)), "cannot use the raw value of a counter"),
        (lambda: times(series(m.HTTP_REQUESTS), t.RETRY_RATIO), "cannot use the raw value of a counter"),
        (lambda: or_(series(m.HTTP_REQUESTS), series(m.HTTP_REQUESTS)), "cannot use the raw value of a counter"),
        (
            lambda: sum_by(series(m.HTTP_REQUEST_SIZE)),  # type: ignore[arg-type]
            "balance_http_request_size_bytes: a query needs an expression, got a histogram (of a histogram take quantile() or mean())",
        ),
        (
            lambda: absent(series(m.HTTP_REQUEST_SIZE)),  # type: ignore[arg-type]
            "balance_http_request_size_bytes: absent() needs the series of a metric, got a histogram (of a histogram take .count)",
        ),
        (lambda: absent(REQUESTS), "absent() needs the series of a metric, got RangeCall"),  # type: ignore[arg-type]
        (lambda: compare(series(standard.UP), "=>", t.TARGET_UP), "unknown operator '=>' (choices: !=, <, <=, ==, >, >=)"),  # type: ignore[arg-type]
        (lambda: or_(series(standard.UP), series(standard.PROCESS_RESIDENT)), "or_() needs operands of one unit, got state and bytes"),
        (
            lambda: series(m.HTTP_REQUESTS, status=matches("5(?!3)..")),
            "'5(?!3)..' uses lookaround, backreferences or possessive quantifiers, which RE2 does not support",
        ),
    ],
)
def test_invalid_queries_are_rejected(build: Callable[[], object], message: str) -> None:
    with pytest.raises(BalanceError) as caught:
        build()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("expr", "unit", "labels"),
    [
        (REQUESTS, Unit.of("requests") / SECONDS, {"job", "instance", "method", "status"}),
        (increase(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), Unit.of("requests"), {"job", "instance", "method", "status"}),
        (sum_by(REQUESTS, "job", "status"), Unit.of("requests") / SECONDS, {"job", "status"}),
        (count_by(series(m.HTTP_REQUESTS), "job"), Unit.of("series"), {"job"}),
        (count_by(series(m.BACKEND_HEALTHY), "job"), STATE, {"job"}),
        (changes(series(standard.PROCESS_START), Window(120)), Unit.of("changes"), {"job", "instance"}),
        (rate(series(standard.PROCESS_CPU).over(RATE_WINDOW)), RATIO, {"job", "instance"}),
        (SIZES, BYTES / SECONDS, {"job", "instance"}),
        (quantile(0.5, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "method"), SECONDS, {"method"}),
        (series(m.CIRCUIT_BREAKER_STATE, state="open"), STATE, {"job", "instance", "backend", "state"}),
        (ratio(sum_by(REQUESTS, "job"), sum_by(REQUESTS, "job")), RATIO, {"job"}),
        (absent(series(m.CIRCUIT_BREAKER_STATE, state="open")), STATE, {"job", "state"}),
        (or_(series(standard.UP), absent(series(standard.UP))), STATE, {"job"}),
        (unless(series(standard.UP), series(m.BACKEND_HEALTHY), "job"), STATE, {"job", "instance"}),
        (mean(series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "job"), SECONDS, {"job"}),
        (mean(series(m.HTTP_RESPONSE_SIZE), RATE_WINDOW, "instance"), BYTES, {"instance"}),
        (per(sum_by(SIZES, "job"), sum_by(REQUESTS, "job")), BYTES / Unit.of("requests"), {"job"}),
        (
            per(rate(series(m.HTTP_REQUEST_DURATION).count.over(RATE_WINDOW)), rate(series(m.HTTP_REQUEST_DURATION).count.over(RATE_WINDOW))),
            RATIO,
            {"job", "instance", "method", "status_class"},
        ),
        (complement(rate(series(standard.PROCESS_CPU).over(RATE_WINDOW))), RATIO, {"job", "instance"}),
    ],
)
def test_unit_and_labels_of_results(expr: Expr, unit: Unit, labels: set[str]) -> None:
    assert expr.unit == unit
    assert expr.labels == labels


def test_recorded_series_need_a_fixed_window() -> None:
    recorded("job:a:rate5m", sum_by(rate(series(m.HTTP_REQUESTS).over(Window(300))), "job"))
    with pytest.raises(QueryError, match="job:a:rate5m: records over an adaptive window"):
        recorded("job:a:rate5m", sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), "job"))


def test_count_and_absent_accept_raw_counters() -> None:
    count_by(series(m.HTTP_REQUESTS), "job")
    absent(series(m.HTTP_REQUESTS))


def test_walk_yields_every_selector() -> None:
    expr = compare(quantile(0.99, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW), ">", t.LATENCY_P99)
    assert "balance_http_request_duration_seconds_bucket" in {getattr(node, "name", "") for node in expr.walk()}
