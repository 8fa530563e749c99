"""Requests of clients: bad ones never reach an origin, good ones reach it unchanged except for the balancer's own headers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .bad_requests import AFTER_CLOSE, CHUNKED, CHUNKS, GET, LIMITS, REASONS, REFUSED, H
from .conftest import PATIENCE, TRUNCATED

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, Stream, World


@pytest.fixture(scope="module")
def origin(shared: World) -> Origin:
    return shared.origin()


@pytest.fixture(scope="module")
def balancer(shared: World, origin: Origin) -> Balancer:
    return shared.balancer(origin, limits=LIMITS)


@pytest.fixture(scope="module")
def second_origin(shared: World) -> Origin:
    """For requests that reach an origin in part: it records them at their end, which may be after the end of the test."""
    return shared.origin()


@pytest.fixture(scope="module")
def second(shared: World, second_origin: Origin) -> Balancer:
    return shared.balancer(second_origin, limits=LIMITS)


GOOD = b"GET /good HTTP/1.1\r\n" + H + b"\r\n"


def pieces(raw: bytes) -> list[bytes]:
    """The bytes one by one, or in some twenty pieces if there are many."""
    size = 1 if len(raw) < 400 else 1 + len(raw) // 20
    return [raw[at : at + size] for at in range(0, len(raw), size)]


WAYS: dict[str, Callable[[bytes], list[bytes]]] = {
    "new": lambda raw: [raw],
    "repeated": lambda raw: [raw],
    "after a good request": lambda raw: [GOOD + raw],
    "after a good request, after a pause": lambda raw: [GOOD, raw],
    "in pieces": pieces,
}
"""How a row is sent: no cache and no earlier request may change the outcome."""


def refusal(balancer: Balancer, sendings: list[bytes]) -> bytes:
    """The head of the answer to a bad request; checks that a good request before it is answered, and that the connection is closed."""
    stream = balancer.connect()
    stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number, data in enumerate(sendings):
        with contextlib.suppress(OSError):  # may be refused before all is sent
            stream.send(data)
        if number == 0 and data.startswith(GOOD):
            assert stream.message()[1] == b"ok"
    head, body = stream.message()
    assert body.startswith(head.split(b" ", 1)[1].split(b"\r\n")[0] + b": ")
    assert b"\r\nConnection: close\r\n" in head
    assert stream.closed()
    stream.close()
    return head


def answered(balancer: Balancer, status: int) -> float:
    """Number of responses counted with this status, over all methods."""
    return balancer.sum("balance_http_requests_total", f'status="{status}"')


@pytest.mark.parametrize("case", REFUSED)
def test_bad_request_is_refused(balancer: Balancer, origin: Origin, case: str) -> None:
    """The connection is closed, and no origin sees a byte."""
    raw, status = REFUSED[case]
    before, seen, taken = answered(balancer, status), len(origin.heads), origin.taken
    for way in WAYS.values():
        assert refusal(balancer, way(raw)).split(b" ")[1] == b"%d" % status
        assert balancer.ask(GOOD)[1] == b"ok"
    assert answered(balancer, status) == before + len(WAYS)
    assert [head.split(b" ")[1] for head in origin.heads[seen:]] == [b"/good"] * (len(WAYS) + 2)
    assert origin.taken == taken + sum(len(head) for head in origin.heads[seen:])


@pytest.mark.parametrize("case", CHUNKS)
def test_bad_chunk_is_refused(second: Balancer, second_origin: Origin, case: str) -> None:
    """No origin sees a whole request."""
    raw, status = CHUNKS[case]
    before = answered(second, status)
    for way in WAYS.values():
        assert refusal(second, way(raw)).split(b" ")[1] == b"%d" % status
        assert second.ask(GOOD)[1] == b"ok"
    stream = second.connect().send(CHUNKED + b"1\r\na\r\n").send(raw.removeprefix(CHUNKED))
    assert stream.head().startswith(b"HTTP/1.1 400 ")
    stream.close()
    assert answered(second, status) == before + len(WAYS) + 1
    assert {head.split(b" ")[0] for head, body in second_origin.requests() if not body.endswith(TRUNCATED)} == {b"GET"}


def test_refusal_is_logged_once_with_reason(shared: World) -> None:
    balancer = shared.balancer(shared.origin(), limits=LIMITS)
    rows = (REFUSED | CHUNKS).values()
    for raw, _status in rows:
        refusal(balancer, [raw])
    shared.until(lambda: len(balancer.output) >= len(rows), "a line for each")
    lines = balancer.access()
    assert [line["status"] for line in lines] == [status for _raw, status in rows]
    assert [line for line in lines if line["reason"] not in REASONS[line["status"]] or line["attempts"] != 0] == []


@pytest.mark.parametrize("case", AFTER_CLOSE)
def test_bytes_behind_last_request_refuse_it(balancer: Balancer, origin: Origin, case: str) -> None:
    """Bytes that arrive in one read with a request that closes the connection."""
    raw, status = AFTER_CLOSE[case]
    for _twice in range(2):
        before = len(origin.heads)
        assert balancer.ask(raw)[0].split(b" ")[1] == b"%d" % status
        assert len(origin.heads) == before


def test_bytes_after_last_request_are_ignored(shared: World) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def script(stream: Stream) -> None:
        while stream.message()[0]:
            asked.set()
            go_on.wait(PATIENCE)
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    origin = shared.origin(script)
    stream = shared.balancer(origin).connect().send(b"GET / HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
    assert asked.wait(PATIENCE)
    stream.send(b"GET /smuggled HTTP/1.1\r\n" + H + b"\r\n")
    go_on.set()
    head, body = stream.message()
    assert (head.split(b" ")[1], body) == (b"200", b"ok")
    assert stream.closed()
    assert len(origin.heads) == 1


ENDLESS = {
    "trailers": CHUNKED + b"0\r\n" + b"X: a\r\n" * 2**20,
    "one trailer": CHUNKED + b"0\r\nX: " + b"a" * 2**22,
    "a chunk extension": CHUNKED + b"1;" + b"a" * 2**22,
    "a chunk size": CHUNKED + b"0" * 2**22,
}


@pytest.mark.parametrize("case", ENDLESS)
def test_endless_framing_gets_431(second: Balancer, case: str) -> None:
    """Memory stays bounded."""
    before = second.metric("process_resident_memory_bytes")
    stream = second.connect()
    with contextlib.suppress(OSError):
        stream.send(ENDLESS[case])
    assert stream.head().startswith(b"HTTP/1.1 431 ")
    stream.close()
    assert second.metric("process_resident_memory_bytes") - before < 16 * 2**20


def test_oversized_chunked_body_gets_413(second: Balancer) -> None:
    head, _body = second.ask(
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"a" * 256 + b"\r\n" * 1 + b"400\r\n" + b"a" * 1024
    )
    assert head.startswith(b"HTTP/1.1 413 ")


ACCEPTED = {
    "target byte for byte": (b"GET //a/../%41%2f?x=%zz&&+? HTTP/1.1\r\n" + H + b"\r\n", b"GET //a/../%41%2f?x=%zz&&+? HTTP/1.1\r\n"),
    "trailing question mark": (b"GET /a? HTTP/1.1\r\n" + H + b"\r\n", b"GET /a? HTTP/1.1\r\n"),
    "unusual but allowed characters": (b'GET /a|b"<>^`{} HTTP/1.1\r\n' + H + b"\r\n", b'GET /a|b"<>^`{} HTTP/1.1\r\n'),
    "absolute-form becomes origin-form": (b"GET http://other:81/a?b HTTP/1.1\r\n" + H + b"\r\n", b"GET /a?b HTTP/1.1\r\nHost: other:81\r\n"),
    "absolute-form without a path": (b"GET http://other HTTP/1.1\r\n" + H + b"\r\n", b"GET / HTTP/1.1\r\nHost: other\r\n"),
    "absolute-form with only a query": (b"GET http://other?a HTTP/1.1\r\n" + H + b"\r\n", b"GET /?a HTTP/1.1\r\nHost: other\r\n"),
    "OPTIONS of the server": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", b"OPTIONS * HTTP/1.1\r\n"),
    "OPTIONS of the server, absolute": (b"OPTIONS http://other HTTP/1.1\r\n" + H + b"\r\n", b"OPTIONS * HTTP/1.1\r\nHost: other\r\n"),
    "HTTP/1.0 becomes HTTP/1.1": (b"GET /a HTTP/1.0\r\nHost: old\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: old\r\n"),
    "one empty line first": (b"\r\nGET /a HTTP/1.1\r\n" + H + b"\r\n", b"GET /a HTTP/1.1\r\n"),
    "repeated headers in order and case": (b"GET / HTTP/1.1\r\nX-A: 1\r\n" + H + b"x-a: 2\r\nX-a: 3\r\n\r\n", b"X-A: 1\r\nHost: test\r\nx-a: 2\r\nX-a: 3\r\n"),
    "bytes beyond ASCII": (b"GET / HTTP/1.1\r\n" + H + b"X: \xff\xc3\xa9\r\n\r\n", b"\r\nX: \xff\xc3\xa9\r\n"),
    "empty value": (b"GET / HTTP/1.1\r\n" + H + b"X:\r\n\r\n", b"\r\nX: \r\n"),
    "IPv6 host": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"\r\nHost: [::1]:80\r\n"),
    "WebDAV method": (b"PROPFIND / HTTP/1.1\r\n" + H + b"\r\n", b"PROPFIND / HTTP/1.1\r\n"),
    "body by length": (b"POST / HTTP/1.1\r\n" + H + b"content-length: 3\r\n\r\nabc", b"\r\ncontent-length: 3\r\n"),
    "blanks around values": (b"GET / HTTP/1.1\r\nHost:\ttest \t\r\nX: \t a\tb \r\n\r\n", b"Host: test\r\nX: a\tb\r\n"),
    "name of every token character": (b"GET / HTTP/1.1\r\n" + H + b"!#$%&'*+-.^`|~09aZ: a\r\n\r\n", b"\r\n!#$%&'*+-.^`|~09aZ: a\r\n"),
    "names with underscores dropped": (
        b"POST / HTTP/1.1\r\n" + H + b"Content_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", b"\r\nHost: test\r\nContent-Length: 3\r\n"),
    "uppercase scheme": (b"GET HTTPS://other/a HTTP/1.1\r\n" + H + b"\r\n", b"GET /a HTTP/1.1\r\nHost: other\r\n"),
    "absolute-form from HTTP/1.0 without a host": (b"GET http://other/a HTTP/1.0\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: other\r\n"),
    "a URL as path": (b"GET /http://other/a HTTP/1.1\r\n" + H + b"\r\n", b"GET /http://other/a HTTP/1.1\r\nHost: test\r\n"),
    "host with an empty port": (b"GET / HTTP/1.1\r\nHost: test:\r\n\r\n", b"\r\nHost: test:\r\n"),
    "nominated forwarding headers are kept": (
        b"GET / HTTP/1.1\r\n" + H + b"Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto\r\n\r\n",
        b"Host: test\r\nX-Forwarded-Host: test\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n"),
    "nominated headers of any case removed": (b"GET / HTTP/1.1\r\n" + H + b"X-a: 1\r\ncOnnection: ,x-A ,\r\nY: 2\r\n\r\n", b"\r\nHost: test\r\nY: 2\r\n"),
    "body by length with leading zeros": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0003\r\n\r\nabc", b"\r\nContent-Length: 0003\r\n"),
    "body of a GET": (b"GET / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc", b"GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n"),
    "empty body by length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n", b"\r\nContent-Length: 0\r\n"),
    "chunk sizes with leading zeros and extensions": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding:\tchunked \r\n\r\n0003;x=\"y;z\"\r\nabc\r\n000\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n"),
    "mixed-case expectation": (b"POST / HTTP/1.1\r\n" + H + b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc", b"\r\nExpect: 100-Continue\r\n"),
    "head of maximum size": (GET + b"X: " + b"a" * (4096 - len(GET) - len(b"X: \r\n\r\n")) + b"\r\n\r\n", b"GET / HTTP/1.1\r\n"),
    "maximum number of headers": (GET + b"X:\r\n" * 127 + b"\r\n", b"X: \r\n" * 127),
    "body by chunks": (b"POST / HTTP/1.1\r\n" + H + b"transfer-encoding: CHUNKED\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_good_request_reaches_origin_unchanged(balancer: Balancer, origin: Origin, case: str) -> None:
    request, expected = ACCEPTED[case]
    for way in ([request], [request], pieces(request)):
        before = len(origin.heads)
        stream = balancer.connect()
        for data in way:
            stream.send(data)
        assert stream.message()[0].startswith(b"HTTP/1.1 200 ")
        stream.close()
        [(head, body)] = origin.requests()[before:]
        assert expected in head
        assert body == (b"abc" if b"abc" in request else b"")


def test_only_forwarding_headers_are_added(balancer: Balancer, origin: Origin) -> None:
    balancer.ask(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    assert origin.heads[-1] == (
        b"GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-Host: test\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n"
    )


REMOVED = [
    b"Connection: keep-alive", b"Connection: X-Private", b"X-Private: 1", b"Keep-Alive: 1", b"Proxy-Connection: keep-alive", b"TE: trailers",
    b"Trailer: X", b"Upgrade: h2c", b"Proxy-Authorization: Basic x", b"X_Forwarded_For: 6.6.6.6", b"Forwarded: for=6.6.6.6",
    b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil", b"x-forwarded-client-cert: x", b"X-Real-IP: 6.6.6.6",
]  # fmt: skip


def test_hop_by_hop_and_untrusted_headers_are_removed(balancer: Balancer, origin: Origin) -> None:
    balancer.ask(b"GET / HTTP/1.1\r\nHost: test\r\nX-Public: 1\r\n" + b"".join(line + b"\r\n" for line in REMOVED) + b"\r\n")
    assert origin.heads[-1] == (
        b"GET / HTTP/1.1\r\nHost: test\r\nX-Public: 1\r\nX-Forwarded-Host: test\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n"
    )


def test_http_1_0_without_host_gets_local_address(balancer: Balancer, origin: Origin) -> None:
    balancer.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % balancer.port in origin.heads[-1]


TRAILERS = b"POST /a HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: leaked\r\n\r\n"


@pytest.mark.parametrize("next_request", [b"", b"GET /b HTTP/1.1\r\n" + H + b"\r\n"], ids=["alone", "with a request behind it"])
def test_trailers_are_dropped(balancer: Balancer, origin: Origin, next_request: bytes) -> None:
    """They never become headers of the next request."""
    before = len(origin.heads)
    stream = balancer.connect().send(TRAILERS + next_request)
    assert stream.message()[0].startswith(b"HTTP/1.1 200 ")
    assert stream.closed()
    stream.close()
    assert len(origin.heads) == before + 1
    assert origin.bodies[-1] == b"abc"
    assert b"leaked" not in origin.heads[-1]


def test_connection_survives_chunked_request(balancer: Balancer) -> None:
    stream = balancer.connect()
    for _again in range(3):
        stream.send(b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n").send(b"\r\n")
        assert stream.message()[0].startswith(b"HTTP/1.1 200 ")
    stream.close()


def test_error_pages_never_echo_request(balancer: Balancer) -> None:
    head, body = balancer.ask(b"GET /<script> HTTP/1.1\r\n" + H + b"X: <script>\x01\r\n\r\n")
    assert b"script" not in head + body
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in head


def test_refused_head_request_gets_no_body(balancer: Balancer) -> None:
    stream = balancer.connect().send(b"HEAD / HTTP/1.1\r\n" + H + b"Expect: cake\r\n\r\n")
    assert stream.head().startswith(b"HTTP/1.1 417 ")
    assert stream.closed()
    stream.close()


def test_unparsable_request_counts_as_other(balancer: Balancer) -> None:
    series = 'balance_http_requests_total{method="OTHER",status="400"}'
    before = balancer.metric(series)
    balancer.ask(b"junk\r\n\r\n")
    balancer.becomes(series, before + 1)


def test_pipelined_requests_are_answered_in_order(shared: World) -> None:
    """However the bytes are cut."""

    def echo(stream: Stream) -> None:
        while head := stream.message()[0]:
            target = head.split(b" ")[1]
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    balancer = shared.balancer(shared.origin(echo))
    requests = [b"GET /%d HTTP/1.1\r\n" % number + H + b"\r\n" for number in range(50)]
    requests[7] = b"POST /7 HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello"
    for size in (13, 100, 10_000):
        stream = balancer.connect()
        data = b"".join(requests)
        for at in range(0, len(data), size):
            stream.send(data[at : at + size])
        assert [stream.message()[1] for _request in requests] == [b"/%d" % number for number in range(50)]
        stream.close()
