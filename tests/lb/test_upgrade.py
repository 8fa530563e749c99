"""Upgrades: what is offered to a backend, which 101 is accepted, and bytes that arrive before it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from .conftest import Stream
from .test_tunnel import ASK, MUCH, PLAIN, SWITCH, echo, fill_buffers, switching

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, World

# --- what is offered ---


@pytest.fixture(scope="module")
def declining(shared: World) -> tuple[Balancer, Origin]:
    """A balancer whose backend answers every request with 200, and that backend."""
    origin = shared.origin()
    return shared.balancer(origin, circuit_breaker=False), origin


def ask(*lines: bytes, start: bytes = b"GET / HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join([start, b"Host: test", *lines, b"", body])


C = b"Connection: Upgrade"
OFFERED = {
    "websocket": (ask(C, b"Upgrade: websocket"), [b"Upgrade: websocket"]),
    "value byte for byte": (ask(C, b"uPGRADE:  WebSocket , Foo/2.0 "), [b"Upgrade: WebSocket , Foo/2.0"]),
    "several lines": (ask(C, b"Upgrade: a", b"Upgrade: b/1"), [b"Upgrade: a", b"Upgrade: b/1"]),
    "with other options": (ask(b"Connection: keep-alive, X-Private", b"X-Private: 1", C, b"Upgrade: a"), [b"Upgrade: a"]),
    "POST with empty body": (ask(C, b"Upgrade: a", b"Content-Length: 0", start=b"POST / HTTP/1.1"), [b"Upgrade: a"]),
    "HTTP/1.0": (ask(C, b"Upgrade: a", start=b"GET / HTTP/1.0"), []),
    "HTTP/1.0 kept alive": (ask(b"Connection: keep-alive, upgrade", b"Upgrade: a", start=b"GET / HTTP/1.0"), []),
    "no connection option": (ask(b"Upgrade: websocket"), []),
    "option without Upgrade": (ask(C), []),
    "about to close": (ask(b"Connection: close, upgrade", b"Upgrade: a"), []),
    "body": (ask(C, b"Upgrade: a", b"Content-Length: 4", body=b"body"), []),
    "body of a websocket": (ask(C, b"Upgrade: websocket", b"Content-Length: 4", body=b"body"), []),
    "chunked body": (ask(C, b"Upgrade: a", b"Transfer-Encoding: chunked", body=b"4\r\nbody\r\n0\r\n\r\n"), []),
    "h2c": (ask(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), []),
    "H2C among others": (ask(C, b"Upgrade: websocket, H2C"), []),
    "h2c in a second line": (ask(C, b"Upgrade: websocket", b"Upgrade: h2c"), []),
    "HTTP/2.0": (ask(C, b"Upgrade: HTTP/2.0"), []),
    "invalid protocol": (ask(C, b"Upgrade: a b"), []),
    "empty": (ask(C, b"Upgrade: "), []),
}  # fmt: skip


@pytest.mark.parametrize("case", OFFERED)
def test_upgrade_is_offered_exactly_or_not(declining: tuple[Balancer, Origin], case: str) -> None:
    balancer, origin = declining
    request, expected = OFFERED[case]
    assert balancer.ask(request)[1] == b"ok"
    lines = origin.heads[-1].split(b"\r\n")
    assert [line for line in lines if line.lower().startswith(b"upgrade")] == expected
    assert [line for line in lines if line.lower().startswith(b"connection")] == ([b"Connection: upgrade"] if expected else [])
    assert not [line for line in lines if line.lower().startswith((b"http2", b"x-private"))]
    assert origin.bodies[-1] == (b"body" if "body" in case.split()[:2] else b"")


@pytest.mark.parametrize("case", [case for case, (_request, lines) in OFFERED.items() if lines])
def test_bytes_behind_declined_upgrade_are_no_request(declining: tuple[Balancer, Origin], case: str) -> None:
    """The connection is closed instead."""
    balancer, origin = declining
    before = len(origin.heads)
    stream = balancer.connect().send(OFFERED[case][0] + PLAIN + PLAIN)
    head, body = stream.message()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in head
    assert (body, stream.rest()) == (b"ok", b"")
    assert len(origin.heads) == before + 1


@pytest.mark.parametrize("case", ["h2c", "H2C among others", "HTTP/2.0", "invalid protocol", "empty"])
def test_connection_survives_unoffered_upgrade(declining: tuple[Balancer, Origin], case: str) -> None:
    balancer, origin = declining
    before = len(origin.heads)
    stream = balancer.connect().send(OFFERED[case][0] + PLAIN + PLAIN)
    assert [stream.message()[1] for _request in range(3)] == [b"ok"] * 3
    assert len(origin.heads) == before + 3


def test_426_keeps_upgrade_header(world: World) -> None:
    origin = world.origin(b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: Echo/1\r\nContent-Length: 0\r\n\r\n")
    head, _body = world.balancer(origin).get()
    assert b"\r\nConnection: upgrade\r\nUpgrade: Echo/1\r\n" in head


# --- what is accepted ---


START = b"HTTP/1.1 101 Switching Protocols\r\n"
REFUSED = {
    "no upgrade": START + b"\r\n",
    "no connection option": START + b"Upgrade: Echo/1\r\n\r\n",
    "another protocol": START + C + b"\r\nUpgrade: other\r\n\r\n",
    "additional protocol": START + C + b"\r\nUpgrade: Echo/1, other\r\n\r\n",
    "another version": START + C + b"\r\nUpgrade: Echo/2\r\n\r\n",
    "empty upgrade": START + C + b"\r\nUpgrade:\r\n\r\n",
    "content-length": START + C + b"\r\nUpgrade: Echo/1\r\nContent-Length: 2\r\n\r\nok",
    "content-length 0": START + C + b"\r\nUpgrade: Echo/1\r\nContent-Length: 0\r\n\r\n",
    "transfer-encoding": START + C + b"\r\nUpgrade: Echo/1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 101 Switching Protocols\r\n" + C + b"\r\nUpgrade: Echo/1\r\n\r\n",
    "control character": START + C + b"\r\nUpgrade: Echo/1\r\nX: a\x01\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_mismatched_101_becomes_502(world: World, case: str) -> None:
    balancer = world.balancer(world.origin(REFUSED[case]), retry=False)
    head, body = balancer.ask(ASK)
    assert head.startswith(b"HTTP/1.1 502 ")
    assert body == b"502 Bad Gateway: the backend's response was invalid\n"
    assert balancer.metric("balance_tunnels_total") == 0
    assert balancer.status()["backends"][0]["connections"]["open"] == 0


def test_101_head_loses_only_hop_by_hop_headers(world: World) -> None:
    answer = START + b"X-A: 1\r\nConnection: Upgrade, X-Private\r\nUpgrade: ECHO/1\r\nX-Private: 1\r\nKeep-Alive: x\r\nX-A: 2\r\n\r\nhello"
    balancer = world.balancer(world.origin(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + answer))
    stream = balancer.connect().send(PLAIN.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert stream.head().startswith(b"HTTP/1.1 103 ")
    assert stream.head().startswith(b"HTTP/1.1 502 "), "without having asked for it"
    stream = balancer.connect().send(ASK)
    assert stream.head() == b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    assert stream.head() == START + b"X-A: 1\r\nX-A: 2\r\nConnection: upgrade\r\nUpgrade: ECHO/1\r\n\r\n"
    assert stream.exactly(5) == b"hello"


def test_upgrade_after_other_requests_in_pieces(world: World) -> None:
    balancer = world.balancer(world.origin(switching(echo)))
    stream = balancer.connect().send(PLAIN + ASK[:60])
    assert stream.message()[1] == b"ok"
    stream.send(ASK[60:-1])
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 0)
    stream.send(ASK[-1:] + b"early")
    assert stream.head().startswith(b"HTTP/1.1 101 ")
    assert stream.exactly(5) == b"early"


# --- before the 101 ---


def test_early_client_data_waits_for_101(world: World) -> None:
    go_on = threading.Event()
    before: list[bytes] = []

    def script(stream: Stream) -> None:
        stream.message()
        go_on.wait(15)
        stream.sock.setblocking(False)
        try:
            before.append(stream.buffer + stream.sock.recv(1))
        except BlockingIOError:
            before.append(stream.buffer)
        stream.sock.settimeout(15)
        echo(stream.send(SWITCH))

    origin = world.origin(script)
    balancer = world.balancer(origin)
    client = balancer.connect().send(ASK + b"early ")
    world.until(lambda: origin.heads)
    client.send(b"birds")
    go_on.set()
    assert client.head().startswith(b"HTTP/1.1 101 ")
    assert client.exactly(11) == b"early birds"
    assert before == [b""]


def test_much_early_data_is_flow_controlled(world: World) -> None:
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        stream.message()
        go_on.wait(60)
        echo(stream.send(SWITCH))

    balancer = world.balancer(world.origin(script))
    client = balancer.connect().send(ASK)
    sent = fill_buffers(client.sock)
    assert sent < MUCH
    go_on.set()
    client.head()
    assert client.skip(sent) == sent
    assert balancer.metric('balance_tunnel_bytes_total{direction="in"}') == sent
