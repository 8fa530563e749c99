from __future__ import annotations

import re
from pathlib import Path

from balance.catalog.model import Histogram
from balance.lb.catalog import thresholds
from balance.lb.catalog.metrics import CATALOG

SEED = {
    "balance_http_requests_total", "balance_http_request_duration_seconds", "balance_http_request_size_bytes", "balance_http_response_size_bytes",
    "balance_backend_healthy", "balance_backend_connections", "balance_backend_requests_total", "balance_backend_retries_total",
    "balance_active_connections", "balance_connections_total", "balance_circuit_breaker_state", "balance_circuit_breaker_failures_total",
}  # fmt: skip


def test_seed_metrics_keep_their_names() -> None:
    assert {metric.name for metric in CATALOG} >= SEED
    for name in ("go_goroutines", "go_memstats_alloc_bytes", "go_memstats_sys_bytes", "up"):
        assert CATALOG.metric(name).name == name


def test_latency_threshold_is_a_bucket_bound() -> None:
    duration = CATALOG.metric("balance_http_request_duration_seconds")
    assert isinstance(duration, Histogram)
    assert thresholds.LATENCY_P99 in duration.thresholds
    assert thresholds.LATENCY_P99.value in duration.buckets
    assert thresholds.LATENCY_P99.maximum is not None
    assert thresholds.LATENCY_P99.maximum < duration.buckets[-1], "a quantile never exceeds the last bound: an alert on it could not fire"


def test_no_label_identifies_clients_or_urls() -> None:
    names = {label.name for metric in CATALOG for label in metric.labels}
    assert not names & {"path", "host", "url", "client", "client_ip", "remote_addr", "uri", "user_agent"}


CATALOGS = ("balance/catalog/standard.py", "balance/lb/catalog/metrics.py")


def test_metric_names_are_written_in_catalogs_only(repository: Path) -> None:
    names = {sample for metric in (*CATALOG.metrics, *CATALOG.external) for sample in (metric.name, *metric.samples)} - {
        "up",
        "ALERTS",
    }  # also plain words
    pattern = re.compile(rf"\b({'|'.join(sorted(names, key=len, reverse=True))})\b")
    found = [
        f"{path.relative_to(repository)}:{line}: {match.group()}"
        for top in ("balance", "dashboards_py", "rules_src")
        for path in sorted((repository / top).rglob("*"))
        if path.suffix in (".py", ".libsonnet") and path.relative_to(repository).as_posix() not in CATALOGS
        for line, text in enumerate(path.read_text().splitlines(), 1)
        for match in pattern.finditer(text)
    ]
    assert found == []
