"""Tunnels of raw bytes after a 101: both directions, how they end, and their metrics."""

from __future__ import annotations

import re
import select
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from .conftest import OK, Stream

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, Script, World

ASK = b"GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: Echo/1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: Echo/1\r\n\r\n"
PLAIN = b"GET /plain HTTP/1.1\r\nHost: test\r\n\r\n"
MUCH = 2**26
"""Bytes: more than all socket buffers and the balancer together can hold."""


def switching(then: Script) -> Script:
    """A script that answers an upgrade with 101 and continues with another script; plain requests get 200."""

    def script(stream: Stream) -> None:
        while head := stream.message()[0]:
            if b"\r\nUpgrade: " in head:
                stream.send(SWITCH)
                return then(stream)
            stream.send(OK)
        return None

    return script


def echo(stream: Stream) -> None:
    """Send back everything that is read."""
    data, stream.buffer = stream.buffer, b""
    while data or (data := stream.sock.recv(65536)):
        stream.send(data)
        data = b""


def opened(balancer: Balancer) -> Stream:
    """The client's end of a new tunnel."""
    stream = balancer.connect().send(ASK)
    assert stream.head().startswith(b"HTTP/1.1 101 ")
    return stream


OpenTunnel = Callable[..., "tuple[Balancer, Stream, Stream]"]


@pytest.fixture
def open_tunnel(world: World) -> Iterator[OpenTunnel]:
    """A function that makes a tunnel: the balancer, the client's end, the backend's end, both held by the test."""
    over = threading.Event()

    def parked(**settings: Any) -> tuple[Balancer, Stream, Stream]:
        ends: list[Stream] = []

        def hold(stream: Stream) -> None:
            ends.append(stream)
            over.wait(60)

        balancer = world.balancer(world.origin(switching(hold)), **settings)
        client = opened(balancer)
        world.until(lambda: ends)
        return balancer, client, ends[0]

    yield parked
    over.set()


def fill_buffers(sock: socket.socket) -> int:
    """Send until all buffers are full; the number of bytes sent."""
    sent = 0
    sock.setblocking(False)
    while sent < MUCH and select.select((), (sock,), (), 1)[1]:
        sent += sock.send(bytes(2**18))
    sock.settimeout(15)
    return sent


def reason(world: World, balancer: Balancer) -> str:
    found: str = world.until(lambda: balancer.access())[-1]["reason"]
    return found


@pytest.fixture(scope="module")
def chat() -> Iterator[int]:
    """The port of a real WebSocket server that echoes messages, and closes with code 4001 on "close"."""

    def handler(connection: ServerConnection) -> None:
        for message in connection:
            if message == "close":
                connection.close(4001, "as you wish")
                return
            connection.send(message)

    with serve(handler, "127.0.0.1", 0, max_size=2**24) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def test_websocket_messages_pass_unchanged(world: World, chat: int) -> None:
    balancer = world.balancer(chat)
    with connect(f"ws://127.0.0.1:{balancer.port}/chat?a=%2F", max_size=2**24, proxy=None) as client:
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        for message in ("hello", b"\x00\xff" * 1_500_000, "\N{SNOWMAN}" * 100_000):
            client.send(message)
            assert client.recv(15) == message
        assert client.ping().wait(15)
        client.send("close")
        with pytest.raises(ConnectionClosedError):
            client.recv(15)
        assert (client.close_code, client.close_reason) == (4001, "as you wish")
    assert reason(world, balancer) == "ok"


@pytest.mark.parametrize("way", ["in", "out"])
def test_slow_reader_stops_writer(world: World, open_tunnel: OpenTunnel, way: str) -> None:
    balancer, client, backend = open_tunnel()
    writer, reader = (client, backend) if way == "in" else (backend, client)
    sent = fill_buffers(writer.sock)
    assert sent < MUCH
    assert reader.skip(sent) == sent
    writer.send(b"more")
    assert reader.exactly(4) == b"more"
    assert balancer.metric(f'balance_tunnel_bytes_total{{direction="{way}"}}') == sent + 4


@pytest.mark.parametrize("first", ["client", "backend"])
def test_closing_one_direction_keeps_the_other(world: World, open_tunnel: OpenTunnel, first: str) -> None:
    balancer, client, backend = open_tunnel()
    one, other = (client, backend) if first == "client" else (backend, client)
    one.send(b"last words").sock.shutdown(socket.SHUT_WR)
    assert other.rest() == b"last words"
    for _piece in range(3):
        other.send(b"still here")
        assert one.exactly(10) == b"still here"
    other.send(b"x" * 1_000_000).sock.shutdown(socket.SHUT_WR)
    assert one.rest() == b"x" * 1_000_000
    assert reason(world, balancer) == "ok"
    balancer.becomes('balance_backend_connections{backend="a"}', 0)
    balancer.becomes("balance_active_connections", 0)


@pytest.mark.parametrize(("breaker", "word"), [("client", "client_abort"), ("backend", "response_truncated")])
def test_reset_is_passed_on(world: World, open_tunnel: OpenTunnel, breaker: str, word: str) -> None:
    balancer, client, backend = open_tunnel()
    one, other = (client, backend) if breaker == "client" else (backend, client)
    one.reset()
    with pytest.raises(ConnectionResetError):
        other.sock.recv(1)
    assert reason(world, balancer) == word


def test_idle_tunnel_is_aborted(world: World, open_tunnel: OpenTunnel) -> None:
    balancer, client, backend = open_tunnel(timeouts={"tunnel": "100ms"})
    for end in (client, backend):
        with pytest.raises(ConnectionResetError):
            end.sock.recv(1)
    assert reason(world, balancer) == "tunnel_timeout"


@pytest.mark.parametrize("way", ["in", "out"])
def test_one_direction_keeps_tunnel_alive(world: World, open_tunnel: OpenTunnel, way: str) -> None:
    _balancer, client, backend = open_tunnel(timeouts={"tunnel": "1s", "body_idle": "100ms", "response_idle": "100ms", "keep_alive": "100ms"})
    writer, reader = (client, backend) if way == "in" else (backend, client)
    pause = threading.Event()
    for _piece in range(45):  # longer than the timeout plus the resolution of the clock
        writer.send(b"x")
        assert reader.exactly(1) == b"x"
        pause.wait(0.05)


def test_tunnel_metrics_and_access_log(world: World, open_tunnel: OpenTunnel) -> None:
    """A tunnel is not a request in flight, and its metrics move while it is open."""
    balancer, client, backend = open_tunnel()
    client.send(b"hello")
    backend.send(backend.exactly(5) * 2)
    assert client.exactly(10) == b"hellohello"
    text = balancer.admin("/metrics")[1]
    for line in (
        'balance_http_requests_total{method="GET",status="101"} 1.0',
        "balance_http_requests_in_flight 0.0",
        "balance_tunnels_active 1.0",
        "balance_tunnels_total 1.0",
        'balance_tunnel_bytes_total{direction="in"} 5.0',
        'balance_tunnel_bytes_total{direction="out"} 10.0',
        'balance_backend_connections{backend="a"} 1.0',
        'balance_backend_requests_total{backend="a",status_class="1xx"} 1.0',
        "balance_http_request_size_bytes_count 0.0",
        "balance_http_response_size_bytes_count 0.0",
    ):
        assert f"\n{line}\n" in text
    assert {line.rpartition(" ")[2] for line in text.splitlines() if re.match("balance_http_request_duration_seconds_count", line)} == {"0.0"}
    status = balancer.status()
    assert status["tunnels"] == {"active": 1}
    assert status["requests"] == {"in_flight": 0, "retrying": 0, "queued": 0}
    assert balancer.access() == []
    client.close()
    backend.close()
    line = world.until(balancer.access)[0]
    assert {key: line[key] for key in ("status", "target", "backend", "bytes_in", "bytes_out", "attempts", "reason")} == {
        "status": 101, "target": "/chat", "backend": "a", "bytes_in": 5, "bytes_out": 10, "attempts": 1, "reason": "ok",
    }  # fmt: skip
    balancer.becomes("balance_tunnels_active", 0)
    assert 'reason="' not in "".join(line for line in balancer.admin("/metrics")[1].splitlines() if not line.endswith(" 0.0"))


def test_tunnel_connection_is_not_reused(world: World) -> None:
    origin = world.origin(switching(echo))
    balancer = world.balancer(origin)
    tunnel = opened(balancer)
    assert balancer.ask(PLAIN)[1] == b"ok"
    tunnel.close()
    world.until(lambda: balancer.status()["backends"][0]["connections"] == {"open": 1, "idle": 1, "limit": 1000})
    assert origin.connections == 2


def test_breaker_counts_101_as_success(world: World) -> None:
    failing = threading.Event()
    failing.set()

    def script(stream: Stream) -> None:
        if failing.is_set():
            stream.message()
        else:
            switching(echo)(stream)

    balancer = world.balancer(
        world.origin(script),
        circuit_breaker={"failure_threshold": 1, "success_threshold": 1, "open_for": "50ms"}, retry=False,
    )  # fmt: skip
    assert balancer.get()[0].startswith(b"HTTP/1.1 502 ")
    failing.clear()

    def switched() -> Stream | None:
        stream = balancer.connect().send(ASK)
        return stream if stream.head().startswith(b"HTTP/1.1 101 ") else None

    tunnel: Stream = world.until(switched)
    assert balancer.status()["backends"][0]["circuit_breaker"] == "closed"
    assert tunnel.send(b"x").exactly(1) == b"x"


ENDINGS: dict[str, tuple[Callable[[Stream], object], str, int]] = {
    "in time": (lambda client: client.sock.shutdown(socket.SHUT_WR), "ok", 0),
    "not in time": (lambda _client: None, "shutdown", 1),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_shutdown_waits_for_tunnels(world: World, case: str) -> None:
    end, word, broken = ENDINGS[case]
    balancer = world.balancer(world.origin(switching(echo)), timeouts={"shutdown": "30s" if case == "in time" else "2s"})
    client = opened(balancer)
    balancer.signal(signal.SIGTERM)
    assert balancer.event("stopping")["tunnels"] == 1
    assert client.send(b"x").exactly(1) == b"x"
    end(client)
    assert client.rest() == b""
    assert balancer.wait() == 0
    assert balancer.event("stopped")["broken_connections"] == broken
    assert [line["reason"] for line in balancer.access()] == [word]


# --- TLS clients ---


@pytest.fixture
def open_tls_tunnel(world: World, authority: Authority) -> Iterator[OpenTunnel]:
    """Like `open_tunnel`, with TLS on the client's side."""
    over = threading.Event()

    def parked(**settings: Any) -> tuple[Balancer, Stream, Stream]:
        ends: list[Stream] = []

        def hold(stream: Stream) -> None:
            ends.append(stream)
            over.wait(60)

        tls = {"listen": "127.0.0.1:0", "certificates": [authority.issue("site", "site.test")]}
        balancer = world.balancer(world.origin(switching(hold)), tls=tls, **settings)
        client = balancer.connect_tls(authority.client()).send(ASK)
        assert client.head().startswith(b"HTTP/1.1 101 ")
        world.until(lambda: ends)
        return balancer, client, ends[0]

    yield parked
    over.set()


def test_backend_end_keeps_tls_client_direction(open_tls_tunnel: OpenTunnel) -> None:
    _balancer, client, backend = open_tls_tunnel()
    backend.send(b"last words")
    backend.sock.shutdown(socket.SHUT_WR)
    assert client.rest() == b"last words"
    client.send(b"an answer")
    assert backend.exactly(9) == b"an answer"


def test_tls_client_end_keeps_backend_direction(world: World, open_tls_tunnel: OpenTunnel) -> None:
    _balancer, client, backend = open_tls_tunnel()
    client.send(b"last words")
    assert isinstance(client.sock, ssl.SSLSocket)
    ending = threading.Thread(target=client.sock.unwrap)  # sends close_notify and waits for the peer's
    ending.start()
    assert backend.rest() == b"last words"
    assert ending.is_alive()
    backend.sock.shutdown(socket.SHUT_WR)
    ending.join(60)
    assert not ending.is_alive()


def test_large_transfers_through_tls_tunnel(open_tls_tunnel: OpenTunnel) -> None:
    _balancer, client, backend = open_tls_tunnel()
    data = bytes(range(256)) * 2**14
    for sender, receiver in ((client, backend), (backend, client)):
        thread = threading.Thread(target=sender.send, args=(data,))
        thread.start()
        assert receiver.exactly(len(data)) == data
        thread.join(60)


def test_tls_client_reset_aborts_tunnel(open_tls_tunnel: OpenTunnel) -> None:
    balancer, client, backend = open_tls_tunnel()
    client.reset()
    with pytest.raises(ConnectionResetError):
        backend.sock.recv(1)
    balancer.becomes("balance_tunnels_active", 0)
