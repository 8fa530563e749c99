"""TLS to backends: verification, client certificates, and where a response ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, Origin, Stream, World

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAILED = b"502 Bad Gateway: TLS with the backend failed\n"
CHECKS = {"interval": "50ms", "timeout": "5s", "healthy_threshold": 1, "unhealthy_threshold": 1}


def backend(origin: Origin, host: str = "127.0.0.1", name: str = "a", **tls: Any) -> dict[str, Any]:
    return {"name": name, "address": f"{host}:{origin.port}", "tls": {key: str(value) for key, value in tls.items()} or True}


def attempts(balancer: Balancer, outcome: str) -> float:
    return balancer.metric(f'balance_backend_requests_total{{backend="a",status_class="{outcome}"}}')


# names in the certificate, host of the address, settings, whether it is trusted
VERIFIED: dict[str, tuple[tuple[str, ...], str, dict[str, str], bool]] = {
    "the address": (("127.0.0.1",), "127.0.0.1", {"ca": "ours"}, True),
    "the host": (("localhost",), "localhost", {"ca": "ours"}, True),
    "configured server name": (("a.internal",), "127.0.0.1", {"ca": "ours", "server_name": "a.internal"}, True),
    "a wildcard": (("*.b.internal",), "127.0.0.1", {"ca": "ours", "server_name": "a.b.internal"}, True),
    "another address": (("127.0.0.2",), "127.0.0.1", {"ca": "ours"}, False),
    "another name": (("b.internal",), "127.0.0.1", {"ca": "ours", "server_name": "a.internal"}, False),
    "a name instead of the address": (("localhost",), "127.0.0.1", {"ca": "ours"}, False),
    "a wildcard for two labels": (("*.b.internal",), "127.0.0.1", {"ca": "ours", "server_name": "x.a.b.internal"}, False),
    "common name only": ((), "localhost", {"ca": "ours"}, False),
    "untrusted authority": (("127.0.0.1",), "127.0.0.1", {"ca": "a stranger's"}, False),
    "authority unknown to the system": (("127.0.0.1",), "127.0.0.1", {}, False),
    "any certificate, unverified": (("b.internal",), "127.0.0.1", {"verify": "false"}, True),
    "any certificate, unverified, with server name": (("b.internal",), "127.0.0.1", {"verify": "false", "server_name": "c.internal"}, True),
}


@pytest.mark.parametrize("case", VERIFIED)
def test_backend_certificate_is_verified(world: World, authority: Authority, stranger: Authority, case: str) -> None:
    names, host, settings, believed = VERIFIED[case]
    if "ca" in settings:
        settings = {**settings, "ca": str((authority if settings["ca"] == "ours" else stranger).ca)}
    origin = world.origin(OK, authority.server(authority.issue("localhost", *names)))
    balancer = world.balancer(backends=[backend(origin, host, **settings)], retry=False, log={"level": "debug"})
    head, body = balancer.get()
    assert (body == b"ok") is believed
    if not believed:
        assert (head[:13], body) == (b"HTTP/1.1 502 ", FAILED)
        assert balancer.event("backend_tls_failed", backend="a")["level"] == "debug"
        assert balancer.metric('balance_circuit_breaker_failures_total{backend="a"}') == 1
        world.until(lambda: [line["reason"] for line in balancer.access()] == ["tls_failed"])
    assert len(origin.heads) == believed


def test_expired_certificate_is_rejected(world: World, authority: Authority) -> None:
    now = datetime.now(UTC)
    pair = authority.issue("expired", "127.0.0.1", begin=now - timedelta(days=3), end=now - timedelta(days=1))
    origin = world.origin(OK, authority.server(pair))
    balancer = world.balancer(backends=[backend(origin, ca=authority.ca)], retry=False)
    assert balancer.get()[1] == FAILED
    assert origin.heads == []


def test_request_is_retried_if_verification_fails(world: World, authority: Authority, stranger: Authority) -> None:
    bad = world.origin(OK, stranger.server(stranger.issue("bad", "127.0.0.1")))
    good = world.origin(OK, authority.server(authority.issue("good", "127.0.0.1")))
    balancer = world.balancer(backends=[backend(bad, ca=authority.ca), backend(good, name="b", ca=authority.ca)])
    for _request in range(4):
        assert balancer.ask(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello")[1] == b"ok"
    assert good.bodies == [b"hello"] * 4
    assert bad.heads == []
    assert attempts(balancer, "none") > 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["theirs", "nothing", "a stranger's"])
def test_client_certificate_is_sent_to_backend(world: World, authority: Authority, stranger: Authority, shown: str, version: ssl.TLSVersion) -> None:
    context = authority.server(authority.issue("back", "127.0.0.1"), client_ca=authority.ca)
    context.minimum_version = context.maximum_version = version
    origin = world.origin(OK, context)
    pair = {"theirs": authority.issue("client"), "nothing": {}, "a stranger's": stranger.issue("client")}[shown]
    balancer = world.balancer(backends=[backend(origin, ca=authority.ca, **pair)], retry=False)
    body = balancer.get()[1]
    assert body in ((b"ok",) if shown == "theirs" else (FAILED, b"502 Bad Gateway: the backend closed the connection before it responded\n"))
    assert len(origin.heads) == (shown == "theirs")


def test_connections_are_reused(world: World, authority: Authority) -> None:
    first = world.origin(OK, authority.server(authority.issue("first", "127.0.0.1")))
    second = world.origin(OK, authority.server(authority.issue("second", "127.0.0.1")))
    balancer = world.balancer(backends=[backend(first, ca=authority.ca), backend(second, name="b", ca=authority.ca)])
    stream = balancer.connect()
    for _request in range(10):
        assert stream.send(GET).message()[1] == b"ok"
    assert (first.connections, second.connections) == (1, 1)
    assert (len(first.heads), len(second.heads)) == (5, 5)
    assert b"X-Forwarded-Proto: http\r\n" in first.heads[0]


def test_closed_idle_connection_costs_nothing(world: World, authority: Authority) -> None:
    def script(stream: Stream) -> None:
        stream.message()
        stream.send(OK)
        stream.message()
        if isinstance(stream.sock, ssl.SSLSocket) and len(origin.heads) % 4:
            stream.sock.unwrap()

    origin = world.origin(script, authority.server(authority.issue("back", "127.0.0.1")))
    balancer = world.balancer(backends=[backend(origin, ca=authority.ca)], retry=False, circuit_breaker={"failure_threshold": 1})
    stream = balancer.connect()
    for _request in range(6):
        assert stream.send(GET).message()[1] == b"ok"
    assert attempts(balancer, "2xx") == 6
    assert attempts(balancer, "none") == 0


SILENT = {"plain HTTP": b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", "a close": b"", "junk": b"\x15\x03\x03\x00\x02\x02\x28"}


@pytest.mark.parametrize("case", SILENT)
def test_backend_without_tls_is_a_failure(world: World, case: str) -> None:
    def script(stream: Stream) -> None:
        stream.sock.recv(1000)
        stream.send(SILENT[case])

    balancer = world.balancer(backends=[backend(world.origin(script))], retry=False)
    assert balancer.get()[1] == FAILED


def test_backend_handshake_counts_as_connecting(world: World) -> None:
    ended: list[bytes] = []
    origin = world.origin(lambda stream: ended.append(stream.rest()))
    balancer = world.balancer(backends=[backend(origin)], retry=False, timeouts={"connect": "100ms"})
    assert balancer.get()[1] == b"504 Gateway Timeout: connection to the backend timed out\n"
    balancer.becomes('balance_backend_connections{backend="a"}', 0)
    gone = balancer.connect().send(GET)
    world.until(lambda: origin.connections == 2)
    gone.close()
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 0)
    world.until(lambda: len(ended) == 2)


def test_rejected_client_certificate_is_connect_failure(world: World, authority: Authority, stranger: Authority) -> None:
    """With TLS 1.3 the alert comes after the request; the request cannot have been read, so it is retried."""
    context = authority.server(authority.issue("back", "127.0.0.1"), client_ca=authority.ca)

    def script(stream: Stream) -> None:
        with stream.sock.dup() as left, contextlib.suppress(OSError):
            try:
                context.wrap_socket(stream.sock, server_side=True)
            except ssl.SSLError:
                left.recv(2**16)  # the balancer's data, or the alert would be lost in a reset
                left.shutdown(socket.SHUT_WR)
                left.recv(1)

    origin, good = world.origin(script), world.origin(OK, authority.server(authority.issue("good", "127.0.0.1")))
    backends = [backend(origin, ca=authority.ca, **stranger.issue("client")), backend(good, name="b", ca=authority.ca)]
    balancer = world.balancer(backends=backends)
    for _request in range(4):
        assert balancer.ask(GET.replace(b"GET", b"POST"))[1] == b"ok"
    assert attempts(balancer, "none") > 0


# the bytes, whether the origin sends close_notify, whether the response is complete
ENDS = {
    "by close, with close_notify": (b"HTTP/1.1 200 OK\r\n\r\nabc", True, True),
    "by close, without close_notify": (b"HTTP/1.1 200 OK\r\n\r\nabc", False, False),
    "by length, with close_notify": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True, True),
    "by length, without close_notify": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", False, True),
    "short by length, with close_notify": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", True, False),
    "short by length, without close_notify": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", False, False),
    "short by chunk, with close_notify": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", True, False),
    "short by chunk, without close_notify": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False, False),
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("case", ENDS)
def test_truncated_response_is_never_passed_on_as_complete(world: World, authority: Authority, case: str, version: ssl.TLSVersion) -> None:
    data, politely, whole = ENDS[case]

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(data)
        if politely and isinstance(stream.sock, ssl.SSLSocket):
            stream.sock.unwrap()
        stream.sock.shutdown(socket.SHUT_WR)

    context = authority.server(authority.issue("back", "127.0.0.1"))
    context.maximum_version = version
    balancer = world.balancer(backends=[backend(world.origin(script, context), ca=authority.ca)], retry=False)
    got = balancer.connect().send(GET[:-2] + b"Connection: close\r\n\r\n").rest()
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(b"abc" if b"Content-Length" in data else b"\r\n3\r\nabc\r\n0\r\n\r\n" if whole else b"\r\n3\r\nabc\r\n")
    world.until(lambda: [line["reason"] for line in balancer.access()] == ["ok" if whole else "response_truncated"])


def test_early_response_of_closing_backend_is_passed_on(world: World, authority: Authority) -> None:
    def script(stream: Stream) -> None:
        stream.head()
        stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or it waits behind session tickets, and the reset discards it
        stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        stream.sock.close()  # with most of the upload unread: a reset follows

    origin = world.origin(script, authority.server(authority.issue("back", "127.0.0.1")))
    balancer = world.balancer(backends=[backend(origin, ca=authority.ca)], circuit_breaker={"failure_threshold": 1})
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
    with contextlib.suppress(OSError):
        for _piece in range(200):
            client.send(b"x" * 100_000)


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_health_checks_verify_certificates(world: World, authority: Authority, stranger: Authority, kind: str) -> None:
    good = world.origin(OK, authority.server(authority.issue("good", "a.internal")))
    bad = world.origin(OK, stranger.server(stranger.issue("bad", "a.internal")))
    backends = [backend(origin, name=name, ca=authority.ca, server_name="a.internal") for name, origin in (("good", good), ("bad", bad))]
    balancer = world.balancer(backends=backends, health_check={**CHECKS, "type": kind})
    assert "certificate verify failed" in balancer.event("backend_down", backend="bad")["cause"].lower()
    world.until(lambda: good.connections >= 3)
    assert balancer.metric('balance_backend_healthy{backend="good"}') == 1
    for _request in range(3):
        assert balancer.get()[1] == b"ok"
    assert bad.heads == []
