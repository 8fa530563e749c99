"""Tunnels with TLS on both sides: an orderly end is told from a truncation, and passed on."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from .test_tunnel import ASK, switching

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, Stream, World

OpenTunnel = Callable[[], "tuple[Balancer, Stream, Stream]"]


@pytest.fixture
def open_tunnel(world: World, authority: Authority) -> Iterator[OpenTunnel]:
    """A function that makes a tunnel with TLS on both sides: the balancer, the client's end, the backend's end."""
    over = threading.Event()

    def parked() -> tuple[Balancer, Stream, Stream]:
        ends: list[Stream] = []

        def hold(stream: Stream) -> None:
            ends.append(stream)
            over.wait(60)

        origin = world.origin(switching(hold), authority.server(authority.issue("back", "127.0.0.1")))
        balancer = world.balancer(
            backends=[{"name": "a", "address": f"127.0.0.1:{origin.port}", "tls": {"ca": str(authority.ca)}}],
            tls={"listen": "127.0.0.1:0", "certificates": [authority.issue("site", "site.test")]},
        )
        client = balancer.connect_tls(authority.client()).send(ASK)
        assert client.head().startswith(b"HTTP/1.1 101 ")
        world.until(lambda: ends)
        return balancer, client, ends[0]

    yield parked
    over.set()


def send_close_notify(stream: Stream) -> None:
    """Send close_notify without waiting for the peer's."""
    assert isinstance(stream.sock, ssl.SSLSocket)
    stream.sock.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        stream.sock.unwrap()
    stream.sock.settimeout(15)


@pytest.mark.parametrize("first", ["client", "backend"])
@pytest.mark.parametrize("fin", [False, True])
def test_closing_one_direction_keeps_the_other(world: World, open_tunnel: OpenTunnel, first: str, fin: bool) -> None:
    balancer, client, backend = open_tunnel()
    one, other = (client, backend) if first == "client" else (backend, client)
    one.send(b"last words")
    send_close_notify(one)
    if fin:
        socket.socket.shutdown(one.sock, socket.SHUT_WR)
    assert other.rest() == b"last words"
    other.send(b"x" * 1_000_000)
    assert one.exactly(1_000_000) == b"x" * 1_000_000
    assert isinstance(other.sock, ssl.SSLSocket)
    other.sock.unwrap()
    with pytest.raises(ssl.SSLZeroReturnError):  # raised for a close_notify after one's own
        one.sock.recv(1)
    assert world.until(balancer.access)[0]["reason"] == "ok"
    balancer.becomes('balance_backend_connections{backend="a"}', 0)
    balancer.becomes("balance_active_connections", 0)


@pytest.mark.parametrize(("first", "word"), [("client", "client_abort"), ("backend", "response_truncated")])
def test_end_without_close_notify_is_truncation(world: World, open_tunnel: OpenTunnel, first: str, word: str) -> None:
    balancer, client, backend = open_tunnel()
    one, other = (client, backend) if first == "client" else (backend, client)
    one.send(b"cut")
    assert other.exactly(3) == b"cut"
    socket.socket.shutdown(one.sock, socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        socket.socket.recv(other.sock, 1)  # the error from OpenSSL would be less specific
    assert world.until(balancer.access)[0]["reason"] == word


def test_data_after_close_notify_is_ignored(open_tunnel: OpenTunnel) -> None:
    _balancer, client, backend = open_tunnel()
    send_close_notify(client)
    assert backend.rest() == b""
    socket.socket.send(client.sock, b"\x17\x03\x03\x00\x20" + b"x" * 32)
    backend.send(b"still here")
    assert client.exactly(10) == b"still here"
