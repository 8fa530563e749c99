"""State across a reload: health, breakers, counters and requests that outlive their configuration."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from .conftest import OK, PATIENCE, Stream, until
from .test_reload import backends, named, reload, rewrite

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, World

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
ERROR = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"
CHECK = {"type": "http", "path": "/up", "interval": "100ms", "unhealthy_threshold": 1, "expected_status": ["418"]}


def hanging_up(stream: Stream) -> None:
    """Read a request, then close without an answer."""
    stream.message()


def answers(balancer: Balancer, count: int) -> Counter[bytes]:
    return Counter(balancer.get()[1] for _request in range(count))


def test_disabled_checks_forget_last_result(world: World) -> None:
    balancer = world.balancer(world.origin(), health_check=CHECK, load_balancer={"panic_threshold": 0})
    balancer.event("backend_down", backend="a")
    assert balancer.get()[0].startswith(b"HTTP/1.1 503 ")
    rewrite(balancer, health_check=False)
    reload(balancer)
    assert balancer.get()[1] == b"ok"
    assert balancer.metric('balance_backend_healthy{backend="a"}') == 1


def test_disabled_outlier_detection_ends_ejection(world: World) -> None:
    origin = world.origin(ERROR)
    detection = {"consecutive_failures": 1, "base_ejection": "1h", "max_ejection": "1h"}
    balancer = world.balancer(
        origin, load_balancer={"panic_threshold": 0}, circuit_breaker=False, retry=False, outlier_detection=detection
    )  # fmt: skip
    balancer.get()
    balancer.event("backend_ejected", backend="a")
    balancer.get()
    assert len(origin.heads) == 1
    rewrite(balancer, outlier_detection=False)
    reload(balancer)
    assert balancer.get()[1] == b"no"
    assert len(origin.heads) == 2


@pytest.mark.parametrize("algorithm", ["round-robin", "least-requests", "consistent-hash", "first"])
def test_backend_turned_backup_gets_no_more_requests(world: World, algorithm: str) -> None:
    a, b = world.origin(named("a")), world.origin(named("b"))
    balancer = world.balancer(a, b, load_balancer={"algorithm": algorithm})
    answers(balancer, 4)
    one, two = backends(a=a, b=b)
    rewrite(balancer, backends=[{**one, "backup": True}, two])
    reload(balancer)
    assert answers(balancer, 12) == {b"b": 12}


@pytest.mark.parametrize("key", ["least-requests", "consistent-hash"])
def test_new_weights_apply_to_every_algorithm(world: World, key: str) -> None:
    a, b = world.origin(named("a")), world.origin(named("b"))
    balancer = world.balancer(a, b, load_balancer={"algorithm": key, **({"hash_key": "path"} if key == "consistent-hash" else {})})
    one, two = backends(a=a, b=b)
    rewrite(balancer, backends=[{**one, "weight": 1000}, two])
    reload(balancer)
    stream = balancer.connect()
    found = Counter(stream.send(b"GET /%d HTTP/1.1\r\nHost: test\r\n\r\n" % number).message()[1] for number in range(100))
    assert found[b"a"] >= 95  # of equal weights, 95 of 100 would be a matter of 10 to the -20


def test_backend_at_new_address_starts_fresh(world: World) -> None:
    balancer = world.balancer(world.origin(hanging_up), circuit_breaker={"failure_threshold": 1}, retry=False)
    balancer.get()
    balancer.becomes('balance_circuit_breaker_state{backend="a",state="open"}', 1)
    rewrite(balancer, backends=backends(a=world.origin()))
    reload(balancer)
    assert balancer.metric('balance_circuit_breaker_state{backend="a",state="closed"}') == 1
    assert balancer.metric('balance_circuit_breaker_state{backend="a",state="open"}') == 0


def test_failure_of_former_backend_spares_its_successor(world: World) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(stream: Stream) -> None:
        stream.message()
        asked.set()
        go_on.wait(PATIENCE)

    balancer = world.balancer(world.origin(slow), circuit_breaker={"failure_threshold": 1}, retry=False)
    stream = balancer.connect().send(GET)
    assert asked.wait(PATIENCE)
    rewrite(balancer, backends=backends(a=world.origin()))
    reload(balancer)
    go_on.set()
    assert stream.message()[0].startswith(b"HTTP/1.1 502 ")
    assert balancer.get()[1] == b"ok"
    assert balancer.metric('balance_circuit_breaker_state{backend="a",state="closed"}') == 1


def test_late_response_does_not_revive_removed_series(world: World) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(stream: Stream) -> None:
        stream.message()
        asked.set()
        go_on.wait(PATIENCE)
        stream.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    balancer = world.balancer(world.origin(slow))
    stream = balancer.connect().send(GET)
    assert asked.wait(PATIENCE)
    rewrite(balancer, backends=backends(b=world.origin()))
    reload(balancer)
    go_on.set()
    assert stream.message()[0].startswith(b"HTTP/1.1 404 ")
    balancer.becomes('balance_http_requests_total{method="GET",status="404"}', 1)
    assert 'backend="a"' not in balancer.admin("/metrics")[1]


def test_queued_retry_is_counted_once_across_reload(world: World) -> None:
    die, go_on = threading.Event(), threading.Event()

    def script(stream: Stream) -> None:
        stream.message()
        if len(origin.heads) == 1:
            die.wait(PATIENCE)
        else:
            go_on.wait(PATIENCE)
            stream.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    origin = world.origin(script)
    settings = [{**entry, "max_connections": 1} for entry in backends(a=origin)]
    balancer = world.balancer(backends=settings, timeouts={"queue": "60s"})
    repeated = balancer.connect().send(GET)
    world.until(lambda: origin.heads, "the first attempt")
    other = balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    die.set()  # now the other request gets the connection, and the retry has to wait for it
    world.until(lambda: len(origin.heads) == 2 and balancer.status()["requests"]["queued"] == 1)
    assert balancer.status()["requests"]["retrying"] == 1
    reload(balancer)
    assert balancer.status()["requests"]["retrying"] == 1
    go_on.set()
    assert other.message()[1] == repeated.message()[1] == b"ok"
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 0)
    assert balancer.status()["requests"]["retrying"] == 0


def test_retry_uses_backends_of_new_config(world: World) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def dying(stream: Stream) -> None:
        stream.message()
        asked.set()
        go_on.wait(PATIENCE)

    balancer = world.balancer(world.origin(dying))
    stream = balancer.connect().send(GET)
    assert asked.wait(PATIENCE)
    rewrite(balancer, backends=backends(b=world.origin(named("new"))))
    reload(balancer)
    go_on.set()
    assert stream.message()[1] == b"new"
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 0)
    assert balancer.status()["requests"]["retrying"] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_reload_during_shutdown_is_refused(world: World, workers: int) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(stream: Stream) -> None:
        stream.message()
        asked.set()
        go_on.wait(PATIENCE)
        stream.send(OK)

    balancer = world.balancer(world.origin(slow), workers=workers, timeouts={"shutdown": "60s"})
    balancer.allow("config_not_reloaded")
    stream = balancer.connect().send(GET)
    assert asked.wait(PATIENCE)
    balancer.signal()
    until(lambda: balancer.admin("/ready")[0] == 503, "the stop")
    reload(balancer)
    assert "is stopping" in balancer.event("config_not_reloaded")["problems"][0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", balancer.port))
    go_on.set()
    assert stream.message()[1] == b"ok"
    assert balancer.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_reload_during_start_waits(world: World, tmp_path: Path, workers: int) -> None:
    config = tmp_path / "balance.yaml"
    settings = {"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "workers": workers, "backends": backends(a=world.origin())}
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(config)]
    events: list[dict[str, Any]] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr
        try:
            until(lambda: "uvloop" in Path(f"/proc/{process.pid}/maps").read_text(), "the beginning of the start")
            process.send_signal(signal.SIGHUP)
            for line in process.stderr:
                events.append(json.loads(line))
                if events[-1]["event"] == "config_reloaded":
                    break
        finally:
            process.terminate()
    assert [event["event"] for event in events if event["event"] != "worker_started"] == ["started", "config_reloaded"]


def test_reload_names_settings_that_need_restart(world: World) -> None:
    """And no others."""
    balancer = world.balancer(world.origin())
    rewrite(balancer, log={"traceparent": "make"}, limits={"max_queue": 5})
    reload(balancer)
    assert balancer.event("config_reloaded")["needs_restart"] == []
    rewrite(balancer, log={"format": "text"}, workers=2, admin={"listen": "127.0.0.1:1"}, metrics={"enabled": False})
    reload(balancer)
    assert balancer.events[-1]["needs_restart"] == ["workers", "admin", "metrics", "log"]


def test_stopping_worker_does_not_block_reload(world: World) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(stream: Stream) -> None:
        stream.message()
        asked.set()
        go_on.wait(PATIENCE)
        stream.send(named("old"))

    balancer = world.balancer(world.origin(slow), workers=2, timeouts={"shutdown": "60s"})
    stream = balancer.connect().send(GET)
    assert asked.wait(PATIENCE)
    busy = next(worker for worker in balancer.status()["workers"] if worker["requests"]["in_flight"])
    os.kill(busy["pid"], signal.SIGTERM)
    balancer.event("stopping", worker=busy["worker"])
    rewrite(balancer, backends=backends(b=world.origin(named("new"))))
    reload(balancer)
    assert balancer.event("config_reloaded")
    assert balancer.get()[1] == b"new"
    go_on.set()
    assert stream.message()[1] == b"old"
    world.until(lambda: sum(worker["running"] for worker in balancer.status()["workers"]) == 2, "the next process")
    assert answers(balancer, 16) == {b"new": 16}
