"""Regressions that a review found by attacking the balancer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from balance.lb.logs import LineWriter
from balance.lb.policy import breaker as breakers
from balance.lb.policy.breaker import Breaker

from .conftest import OK, Balancer, Stream, World
from .test_policy import BREAKER

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def test_pipelined_body_is_not_smuggled_request(world: World) -> None:
    """The first response and the body of the pipelined second request are read in one turn of the event loop."""
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        while head := stream.message()[0]:
            if b" /first " in head:
                go_on.wait(15)
            stream.send(OK)

    origin = world.origin(script)
    balancer = world.balancer(origin)
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nX: "
    client = balancer.connect()
    client.send(b"GET /first HTTP/1.1\r\nHost: test\r\n\r\nPOST /second HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(smuggled))
    world.until(lambda: origin.heads)
    balancer.signal(signal.SIGSTOP)
    world.until(lambda: Path(f"/proc/{balancer.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    go_on.set()
    upstream = origin.streams[-1].sock.getsockname()
    world.until(lambda: _unread(upstream))
    client.send(smuggled)
    balancer.signal(signal.SIGCONT)
    assert [client.message()[1] for _ in range(2)] == [b"ok", b"ok"]
    client.send(b"GET /third HTTP/1.1\r\nHost: test\r\n\r\n")
    assert client.message()[1] == b"ok"
    assert [head.split(b" ")[1] for head in origin.heads] == [b"/first", b"/second", b"/third"]
    assert origin.bodies == [b"", smuggled, b""]


def _unread(sender: tuple[str, int]) -> bool:
    """True if bytes from this local port wait in a receive queue (/proc/net/tcp: remote address, tx_queue:rx_queue)."""
    port = f":{sender[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(port) and int(row[4].partition(":")[2], 16) for row in rows)


def test_recovered_backend_serves_queue(world: World) -> None:
    sick = threading.Event()
    sick.set()

    def busy(stream: Stream) -> None:
        while head := stream.message()[0]:
            if b" /health " in head:
                stream.send(OK)
            else:
                stream.rest()

    def recovering(stream: Stream) -> None:
        while head := stream.message()[0]:
            failing = b" /health " in head and sick.is_set()
            stream.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" if failing else OK)

    full, other = world.origin(busy), world.origin(recovering)
    balancer = world.balancer(
        backends=[
            {"name": "full", "address": f"127.0.0.1:{full.port}", "max_connections": 1},
            {"name": "other", "address": f"127.0.0.1:{other.port}"},
        ],
        health_check={"type": "http", "interval": "50ms", "timeout": "5s", "healthy_threshold": 1, "unhealthy_threshold": 1},
        timeouts={"queue": "15s"},
    )
    balancer.event("backend_down", backend="other")
    balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 1)
    waiting = balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    sick.clear()
    assert waiting.message()[1] == b"ok"


def test_slow_reader_gets_whole_response(world: World) -> None:
    size = 12_000_000

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        stream.send(b"x" * size)
        stream.rest()

    balancer = world.balancer(world.origin(script), timeouts={"body_idle": "1s"})
    client = balancer.connect()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.send(GET).head()
    pause = threading.Event()
    got = len(client.buffer)
    client.buffer = b""
    while got < 1_500_000:  # for about three seconds, in small pieces
        got += len(client.sock.recv(25_000))
        pause.wait(0.05)
    assert got + client.skip(size - got) == size


def test_early_response_of_closing_backend_reaches_client(world: World) -> None:
    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        stream.sock.close()  # with most of the upload unread: a reset follows

    balancer = world.balancer(world.origin(script), circuit_breaker={"failure_threshold": 1})
    for _attempt in range(5):
        client = balancer.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 20000000\r\n\r\n")
        upload = threading.Thread(target=_upload, args=(client,))
        upload.start()
        assert client.head().startswith(b"HTTP/1.1 413 ")
        client.close()
        upload.join()
    assert balancer.metric('balance_circuit_breaker_failures_total{backend="a"}') == 0


def _upload(client: Stream) -> None:
    try:
        for _piece in range(200):
            client.send(b"x" * 100_000)
    except OSError:
        return


@pytest.mark.process
@pytest.mark.parametrize("addresses", ["listen: unix:{0}\nadmin: {{listen: 127.0.0.1:0}}", "listen: 127.0.0.1:0\nadmin: {{listen: unix:{0}}}"])
def test_regular_file_at_socket_path_is_kept(tmp_path: Path, addresses: str) -> None:
    precious, config = tmp_path / "precious.txt", tmp_path / "balance.yaml"
    precious.write_text("precious")
    config.write_text(addresses.format(precious) + "\nbackends: [{name: a, address: 127.0.0.1:1}]\n")
    code, errors = _serve(config)
    assert code == 2
    assert "address already in use" in errors
    assert precious.read_text() == "precious"


def _serve(config: Path) -> tuple[int, str]:
    run = subprocess.run([sys.executable, "-m", "balance.lb.cli", "serve", "-c", config], capture_output=True, text=True, check=False, timeout=15)
    return run.returncode, run.stderr


@pytest.mark.process
def test_live_admin_socket_is_not_taken(tmp_path: Path) -> None:
    path, config = tmp_path / "admin.sock", tmp_path / "balance.yaml"
    config.write_text(f"listen: 127.0.0.1:0\nadmin: {{listen: unix:{path}}}\nbackends: [{{name: a, address: 127.0.0.1:1}}]\n")
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        assert _serve(config)[0] == 2
        assert path.exists()


def test_client_aborts_are_counted(world: World) -> None:
    def script(stream: Stream) -> None:
        stream.message()
        stream.rest()

    balancer = world.balancer(world.origin(script))
    for number in range(1, 4):
        client = balancer.connect().send(GET)
        world.until(lambda: balancer.status()["requests"]["in_flight"] == 1)
        client.close()
        balancer.becomes('balance_http_requests_total{method="GET",status="499"}', number)
    assert balancer.metric('balance_backend_requests_total{backend="a",status_class="none"}') == 3
    assert balancer.metric('balance_circuit_breaker_failures_total{backend="a"}') == 0


def test_unread_log_never_blocks_writer() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "w") as stream:
        log = LineWriter(stream)
        taken = [log.write("x" * 2**20) for _piece in range(20)]  # far more than the unread pipe can hold
        assert taken[:16] == [True] * 16
        assert taken[-1] is False
        assert sum(len(reader.read(2**20)) for _piece in range(sum(taken))) == sum(taken) * 2**20
        log.close()


def test_closed_log_reports_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        log = LineWriter(stream)
        log.write("x")
        log.close()
    assert log.failure == "Broken pipe"
    assert not log.write("x")


def test_interim_responses_are_flow_controlled(world: World) -> None:
    flooded = threading.Event()
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 8000 + b"\r\n\r\n"

    def script(stream: Stream) -> None:
        stream.message()
        stream.sock.settimeout(1.0)
        try:
            for _hint in range(10_000):
                stream.send(hint)
        except TimeoutError:
            flooded.set()

    balancer = world.balancer(world.origin(script), timeouts={"first_byte": "1h", "body_idle": "1h"})
    before = balancer.metric("process_resident_memory_bytes")
    balancer.connect().send(GET)
    assert flooded.wait(15), "the backend was never made to wait"
    assert balancer.metric("process_resident_memory_bytes") - before < 30_000_000


@pytest.mark.parametrize("splits", [1, 20])
def test_oversized_response_head_is_refused(world: World, splits: int) -> None:
    """However it is split into reads."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"".join(b"X-%d: %b\r\n" % (number, b"y" * 900) for number in range(50)) + b"\r\nok"

    def script(stream: Stream) -> None:
        stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while stream.message()[0]:
            for start in range(0, len(head), len(head) // splits + 1):
                stream.send(head[start : start + len(head) // splits + 1])

    balancer = world.balancer(world.origin(script))
    for _request in range(3):
        assert balancer.get()[0].startswith(b"HTTP/1.1 502 ")


def test_late_probe_result_does_not_change_breaker() -> None:
    """The result of a probe counts only in the half-open period that it began in."""
    opened = breakers.failure(breakers.failure(Breaker(), BREAKER, 0, probe=0), BREAKER, 0, probe=0)
    first = breakers.begin(breakers.begin(opened))
    late = first.period
    again = breakers.begin(breakers.failure(first, BREAKER, 20, probe=late))
    assert breakers.success(again, BREAKER, probe=late) == again
    assert breakers.failure(again, BREAKER, 40, probe=late) == again
    assert breakers.forget(again, probe=late) == again


@pytest.mark.parametrize("start", [b"\n", b"\n\n\n", b"\r\r", b"\r\n\n", b"\r\n\r\n"])
def test_only_one_empty_line_before_request(balancer_of_one: Balancer, start: bytes) -> None:
    assert balancer_of_one.ask(start + GET)[0].startswith(b"HTTP/1.1 400 ")


def test_admin_handles_unusual_scrapes(balancer_of_one: Balancer) -> None:
    status, body = balancer_of_one.admin("/metrics?name[]=balance_active_connections")
    assert (status, body.count("# TYPE")) == (200, 1)
    assert balancer_of_one.admin("/metrics", "Accept: application/openmetrics-text;version=abc")[0] == 400


@pytest.fixture
def balancer_of_one(world: World) -> Balancer:
    return world.balancer(world.origin())
