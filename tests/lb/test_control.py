"""Health checks, the admin server, the scrape, the access log, and graceful shutdown."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

import balance
from balance.catalog.model import Counter, Histogram, StateSet
from balance.lb.catalog.metrics import CATALOG

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, Stream, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHECKS = {"type": "http", "interval": "50ms", "timeout": "5s", "healthy_threshold": 2, "unhealthy_threshold": 2}


def silent(stream: Stream) -> None:
    """Read a request and never answer."""
    stream.message()
    stream.rest()


def healthy(balancer: Balancer, backend: str) -> float:
    return balancer.metric(f'balance_backend_healthy{{backend="{backend}"}}')


def test_health_checks_take_backend_out_and_back(world: World) -> None:
    sick = threading.Event()

    def script(stream: Stream) -> None:
        while head := stream.message()[0]:
            stream.send(b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n" if sick.is_set() and b" /health " in head else OK)

    first, second = world.origin(script), world.origin()
    balancer = world.balancer(first, second, health_check=CHECKS)
    assert healthy(balancer, "a") == 1
    sick.set()
    event = balancer.event("backend_down", backend="a")
    assert event["cause"] == "status 500"
    assert healthy(balancer, "a") == 0
    before = len([head for head in first.heads if b"/health" not in head])
    for _request in range(4):
        assert balancer.get()[1] == b"ok"
    assert len([head for head in first.heads if b"/health" not in head]) == before
    assert balancer.admin("/ready")[0] == 200
    sick.clear()
    balancer.event("backend_up", backend="a")
    assert healthy(balancer, "a") == 1


FAILING = {
    "refused": (None, "http", "connection refused"),
    "status 404": (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "http", "status 404"),
    "not HTTP": (b"junk\r\n", "http", ""),
    "no answer": (b"", "http", "no answer within 0.05 s"),
    "refused, tcp": (None, "tcp", "connection refused"),
}


@pytest.mark.parametrize("case", FAILING)
def test_first_failed_check_takes_backend_out(world: World, case: str) -> None:
    """The log event names the cause."""
    answer, kind, cause = FAILING[case]
    backend = world.free_port() if answer is None else world.origin(answer)
    check = {**CHECKS, "interval": "1h", "type": kind, "timeout": "50ms" if answer == b"" else "5s"}
    balancer = world.balancer(backend, health_check=check, load_balancer={"panic_threshold": 0})
    assert cause in balancer.event("backend_down", backend="a")["cause"]
    assert balancer.admin("/ready") == (503, "no backend is available\n")
    assert balancer.get()[1] == b"503 Service Unavailable: no backend is available\n"
    assert balancer.metric('balance_http_requests_total{method="GET",status="503"}') == 1


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_good_backend_passes_checks(world: World, kind: str) -> None:
    origin = world.origin()
    balancer = world.balancer(origin, health_check={**CHECKS, "type": kind})
    world.until(lambda: origin.connections >= 3)
    assert balancer.get()[1] == b"ok"
    assert healthy(balancer, "a") == 1


ADMIN = [("/health", 200, "ok\n"), ("/ready", 200, "ready\n")]


@pytest.fixture(scope="module")
def plain(shared: World) -> Balancer:
    return shared.balancer(shared.origin())


@pytest.mark.parametrize(("path", "status", "body"), ADMIN)
def test_admin_health_and_ready(plain: Balancer, path: str, status: int, body: str) -> None:
    assert plain.admin(path) == (status, body)


def test_admin_version_and_status(plain: Balancer) -> None:
    assert json.loads(plain.admin("/version")[1])["version"] == balance.__version__
    status = plain.status()
    assert status["ready"]
    assert [backend["name"] for backend in status["backends"]] == ["a"]


def test_fresh_scrape_shows_whole_catalog(world: World, authority: Authority) -> None:
    """And nothing else."""
    pools = [{"name": "default", "discover": {"dns": f"127.0.0.1:{world.origin().port}"}}]
    tls = {"listen": "127.0.0.1:0", "certificates": [authority.issue("site", "site.test")]}
    balancer = world.balancer(backends=None, pools=pools, tls=tls)
    text = balancer.admin("/metrics")[1]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    kinds = {Counter: "counter", Histogram: "histogram"}
    seen = set()
    for metric in CATALOG:
        family = families[metric.name.removesuffix("_total") if isinstance(metric, Counter) else metric.name]
        seen.add(family.name)
        assert family.type == kinds.get(type(metric), "gauge"), metric.name
        assert family.documentation == metric.help
        assert family.samples, metric.name
        extra = {"le"} if isinstance(metric, Histogram) else {metric.state_label} if isinstance(metric, StateSet) else set()
        for sample in family.samples:
            assert sample.labels.keys() <= {*metric.label_names, *extra}
            assert sample.labels.keys() >= {*metric.label_names}
    assert seen == families.keys()
    assert "_created" not in text


def test_scrape_counts_client_requests(world: World) -> None:
    balancer = world.balancer(world.origin(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"), world.free_port())
    for _request in range(4):
        balancer.get()
    balancer.ask(b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 300\r\n\r\n" + b"a" * 300)
    balancer.ask(b"BREW / HTTP/1.1\r\n" + H + b"\r\n")
    assert balancer.metric('balance_http_requests_total{method="GET",status="404"}') == 4
    assert balancer.metric('balance_http_requests_total{method="POST",status="404"}') == 1
    assert balancer.metric('balance_http_requests_total{method="OTHER",status="501"}') == 1
    assert balancer.metric('balance_http_request_duration_seconds_count{method="GET",status_class="4xx"}') == 4
    assert balancer.metric("balance_http_request_size_bytes_sum") == 300
    assert balancer.metric('balance_http_request_size_bytes_bucket{le="256.0"}') == 5
    assert balancer.metric('balance_backend_requests_total{backend="a",status_class="4xx"}') == 5
    assert balancer.metric("balance_connections_total") == 6


def test_access_log_has_one_line_per_request(world: World) -> None:
    balancer = world.balancer(world.origin(), circuit_breaker=False)
    balancer.get('/a"b|c')
    balancer.ask(b"POST /b HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc")
    balancer.ask(b"\xff\x00 junk\r\n\r\n")
    balancer.ask(b"GET /c HTTP/1.1\r\n" + H + b"Expect: cake\r\n\r\n")
    world.until(lambda: len(balancer.access()) == 4)
    fields = ("client", "method", "target", "status", "backend", "bytes_in", "bytes_out", "attempts", "reason")
    assert [tuple(line[field] for field in fields) for line in balancer.access()] == [
        ("127.0.0.1", "GET", '/a"b|c', 200, "a", 0, 2, 1, "ok"),
        ("127.0.0.1", "POST", "/b", 200, "a", 3, 2, 1, "ok"),
        ("127.0.0.1", "-", "-", 400, "-", 0, 42, 0, "bad_request"),
        ("127.0.0.1", "GET", "/c", 417, "-", 0, 71, 0, "bad_expectation"),
    ]
    assert all(0 <= line["duration"] < 60 and line["time"].endswith("Z") for line in balancer.access())


def test_access_log_can_be_switched_off(world: World) -> None:
    balancer = world.balancer(world.origin(), log={"access": False})
    balancer.get()
    balancer.stop()
    assert balancer.output == []


def test_closed_access_log_does_not_stop_balancer(world: World) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    balancer = world.balancer(world.origin(), stdout=writer)
    os.close(writer)
    for _request in range(3):
        assert balancer.get()[1] == b"ok"
    balancer.event("access_log_dropping")
    assert balancer.get()[1] == b"ok"


def test_sigterm_finishes_requests_and_closes_idle_connections(world: World) -> None:
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        while head := stream.message()[0]:
            if b" /slow " in head:
                assert go_on.wait(15)
            stream.send(OK)

    origin = world.origin(script)
    balancer = world.balancer(origin, timeouts={"shutdown": "15s"})
    idle = balancer.connect()
    busy = balancer.connect().send(b"GET /slow HTTP/1.1\r\n" + H + b"\r\n")
    world.until(lambda: origin.heads)
    assert idle.send(GET).message()[1] == b"ok"
    balancer.signal(signal.SIGTERM)
    assert idle.closed()
    balancer.event("stopping")
    assert balancer.admin("/ready") == (503, "the load balancer is stopping\n")
    with pytest.raises(ConnectionRefusedError):
        balancer.connect()
    go_on.set()
    head, body = busy.message()
    assert body == b"ok"
    assert b"\r\nConnection: close\r\n" in head
    assert busy.closed()
    assert balancer.wait() == 0
    assert balancer.event("stopped")["broken_connections"] == 0


@pytest.mark.parametrize("how", ["timeout", "second signal"])
def test_shutdown_aborts_remaining_requests(world: World, how: str) -> None:
    origin = world.origin(silent)
    balancer = world.balancer(origin, timeouts={"shutdown": "100ms" if how == "timeout" else "1h"})
    stream = balancer.connect().send(GET)
    world.until(lambda: origin.heads)
    balancer.signal(signal.SIGINT)
    if how == "second signal":
        balancer.event("stopping")
        balancer.signal(signal.SIGTERM)
    assert stream.rest() == b""
    assert balancer.wait() == 0
    assert balancer.event("stopped")["broken_connections"] == 1


def test_request_arriving_at_shutdown_is_answered(world: World) -> None:
    balancer = world.balancer(world.origin(), timeouts={"shutdown": "60s"})
    stream = balancer.connect()
    assert stream.send(GET).message()[1] == b"ok"
    balancer.signal()
    balancer.event("stopping")
    head, body = stream.send(GET).message()
    assert body == b"ok"
    assert b"\r\nConnection: close\r\n" in head
    assert balancer.wait() == 0
    assert balancer.event("stopped")["broken_connections"] == 0
