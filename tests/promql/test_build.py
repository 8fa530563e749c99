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
        (lambda: series(m.HTTP_REQUESTS, status=matches("(")), "'(' is no regular expression"),
        (lambda: series(m.HTTP_REQUESTS, method=is_not("FETCH")), "label 'method' cannot be 'FETCH'"),
        (lambda: series(m.HTTP_REQUESTS, job="x"), "no label 'job'"),
        (lambda: series(m.CIRCUIT_BREAKER_STATE), "a state set without a state (give state= one of: closed, half_open, open)"),
        (lambda: series(m.CIRCUIT_BREAKER_STATE, state="ajar"), "label 'state' cannot be 'ajar'"),
        (lambda: series(m.HTTP_REQUEST_DURATION, code="1"), "no label 'code'"),
        (lambda: rate(series(m.BACKEND_HEALTHY)), "balance_backend_healthy: rate() of a gauge (takes series(COUNTER).over(WINDOW))"),  # type: ignore[arg-type]
        (lambda: rate(series(m.HTTP_REQUESTS)), "balance_http_requests_total: rate() of a counter (takes series(COUNTER).over(WINDOW))"),  # type: ignore[arg-type]
        (lambda: seconds_since(series(m.BACKEND_HEALTHY)), "the time since balance_backend_healthy (takes a gauge in seconds since 1970)"),
        (lambda: increase(5), "increase() of a different thing"),  # type: ignore[arg-type]
        (lambda: quantile(0.9, series(m.HTTP_REQUESTS), RATE_WINDOW), "balance_http_requests_total: a quantile of a counter"),  # type: ignore[arg-type]
        (lambda: quantile(99, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW), "quantile 99 (must be between 0 and 1)"),
        (lambda: quantile(0.9, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "le"), "leave it out of by"),
        (lambda: quantile(0.9, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "backend"), "sum by 'backend': no such label"),
        (lambda: sum_by(REQUESTS, "backend"), "sum by 'backend': no such label (labels: instance, job, method, status)"),
        (lambda: sum_by(sum_by(REQUESTS, "job"), "instance"), "sum by 'instance': no such label (labels: job)"),
        (lambda: sum_by(series(m.HTTP_REQUESTS), "job"), "balance_http_requests_total: the raw value of a counter (take rate() or increase() first)"),
        (lambda: ratio(REQUESTS, sum_by(REQUESTS, "job")), "aggregate both sides by the same labels"),
        (lambda: ratio(sum_by(SIZES, "job"), sum_by(REQUESTS, "job")), "a ratio of bytes/seconds and requests/seconds"),
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
            "both sides need the same unit; per() divides others",
        ),
        (lambda: times(REQUESTS, t.MEMORY), "scaling by 'memory', which is in bytes (scale by a ratio)"),
        (lambda: unless(series(standard.UP), series(m.BACKEND_HEALTHY), "backend"), "unless on 'backend': no such label on one side"),
        (lambda: Window(0), "a window of 0 s"),
        (lambda: Window(90.5), "a window of 90.5 s"),  # type: ignore[arg-type]
        (lambda: rate(series(m.BACKEND_HEALTHY).over(RATE_WINDOW)), "balance_backend_healthy: a range of a gauge"),  # type: ignore[attr-defined]
        (lambda: rate(series(m.HTTP_REQUEST_SIZE).over(RATE_WINDOW)), "balance_http_request_size_bytes: a range of a histogram"),  # type: ignore[attr-defined]
        (lambda: rate(CounterSeries(m.BACKEND_HEALTHY).over(RATE_WINDOW)), "balance_backend_healthy: counter series of a gauge"),
        (lambda: rate(CounterRange(series(standard.UP), RATE_WINDOW)), "up: a range of a gauge"),  # type: ignore[arg-type]
        (lambda: compare(series(standard.PROCESS_CPU), ">", t.LATENCY_P99), "process_cpu_seconds_total: the raw value of a counter"),
        (lambda: ratio(series(m.HTTP_REQUESTS), series(m.HTTP_REQUESTS)), "the raw value of a counter"),
        (lambda: times(series(m.HTTP_REQUESTS), t.RETRY_RATIO), "the raw value of a counter"),
        (lambda: or_(series(m.HTTP_REQUESTS), series(m.HTTP_REQUESTS)), "the raw value of a counter"),
        (lambda: sum_by(series(m.HTTP_REQUEST_SIZE)), "balance_http_request_size_bytes: the value of a histogram"),  # type: ignore[arg-type]
        (lambda: absent(series(m.HTTP_REQUEST_SIZE)), "balance_http_request_size_bytes: absent() of a histogram"),  # type: ignore[arg-type]
        (lambda: absent(REQUESTS), "absent() of a different thing"),  # type: ignore[arg-type]
        (lambda: compare(series(standard.UP), "=>", t.TARGET_UP), "no operator '=>' (choices: !=, <, <=, ==, >, >=)"),  # type: ignore[arg-type]
        (lambda: or_(series(standard.UP), series(standard.PROCESS_RESIDENT)), "state or bytes (both sides need the same unit)"),
        (lambda: series(m.HTTP_REQUESTS, status=matches("5(?!3)..")), "'5(?!3)..' looks around or back, which RE2 cannot: spell it out"),
    ],
)
def test_what_the_catalog_cannot_answer_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(BalanceError) as refusal:
        build()
    assert message in str(refusal.value)


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
def test_an_expression_knows_the_unit_and_the_labels_of_its_result(expr: Expr, unit: Unit, labels: set[str]) -> None:
    assert expr.unit == unit
    assert expr.labels == labels


def test_a_recorded_series_that_others_read_has_a_fixed_window() -> None:
    recorded("job:a:rate5m", sum_by(rate(series(m.HTTP_REQUESTS).over(Window(300))), "job"))
    with pytest.raises(QueryError, match="whose window the settings choose"):
        recorded("job:a:rate5m", sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), "job"))


def test_counting_and_missing_the_series_of_a_counter_is_fine() -> None:
    count_by(series(m.HTTP_REQUESTS), "job")
    absent(series(m.HTTP_REQUESTS))


def test_walk_meets_every_selector() -> None:
    expr = compare(quantile(0.99, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW), ">", t.LATENCY_P99)
    assert "balance_http_request_duration_seconds_bucket" in {getattr(node, "name", "") for node in expr.walk()}
