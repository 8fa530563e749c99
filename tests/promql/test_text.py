from __future__ import annotations

import re
from dataclasses import replace

import promql_parser
import pytest

from balance.catalog import standard
from balance.catalog.model import Label, number
from balance.lb.catalog import metrics as m
from balance.lb.catalog import thresholds as t
from balance.monitoring.bundle import Bundle
from balance.promql import (
    RATE_WINDOW,
    Expr,
    Scope,
    Window,
    absent,
    compare,
    is_not,
    matches,
    max_by,
    or_,
    quantile,
    rate,
    ratio,
    seconds_since,
    seconds_until,
    series,
    sum_by,
    text,
    times,
    unless,
)
from balance.promql.ast import Comparison, Quotient, SetOperation, Times, TimeSince
from balance.promql.text import duration, quoted

HOUR = Window(3600)
REQUESTS = sum_by(rate(series(m.HTTP_REQUESTS).over(HOUR)), "job")
UP, HEALTHY = series(standard.UP), series(m.BACKEND_HEALTHY)

CASES: list[tuple[Expr, str]] = [
    (UP, "up"),
    (series(m.HTTP_REQUESTS, status=matches("5.."), method=is_not("GET")), 'balance_http_requests_total{method!="GET",status=~"5.."}'),
    (REQUESTS, "sum by (job) (rate(balance_http_requests_total[1h]))"),
    (max_by(HEALTHY), "max(balance_backend_healthy)"),
    (ratio(REQUESTS, REQUESTS), f"{text(REQUESTS)} / {text(REQUESTS)}"),
    (times(ratio(REQUESTS, REQUESTS), t.ERROR_RATIO), f"{text(REQUESTS)} / {text(REQUESTS)} * 0.05"),
    (ratio(REQUESTS, times(REQUESTS, t.RETRY_RATIO)), f"{text(REQUESTS)} / ({text(REQUESTS)} * 0.1)"),
    (
        quantile(0.99, series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "job"),
        "histogram_quantile(0.99, sum by (job, le) (rate(balance_http_request_duration_seconds_bucket[5m])))",
    ),
    (compare(UP, "==", t.TARGET_DOWN), "up == 0"),
    (seconds_since(series(standard.PROCESS_START)), "time() - process_start_time_seconds"),
    (seconds_until(series(m.TLS_NOT_AFTER)), "balance_tls_certificate_not_after_seconds - time()"),
    (max_by(seconds_since(series(m.CONFIG_TIMESTAMP)), "job"), "max by (job) (time() - balance_config_last_reload_success_timestamp_seconds)"),
    (times(seconds_since(series(standard.PROCESS_START)), t.ERROR_RATIO), "(time() - process_start_time_seconds) * 0.05"),
    (or_(compare(UP, "==", t.TARGET_DOWN), absent(UP)), "up == 0 or absent(up)"),
    (unless(or_(UP, HEALTHY), UP, "job"), "(up or balance_backend_healthy) unless on (job) up"),
    (or_(UP, or_(HEALTHY, UP)), "up or (balance_backend_healthy or up)"),
    (times(max_by(series(m.CONNECTIONS_LIMIT)), t.CONNECTION_SATURATION), "max(balance_connections_limit) * 0.8"),
]


@pytest.mark.parametrize(("expr", "expected"), CASES)
def test_canonical_text(expr: Expr, expected: str) -> None:
    assert text(expr) == expected


@pytest.mark.parametrize("expr", [expr for expr, _ in CASES])
def test_parser_reads_the_text_back(expr: Expr) -> None:
    """Parentheses are where they must be and nowhere else."""
    assert _read(promql_parser.parse(text(expr))) == _built(expr)
    pretty = re.sub(r"(?<=\() | (?=\))", "", " ".join(promql_parser.parse(text(expr)).prettify().split()))
    assert pretty == text(expr)


def _built(expr: Expr) -> object:
    match expr:
        case Quotient():
            return ("/", _built(expr.part), _built(expr.whole))
        case TimeSince():
            moment = _built(expr.moment)
            return ("-", "time()", moment) if expr.direction == "since" else ("-", moment, "time()")
        case Times():
            return ("*", _built(expr.operand), number(expr.threshold.value))
        case Comparison():
            return (expr.operator, _built(expr.left), number(expr.threshold.value))
        case SetOperation():
            return (expr.operator, _built(expr.left), _built(expr.right))
    return str(promql_parser.parse(text(expr)))


def _read(node: object) -> object:
    if isinstance(node, promql_parser.ParenExpr):
        return _read(node.expr)
    if isinstance(node, promql_parser.BinaryExpr):
        return (str(node.op), _read(node.lhs), _read(node.rhs))
    return str(node)


def test_every_expression_of_the_bundle_parses(bundle: Bundle) -> None:
    texts = [text(expr, Scope('job="balance"')) for _, expr in bundle.expressions()]
    assert len(texts) >= 20
    for promql in texts:
        promql_parser.parse(promql)


def test_scope_sets_matchers_window_and_thresholds() -> None:
    scope = Scope('job=~"$job"', "$__rate_interval", {"error_ratio": 0.02})
    adaptive = sum_by(rate(series(m.HTTP_REQUESTS, method="GET").over(RATE_WINDOW)), "job")
    expected = 'sum by (job) (rate(balance_http_requests_total{method="GET",job=~"$job"}[$__rate_interval]))'
    assert text(compare(ratio(adaptive, adaptive), ">", t.ERROR_RATIO), scope) == f"{expected} / {expected} > 0.02"
    assert "[1h]" in text(REQUESTS, scope), "a window that is not adaptive stays"


@pytest.mark.parametrize(("seconds", "written"), [(0, "0s"), (15, "15s"), (90, "1m30s"), (300, "5m"), (3600, "1h"), (86400 * 8, "1w1d")])
def test_durations_as_prometheus_writes_them(seconds: int, written: str) -> None:
    assert duration(seconds) == written


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "ä"])
def test_label_values_survive_quoting(value: str) -> None:
    label = Label("backend", "Backend.", bound=5)
    gauge = replace(m.BACKEND_HEALTHY, labels=(label,))
    parsed = promql_parser.parse(text(series(gauge, backend=value)))
    assert isinstance(parsed, promql_parser.VectorSelector)
    assert [matcher.value for matcher in parsed.matchers.matchers] == [value]
    assert quoted(value).startswith('"')
