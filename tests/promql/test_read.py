from __future__ import annotations

import promql_parser
import pytest

from balance.errors import QueryError
from balance.lb.catalog.metrics import CATALOG
from balance.promql.read import checked

JOB = 'job="edge"'


@pytest.mark.parametrize(
    ("query", "narrowed"),
    [
        ("up", 'up{job="edge"}'),
        ("up == 0 or absent(up)", 'up{job="edge"} == 0 or absent(up{job="edge"})'),
        ("sum by (status) (rate(balance_http_requests_total[5m]))", 'sum by (status) (rate(balance_http_requests_total{job="edge"}[5m]))'),
        (
            'rate(balance_http_requests_total{status=~"5.."}[1h30m] offset 1d)',
            'rate(balance_http_requests_total{status=~"5..",job="edge"}[1h30m] offset 1d)',
        ),
        ("sum(balance_backend_healthy{}) without (backend)", 'sum(balance_backend_healthy{job="edge"}) without (backend)'),
        ('balance_backend_healthy{ backend = "a,}{" , }', 'balance_backend_healthy{backend = "a,}{",job="edge"}'),
        ("up  # up == nothing\n> 0", 'up{job="edge"}  # up == nothing\n> 0'),
        ('label_replace(up, "x", "$1", "instance", "(.*):.*")', 'label_replace(up{job="edge"}, "x", "$1", "instance", "(.*):.*")'),
        ("topk(3, up) + on (job) group_left count by (job) (up)", 'topk(3, up{job="edge"}) + on (job) group_left count by (job) (up{job="edge"})'),
        ('balance_circuit_breaker_state{state="open"} == bool 1', 'balance_circuit_breaker_state{state="open",job="edge"} == bool 1'),
        (
            "histogram_quantile(0.99, sum by (le) (rate(balance_http_request_duration_seconds_bucket[5m])))",
            'histogram_quantile(0.99, sum by (le) (rate(balance_http_request_duration_seconds_bucket{job="edge"}[5m])))',
        ),
        ("job:http_requests:rate5m > 1e3", 'job:http_requests:rate5m{job="edge"} > 1e3'),
    ],
)
def test_selector_is_added_to_every_series(query: str, narrowed: str) -> None:
    made = checked(query, CATALOG, JOB, ["job:http_requests:rate5m"])
    assert made == narrowed
    promql_parser.parse(made)
    assert checked(query, CATALOG, recorded=["job:http_requests:rate5m"]).count(JOB) == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sum(balance_http_request_total)", "no metric 'balance_http_request_total' (did you mean 'balance_http_requests_total'?"),
        (
            "balance_http_request_duration_seconds",
            "balance_http_request_duration_seconds: a histogram has no series of this name (series: balance_http_request_duration_seconds_bucket, ",
        ),
        ('up{code="5"}', "up: no label 'code'"),
        ('balance_http_requests_total{status="5xx"}', "label 'status' cannot be '5xx'"),
        ('balance_http_requests_total{status=~"6.."}', "matches no value"),
        ('balance_circuit_breaker_state{state="ajar"}', "label 'state' cannot be 'ajar'"),
        (
            "sum by (code) (rate(balance_http_requests_total[5m]))",
            "groups by 'code', which none of its series has (labels: instance, job, le, method, status)",
        ),
        ("job:nothing:rate5m", "no metric 'job:nothing:rate5m'"),
    ],
)
def test_unknown_names_are_rejected(query: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        checked(query, CATALOG, JOB)
    assert message in str(caught.value)


def test_all_problems_are_reported() -> None:
    with pytest.raises(QueryError) as caught:
        checked("nope / nothing", CATALOG)
    assert [problem.what for problem in caught.value.problems] == ["no metric 'nope'", "no metric 'nothing'"]
