"""Every metric of the catalog moves, a scrape shows nothing else, and durations measure the phases that they are named after."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from balance.catalog import standard
from balance.catalog.model import StateSet
from balance.lb.catalog import metrics
from balance.lb.catalog.metrics import CATALOG
from balance.lb.policy.retry import Decision

from .conftest import unread

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, Stream, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 2\r\n\r\nhi"
UPGRADE = b"GET / HTTP/1.1\r\n" + H + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STILL = {
    metrics.CONNECTIONS_LIMIT, metrics.BUILD_INFO, metrics.TLS_NOT_AFTER,
    metrics.CONFIG_SUCCESSFUL, metrics.CONFIG_TIMESTAMP, metrics.CONFIG_INFO, *standard.PYTHON_RUNTIME,
    metrics.CONNECTIONS_REJECTED, metrics.POOL_PANICKING, metrics.EJECTIONS, metrics.WORKERS, metrics.WORKERS_CONFIGURED, metrics.WORKER_RESTARTS,
}  # fmt: skip
"""Metrics that this workload does not move: facts about configuration and process, and those that `test_pools` and `test_workers` move."""

Scrape = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(balancer: Balancer) -> Scrape:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(balancer.admin("/metrics")[1])
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


class Gate:
    """An origin's script: answers requests, those for /hold only once `open` is set; switches protocols if asked to."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, stream: Stream) -> None:
        while head := stream.message()[0]:
            if b"Upgrade:" in head:
                stream.send(SWITCH + b"hello").rest()
                return
            if b"/hold" in head:
                assert self.open.wait(15)
            stream.send(OK)


def hanging_up(stream: Stream) -> None:
    stream.message()


@pytest.fixture(scope="module")
def scrapes(shared: World, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> list[Scrape]:
    """Scrapes of one balancer, the first before a workload that exercises every metric, the others during it."""
    gate = Gate()
    good, bad = shared.origin(gate), shared.origin(hanging_up)
    listing = tmp_path_factory.mktemp("discovered") / "backends.yaml"
    found_there = [f"- {{name: {name}, address: '127.0.0.1:{good.port}'}}\n" for name in ("stays", "goes")]
    listing.write_text("".join(found_there))
    reader, writer = os.pipe()
    os.close(reader)  # nobody reads the access log
    balancer = shared.balancer(
        stdout=writer,
        backends=None,
        pools=[
            {
                "name": "default",
                "backends": [
                    {"name": "good", "address": f"127.0.0.1:{good.port}", "max_connections": 1},
                    {"name": "bad", "address": f"127.0.0.1:{bad.port}"},
                ],
            },
            {"name": "found", "discover": {"file": str(listing)}},
        ],
        tls={"listen": "127.0.0.1:0", "certificates": [authority.issue("metrics", "site.test")]},
        health_check={"type": "tcp", "interval": "100ms", "timeout": "5s", "unhealthy_threshold": 1},
        circuit_breaker={"failure_threshold": 2},
        retry={"budget_percent": 100},
        timeouts={"queue": "300ms"},
    )
    found = [scrape(balancer)]

    def ask_until(request: bytes, series: str) -> None:
        for _attempt in range(6):
            balancer.ask(request)
            if balancer.metric(series):
                return
        pytest.fail(f"{series} does not move")

    ask_until(POST, 'balance_retries_exhausted_total{reason="unsafe"}')
    ask_until(GET, 'balance_retries_total{reason="closed_early"}')
    balancer.becomes('balance_backend_state_transitions_total{backend="bad",from="available",to="breaker_open"}', 1)
    held = balancer.connect().send(GET.replace(b"/ ", b"/hold "))
    shared.until(lambda: any(b"/hold" in head for head in good.heads))
    crowd = [balancer.connect().send(GET) for _client in range(5)]
    balancer.becomes('balance_backend_queue_depth{pool="default"}', 5)
    found.append(scrape(balancer))
    assert all(stream.head().startswith(b"HTTP/1.1 503 ") for stream in crowd)
    gate.open.set()
    assert held.message()[1] == b"ok"
    found.append(scrape(balancer))
    tunnel = balancer.connect().send(UPGRADE)
    assert tunnel.head() + tunnel.exactly(5) == SWITCH + b"hello"
    tunnel.send(b"hello")
    balancer.becomes('balance_tunnel_bytes_total{direction="in"}', 5)
    found.append(scrape(balancer))
    tunnel.close()
    bad.close()
    balancer.event("backend_down", backend="bad")
    listing.write_text(found_there[0])
    balancer.becomes('balance_discovery_backends{pool="found"}', 1)
    plain = balancer.connect_plain_to_tls()
    plain.send(GET).rest()
    balancer.becomes('balance_tls_handshake_failures_total{reason="plain_http"}', 1)
    shared.until(lambda: balancer.metric("balance_access_log_dropped_total"))
    found.append(scrape(balancer))
    return found


def test_workload_moves_every_metric(scrapes: list[Scrape]) -> None:
    values: dict[str, set[tuple[Any, float]]] = defaultdict(set)
    for one in scrapes:
        for (name, labels), value in one.items():
            values[name].add((labels, value))
    moved = {name for name, seen in values.items() if len(seen) > len({labels for labels, _value in seen})}
    still = {metric.name for metric in CATALOG if not moved & set(metric.samples)}
    assert still <= {metric.name for metric in STILL}


def test_scrape_matches_catalog(scrapes: list[Scrape]) -> None:
    declared = {sample: metric for metric in CATALOG for sample in metric.samples}
    for one in scrapes:
        assert {name for name, _labels in one} == set(declared)
    for name, labels in scrapes[-1]:
        metric = declared[name]
        state = {metric.state_label} if isinstance(metric, StateSet) else set()
        assert {label for label, _value in labels} - {"le"} == set(metric.label_names) | state
        assert all(metric.label(label).allows(value) for label, value in labels if label != "le")


def test_series_exist_before_first_event(scrapes: list[Scrape]) -> None:
    """Except by method and status of clients, by class of responses, and of transitions between two unavailable states."""
    first, last = scrapes[0], scrapes[-1]
    free = {"balance_http_requests_total", "balance_backend_requests_total", "balance_backend_state_transitions_total"}
    new = {name for name, _labels in last.keys() - first.keys()}
    assert {name for name in new if not name.startswith("balance_http_request_duration_seconds")} <= free


def test_related_counters_agree(scrapes: list[Scrape]) -> None:
    last = scrapes[-1]

    def total(name: str, **wanted: str) -> float:
        return sum(value for (series, labels), value in last.items() if series == name and wanted.items() <= dict(labels).items())

    for backend in ("good", "bad"):
        opened, closed = (total("balance_upstream_connections_total", backend=backend, state=state) for state in ("opened", "closed"))
        assert opened - closed == total("balance_backend_connections", backend=backend)
        outcomes = total("balance_backend_requests_total", backend=backend) - total(
            "balance_backend_requests_total", backend=backend, status_class="none"
        )
        assert outcomes == total("balance_backend_first_byte_duration_seconds_count", backend=backend)
        assert total("balance_health_checks_total", backend=backend) > 0
    both = [{"backend": name} for name in ("good", "bad")]
    opened = sum(total("balance_upstream_connections_total", state="opened", **one) for one in both)
    checked = sum(total("balance_health_checks_total", **one) for one in both)
    assert opened == total("balance_backend_connect_duration_seconds_count", pool="default")
    assert checked == total("balance_health_check_duration_seconds_count", pool="default")
    assert total("balance_retries_total") == total("balance_retry_success_total") == total("balance_backend_retries_total") > 0
    assert total("balance_backend_queue_rejected_total", reason="timeout") == 5 == total("balance_backend_queue_duration_seconds_count")
    assert total("balance_request_failures_total", reason="queue_timeout") == 5


def test_give_up_reasons_match_decisions() -> None:
    assert set(metrics.RETRY_END_REASONS) == {decision.value for decision in Decision} - {"retry"}


def test_phase_durations(world: World) -> None:
    """A slow head, then a wait for the only connection, then a slow backend, then a slow body."""
    gate, seen, step = Gate(), threading.Event(), 0.06

    def slow(stream: Stream) -> None:
        head = stream.message()[0]
        if b"/hold" in head:
            assert gate.open.wait(15)
            stream.send(OK)
            stream.message()
        time.sleep(step)
        stream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(step)
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        assert seen.wait(15)
        time.sleep(step)
        stream.send(b"k")
        stream.rest()

    origin = world.origin(slow)
    balancer = world.balancer(backends=[{"name": "a", "address": f"127.0.0.1:{origin.port}", "max_connections": 1}])
    held = balancer.connect().send(GET.replace(b"/ ", b"/hold "))
    world.until(lambda: origin.heads)
    client = balancer.connect().send(GET[:20])
    balancer.becomes("balance_connections_total", 2)
    world.until(lambda: not unread(balancer.port))
    time.sleep(step)
    client.send(GET[20:])
    balancer.becomes('balance_backend_queue_depth{pool="default"}', 1)
    time.sleep(step)
    gate.open.set()
    assert held.message()[1] == b"ok"
    client.head()
    assert client.until(b"\r\n\r\n").endswith(b"\r\n\r\n")
    seen.set()
    assert client.exactly(2) == b"ok"
    world.until(lambda: len(balancer.access()) == 2)
    first, second = balancer.access()
    assert (first["wait"], first["queue"], first["first_byte"] >= step, first["connect"] > 0) == (0, 0, True, True)
    assert second["connect"] == 0, "the connection was open already"
    assert second["wait"] >= step
    assert second["queue"] >= step
    assert second["first_byte"] >= 2 * step
    assert second["duration"] >= second["wait"] + second["queue"] + second["first_byte"] + step
    waited = sum(line[phase] for line in (first, second) for phase in ("wait", "queue", "connect", "first_byte"))
    own = balancer.metric("balance_proxy_overhead_seconds_sum")
    assert balancer.metric("balance_proxy_overhead_seconds_count") == 2
    assert 0 < own <= first["duration"] + second["duration"] - waited - step
