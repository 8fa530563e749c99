"""Responses of backends: malformed ones become 502 and are never passed on in part, good ones arrive unchanged."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from .bad_responses import BODIES, HEADS, OK, START

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, Stream, World

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
BAD = b"GET /bad HTTP/1.1\r\nHost: test\r\n\r\n"


class Answers:
    """A script that sends the answer set by the test for targets with its prefix, and a good response for all others."""

    def __init__(self) -> None:
        self.set(OK)

    def set(self, data: bytes, *, target: bytes = b"/", pieces: int = 1, close: bool = False) -> None:
        """Answer targets that start with `target` with `data`, in at most so many `pieces`; `close` the connection afterwards."""
        self.data, self.target, self.pieces, self.close = data, target, pieces, close

    def __call__(self, stream: Stream) -> None:
        stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while head := stream.message()[0]:
            data, pieces = (self.data, self.pieces) if head.split(b" ")[1].startswith(self.target) else (OK, 1)
            size = max(1, -(-len(data) // pieces))
            for at in range(0, len(data), size):
                stream.send(data[at : at + size])
            if self.close:
                return


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def origin(shared: World, answers: Answers) -> Origin:
    return shared.origin(answers)


@pytest.fixture(scope="module")
def balancer(shared: World, origin: Origin) -> Balancer:
    return shared.balancer(origin, circuit_breaker=False, retry=False, limits={"max_header_size": "4KiB"})


def refused(stream: Stream) -> bool:
    """True if the answer is the balancer's own 502, after interim responses at most, with nothing from the backend."""
    page = b"502 Bad Gateway: the backend's response was invalid\n"
    while (head := stream.head()).startswith(b"HTTP/1.1 103 "):
        pass
    return head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n") and stream.exactly(len(page)) == page


@pytest.mark.parametrize("case", HEADS)
def test_malformed_head_becomes_502(balancer: Balancer, answers: Answers, case: str) -> None:
    """Its connection is closed."""
    before = balancer.sum("balance_http_requests_total", 'status="502"')
    for pieces in (1, 1, 400):  # uncached, cached, in pieces
        answers.set(HEADS[case], target=b"/bad", pieces=pieces)
        assert refused(balancer.connect().send(BAD))
        assert balancer.status()["backends"][0]["connections"]["open"] == 0
        assert balancer.ask(GET) == (START + b"Content-Length: 2\r\n\r\n", b"ok")
    assert balancer.sum("balance_http_requests_total", 'status="502"') == before + 3


@pytest.mark.parametrize("case", BODIES)
def test_bad_body_becomes_502(balancer: Balancer, answers: Answers, case: str) -> None:
    answers.set(BODIES[case], target=b"/bad")
    for _cold_and_warm in range(2):
        assert refused(balancer.connect().send(BAD))
        assert balancer.ask(GET) == (START + b"Content-Length: 2\r\n\r\n", b"ok")


@pytest.mark.parametrize("case", BODIES)
def test_late_bad_body_closes_backend_connection(shared: World, balancer: Balancer, answers: Answers, case: str) -> None:
    answers.set(BODIES[case], target=b"/bad", pieces=400)
    for _cold_and_warm in range(2):
        received = balancer.connect().send(BAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).rest()
        assert b"evil" not in received
        assert b"junk" not in received
        assert b"\r\n0\r\n" not in received or case.endswith("after chunks")  # which is the end of a good body
        shared.until(lambda: balancer.status()["backends"][0]["connections"]["open"] == 0)
        assert balancer.ask(GET) == (START + b"Content-Length: 2\r\n\r\n", b"ok")


EARLY_ENDS = {
    "nothing": b"",
    "part of a status line": b"HTTP/1.1 2",
    "part of a head": START + b"Content-Le",
    "only an interim response": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("case", EARLY_ENDS)
def test_early_close_becomes_502(balancer: Balancer, answers: Answers, case: str) -> None:
    answers.set(EARLY_ENDS[case], close=True)
    stream = balancer.connect().send(GET)
    head = stream.head()
    while head.startswith(b"HTTP/1.1 1"):
        head = stream.head()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert stream.exactly(70).startswith(b"502 Bad Gateway: the backend closed the connection before it responded")


TRUNCATED = {
    "by length": START + b"Content-Length: 15\r\n\r\nhello",
    "in a chunk": START + b"Transfer-Encoding: chunked\r\n\r\na\r\nhello",
    "between chunks": START + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


@pytest.mark.parametrize("case", TRUNCATED)
def test_truncated_body_aborts_client_connection(balancer: Balancer, answers: Answers, case: str) -> None:
    answers.set(TRUNCATED[case], close=True)
    stream = balancer.connect().send(GET)
    received = stream.rest()
    assert b"0\r\n\r\n" not in received
    assert not received.endswith(b"helloworld")


def test_late_bad_chunk_aborts_client_connection(shared: World) -> None:
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(START + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        go_on.wait()
        stream.send(b"x\r\n")

    stream = shared.balancer(shared.origin(script)).connect().send(GET)
    assert stream.until(b"hello").endswith(b"hello")
    go_on.set()
    assert b"0\r\n\r\n" not in stream.rest()


PASSED_ON = {
    "headers in order and case": (
        b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nSet-Cookie: a\r\nx-a: 2\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nSet-Cookie: a\r\nx-a: 2\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok"),
    "bytes beyond ASCII": (
        b"HTTP/1.1 200 \xc3\xa9\xff\r\nX: \xff\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 \xc3\xa9\xff\r\nX: \xff\r\nContent-Length: 0\r\n\r\n"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    "compressed body unchanged": (
        START + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00", START + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00"),
    "redirect not followed": (
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"),
    "hop-by-hop headers removed": (
        START + b"Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nTrailer: X\r\nX-Public: 1\r\nContent-Length: 2\r\n\r\nok",
        START + b"X-Public: 1\r\nContent-Length: 2\r\n\r\nok"),
    "chunks": (
        START + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n3;x=y\r\nabc\r\n0\r\n\r\n", START + b"Transfer-Encoding: chunked\r\n\r\n5\r\nokabc\r\n0\r\n\r\n"),
    "trailers dropped": (
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: leaked\r\n\r\n", START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "HTTP/1.0 becomes HTTP/1.1": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", START + b"Content-Length: 2\r\n\r\nok"),
    "bare LF normalised": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", START + b"Content-Length: 2\r\n\r\nok"),
    "folded header unfolded": (START + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok", START + b"X: a b\r\nContent-Length: 2\r\n\r\nok"),
    "204 without length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304 keeps its length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    "unknown status": (b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n"),
    "early hints": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + START + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + START + b"Content-Length: 0\r\n\r\n"),
    "several interim responses": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nX: 1\r\nx: 2\r\n\r\n" * 2 + OK,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nX: 1\r\nx: 2\r\n\r\n" * 2 + OK),
    "hop-by-hop headers of an interim response removed": (
        b"HTTP/1.1 103 Early Hints\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: a\r\nContent-Length: 9\r\nX: 1\r\n\r\n" + OK,
        b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n" + OK),
    "nominated headers of any case removed": (
        START + b"X-a: 1\r\nCONNECTION: ,x-A\r\n" + OK[len(START) :], OK),
    "body of a 205": (
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok"),
    "status line in a value": (
        START + b"X: HTTP/1.1 200 OK Content-Length: 9\r\n" + OK[len(START) :], START + b"X: HTTP/1.1 200 OK Content-Length: 9\r\n" + OK[len(START) :]),
    "a response as a body": (START + b"Content-Length: %d\r\n\r\n" % len(OK) + OK, START + b"Content-Length: %d\r\n\r\n" % len(OK) + OK),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSED_ON)
def test_good_response_arrives_unchanged(balancer: Balancer, answers: Answers, case: str) -> None:
    sent, expected = PASSED_ON[case]
    answers.set(sent)
    stream = balancer.connect().send(GET)
    assert stream.exactly(len(expected)) == expected
    stream.send(GET)
    assert stream.exactly(len(expected)) == expected  # and the connection goes on, with nothing left over


@pytest.mark.parametrize("case", ["early hints", "204 without length", "chunks", "bare LF normalised"])
def test_response_may_arrive_byte_by_byte(shared: World, case: str) -> None:
    sent, expected = PASSED_ON[case]

    def script(stream: Stream) -> None:
        while stream.message()[0]:
            for at in range(len(sent)):
                stream.send(sent[at : at + 1])

    stream = shared.balancer(shared.origin(script)).connect().send(GET)
    if case == "chunks":
        assert stream.message()[1] == b"okabc"
    else:
        assert stream.exactly(len(expected)) == expected


def test_body_without_length_ends_with_connection(balancer: Balancer, answers: Answers) -> None:
    answers.set(START + b"\r\nhello", close=True)
    stream = balancer.connect().send(GET)
    head, body = stream.message()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    assert body == b"hello"
    answers.set(OK)
    assert stream.send(GET).message()[1] == b"ok"


HEAD_ANSWERS = {
    "with a length": (START + b"Content-Length: 5\r\n\r\n", START + b"Content-Length: 5\r\n\r\n"),
    "with chunks": (START + b"Transfer-Encoding: chunked\r\n\r\n", START + b"\r\n"),
    "with neither": (START + b"\r\n", START + b"\r\n"),
}


@pytest.mark.parametrize("case", HEAD_ANSWERS)
def test_response_to_head_has_no_body(balancer: Balancer, answers: Answers, case: str) -> None:
    """Whatever its headers say."""
    sent, expected = HEAD_ANSWERS[case]
    answers.set(sent)
    stream = balancer.connect()
    for _twice in range(2):
        stream.send(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert stream.exactly(len(expected)) == expected


HTTP_1_0_CLIENTS = {
    "length": (START + b"Content-Length: 2\r\n\r\nok", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", True),
    "chunks": (START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", True),
    "chunks, keep-alive asked for": (
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"Connection: keep-alive\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", True),
    "length, keep-alive asked for": (
        START + b"Content-Length: 2\r\n\r\nok", b"Connection: keep-alive\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", False),
    "no interim response": (
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + START + b"Content-Length: 2\r\n\r\nok", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", True),
}  # fmt: skip


@pytest.mark.parametrize("case", HTTP_1_0_CLIENTS)
def test_http_1_0_client_gets_plain_response(balancer: Balancer, answers: Answers, case: str) -> None:
    """Neither chunks nor interim responses."""
    sent, asked, expected, closes = HTTP_1_0_CLIENTS[case]
    answers.set(sent)
    stream = balancer.connect().send(b"GET / HTTP/1.0\r\nHost: old\r\n" + asked + b"\r\n")
    assert stream.exactly(len(expected)) == expected
    if closes:
        assert stream.closed()


def test_http_1_0_client_notices_truncation(balancer: Balancer, answers: Answers) -> None:
    answers.set(TRUNCATED["in a chunk"], close=True)
    stream = balancer.connect().send(b"GET / HTTP/1.0\r\nHost: old\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        b"".join(iter(lambda: stream.sock.recv(1000), b""))


def test_junk_on_idle_connection_drops_it(shared: World) -> None:
    def script(stream: Stream) -> None:
        stream.message()
        stream.send(START + b"Content-Length: 2\r\n\r\nok")
        shared.until(lambda: front.status()["backends"][0]["connections"]["idle"] == 1)
        stream.send(START + b"Content-Length: 4\r\n\r\nevil")
        stream.rest()

    origin = shared.origin(script)
    front = shared.balancer(origin)
    assert front.get()[1] == b"ok"
    shared.until(lambda: front.status()["backends"][0]["connections"]["open"] == 0)
    assert front.get()[1] == b"ok"
    assert origin.connections == 2


def test_backend_connection_close_stays_local(balancer: Balancer, answers: Answers, origin: Origin) -> None:
    answers.set(START + b"Connection: close\r\nContent-Length: 2\r\n\r\nok")
    stream = balancer.connect().send(GET)
    assert b"onnection" not in stream.message()[0]
    before = origin.connections
    assert stream.send(GET).message()[1] == b"ok"
    assert origin.connections == before + 1
    stream.close()


@pytest.mark.parametrize("connection", [b"", b"Connection: x\r\n"], ids=["plain", "parsed"])
def test_empty_lines_after_response_are_ignored(world: World, connection: bytes) -> None:
    """However the response was cut into reads."""
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\n" + connection + b"Content-Length: 2\r\n\r\no")
        go_on.wait()
        stream.send(b"k\r\n")
        stream.message()
        stream.send(OK)

    stream = world.balancer(world.origin(script)).connect().send(GET)
    assert stream.head().startswith(b"HTTP/1.1 200 ")
    assert stream.exactly(1) == b"o"
    go_on.set()
    assert stream.exactly(1) == b"k"
    assert stream.send(GET).head().startswith(b"HTTP/1.1 200 ")
