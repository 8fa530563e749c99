"""Client connections: limits, timeouts, how they end."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lb.conftest import Stream, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"


INCOMPLETE_HEADS = {
    "part of a line": b"GET / HT",
    "part of a head": b"GET / HTTP/1.1\r\nHost: te",
    "part of a second head": GET + b"GET / HTTP/1.1\r\nHos",
}


@pytest.mark.parametrize("case", INCOMPLETE_HEADS)
def test_slow_head_gets_408(world: World, case: str) -> None:
    balancer = world.balancer(world.origin(), timeouts={"request_header": "100ms"})
    stream = balancer.connect().send(INCOMPLETE_HEADS[case])
    head, body = stream.message()
    if body == b"ok":
        head, body = stream.message()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert body == b"408 Request Timeout: the head of the request did not arrive in time\n"
    assert stream.closed()


def test_trickled_bytes_do_not_extend_deadline(world: World) -> None:
    balancer = world.balancer(world.origin(), timeouts={"request_header": "300ms"})
    stream = balancer.connect().send(b"GET / HTTP/1.1\r\nHost: test\r\n")
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            try:
                stream.send(b"X: a\r\n")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    assert stream.head().startswith(b"HTTP/1.1 408 ")
    stop.set()
    dripping.join()


def test_unused_connection_is_closed_silently(world: World) -> None:
    balancer = world.balancer(world.origin(), timeouts={"request_header": "100ms"})
    assert balancer.connect().rest() == b""
    assert balancer.metric('balance_http_requests_total{method="OTHER",status="408"}') == 0


def test_idle_connection_closes_after_keep_alive(world: World) -> None:
    balancer = world.balancer(world.origin(), timeouts={"keep_alive": "100ms"})
    stream = balancer.connect().send(GET)
    assert stream.message()[1] == b"ok"
    assert stream.rest() == b""


POST_AND_EMPTY_LINE = b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\n\r\nx\r\n"


@pytest.mark.parametrize("split", [0, 2])
def test_empty_line_after_body_leaves_connection_idle(world: World, split: int) -> None:
    balancer = world.balancer(world.origin(), timeouts={"keep_alive": "300ms", "request_header": "60s"})
    stream = balancer.connect().send(POST_AND_EMPTY_LINE[: len(POST_AND_EMPTY_LINE) - split])
    assert stream.message()[1] == b"ok"
    stream.send(POST_AND_EMPTY_LINE[len(POST_AND_EMPTY_LINE) - split :])
    assert stream.rest() == b""


def test_empty_line_does_not_delay_shutdown(world: World) -> None:
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        go_on.wait()
        stream.send(b"k")

    balancer = world.balancer(world.origin(script), timeouts={"request_header": "60s", "shutdown": "60s"})
    stream = balancer.connect().send(GET + b"\r\n")
    assert b"Connection: close" not in stream.head()
    balancer.signal()
    world.until(lambda: balancer.status()["draining"])
    go_on.set()
    assert stream.exactly(2) == b"ok"
    assert balancer.wait() == 0


def test_stalled_upload_gets_408(world: World) -> None:
    """The backend is not blamed for it."""
    balancer = world.balancer(world.origin(), timeouts={"body_idle": "100ms"}, circuit_breaker={"failure_threshold": 1})
    stream = balancer.connect().send(b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 9\r\n\r\nhalf")
    assert stream.message()[1] == b"408 Request Timeout: the body of the request did not arrive in time\n"
    assert balancer.status()["backends"][0]["available"]


def test_client_that_stops_reading_is_cut_off(world: World) -> None:
    balancer = world.balancer(
        world.origin(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n" + b"a" * 30_000_000), timeouts={"body_idle": "200ms"}
    )
    balancer.connect().send(GET).head()
    world.until(lambda: [line["reason"] for line in balancer.access()] == ["client_stalled"])
    assert balancer.status()["connections"]["active"] == 0


def test_connection_limit_gives_503(world: World) -> None:
    balancer = world.balancer(world.origin(), limits={"max_connections": 2})
    first, second = balancer.connect().send(GET), balancer.connect().send(GET)
    assert first.message()[1] == second.message()[1] == b"ok"
    third = balancer.connect()
    head, body = third.message()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert body == b"503 Service Unavailable: too many connections\n"
    assert third.closed()
    assert balancer.metric("balance_connections_total") == 3
    assert balancer.metric("balance_active_connections") == balancer.metric("balance_connections_limit") == 2
    assert balancer.metric('balance_http_requests_total{method="OTHER",status="503"}') == 1
    first.close()
    world.until(lambda: balancer.status()["connections"]["active"] == 1)
    assert balancer.get()[1] == b"ok"


def test_listens_on_several_address_families(world: World, tmp_path: Path) -> None:
    path = f"{tmp_path}/front.sock"
    origin = world.origin()
    balancer = world.balancer(origin, listen=["127.0.0.1:0", "[::1]:0", f"unix:{path}"])
    ipv4, ipv6, unix = balancer.listen
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", int(ipv4.rpartition(":")[2]))),
        (socket.AF_INET6, ("::1", int(ipv6.rpartition(":")[2]))),
        (socket.AF_UNIX, path),
    ):
        with socket.socket(family) as client:
            client.settimeout(15)
            client.connect(address)
            client.sendall(GET)
            assert client.recv(1000).endswith(b"ok")
    assert unix == f"unix:{path}"
    assert b"\r\nX-Forwarded-For: ::1\r\n" in origin.heads[1]
    assert b"X-Forwarded-For" not in origin.heads[2]


def test_stale_socket_file_is_replaced(world: World, tmp_path: Path) -> None:
    """The socket file of a dead process is replaced, and the new one removed at the end."""
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    balancer = world.balancer(world.origin(), listen=f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    balancer.stop()
    assert not path.exists()


def test_many_clients_connect_at_once(world: World) -> None:
    balancer = world.balancer(world.origin())
    streams = [balancer.connect().send(GET) for _client in range(300)]
    assert [stream.message()[1] for stream in streams] == [b"ok"] * 300
    assert balancer.metric("balance_connections_total") == 300


def test_half_closed_connection_counts_as_gone(world: World) -> None:
    gone = threading.Event()

    def script(stream: Stream) -> None:
        stream.message()
        stream.rest()
        gone.set()

    balancer = world.balancer(world.origin(script))
    stream = balancer.connect().send(GET)
    stream.sock.shutdown(socket.SHUT_WR)
    assert gone.wait(15)
