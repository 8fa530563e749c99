"""What backends may answer: malformed responses become 502 and are never passed on in part, good ones arrive unchanged."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, Stream, World

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class Answers:
    """A script that gives what the test has put down; closes afterwards if told to."""

    def __init__(self) -> None:
        self.data = b""
        self.close = False

    def __call__(self, stream: Stream) -> None:
        while stream.message()[0]:
            stream.send(self.data)
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


START = b"HTTP/1.1 200 OK\r\n"
MALFORMED = {
    "no HTTP at all": b"SSH-2.0-x\r\n",
    "another protocol": b"ICY 200 OK\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "upgrade that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "101 without upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "space before the colon of content-length": START + b"Content-Length : 2\r\n\r\nok",
    "space in a name": START + b"X Y: 1\r\nContent-Length: 2\r\n\r\nok",
    "empty name": START + b": 1\r\nContent-Length: 2\r\n\r\nok",
    "control character in a value": START + b"X: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a value": START + b"X: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "bare CR in a value": START + b"X: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "control character in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
    "two content-lengths": START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "list of content-lengths": START + b"Content-Length: 2, 2\r\n\r\nok",
    "signed content-length": START + b"Content-Length: +2\r\n\r\nok",
    "content-length with transfer-encoding": START + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "unknown coding": START + b"Transfer-Encoding: xchunked\r\n\r\nok",
    "coding before chunked": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "transfer-encoding twice": START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "transfer-encoding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "connection nominates content-length": START + b"Connection: content-length\r\nContent-Length: 2\r\n\r\nok",
    "junk after the body": START + b"Content-Length: 2\r\n\r\nokjunk",
    "a second response": START + b"Content-Length: 2\r\n\r\nok" + START + b"Content-Length: 4\r\n\r\nevil",
    "bad chunk at once": START + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
    "head too large": START + b"X: " + b"a" * 5000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "head without end": START + b"X: a\r\n" * 1000,
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_response_becomes_502_and_its_connection_is_closed(balancer: Balancer, origin: Origin, answers: Answers, case: str) -> None:
    answers.data, answers.close = MALFORMED[case], False
    before = origin.connections
    head, body = balancer.ask(GET)
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert body == b"502 Bad Gateway: the backend's response was not valid\n"
    assert balancer.status()["backends"][0]["connections"]["open"] == 0
    answers.data = START + b"Content-Length: 2\r\n\r\nok"
    assert balancer.ask(GET)[1] == b"ok"
    assert origin.connections > before


EARLY_ENDS = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "half a head": START + b"Content-Le",
    "only an interim response": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("case", EARLY_ENDS)
def test_a_connection_closed_before_the_end_of_the_head_becomes_502(balancer: Balancer, answers: Answers, case: str) -> None:
    answers.data, answers.close = EARLY_ENDS[case], True
    stream = balancer.connect().send(GET)
    head = stream.head()
    while head.startswith(b"HTTP/1.1 1"):
        head = stream.head()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert stream.exactly(70).startswith(b"502 Bad Gateway: the backend closed the connection before it answered")


CUT_OFF = {
    "by length": START + b"Content-Length: 15\r\n\r\nhello",
    "in a chunk": START + b"Transfer-Encoding: chunked\r\n\r\na\r\nhello",
    "between chunks": START + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


@pytest.mark.parametrize("case", CUT_OFF)
def test_a_body_that_is_cut_off_breaks_the_clients_connection_without_a_clean_end(balancer: Balancer, answers: Answers, case: str) -> None:
    answers.data, answers.close = CUT_OFF[case], True
    stream = balancer.connect().send(GET)
    received = stream.rest()
    assert b"0\r\n\r\n" not in received
    assert not received.endswith(b"helloworld")


def test_a_broken_chunk_after_the_head_breaks_the_clients_connection(shared: World) -> None:
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
    "compressed body as it is": (
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
    "bare LF written anew": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", START + b"Content-Length: 2\r\n\r\nok"),
    "folded header written anew": (START + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok", START + b"X: a b\r\nContent-Length: 2\r\n\r\nok"),
    "204 without length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304 keeps its length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    "status without a name": (b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n"),
    "early hints": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + START + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + START + b"Content-Length: 0\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSED_ON)
def test_a_good_response_arrives_as_it_was(balancer: Balancer, answers: Answers, case: str) -> None:
    sent, expected = PASSED_ON[case]
    answers.data, answers.close = sent, False
    stream = balancer.connect().send(GET)
    assert stream.exactly(len(expected)) == expected
    stream.send(GET)
    assert stream.exactly(len(expected)) == expected  # and the connection goes on, with nothing left over


@pytest.mark.parametrize("case", ["early hints", "204 without length", "chunks", "bare LF written anew"])
def test_a_response_may_arrive_byte_by_byte(shared: World, case: str) -> None:
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


def test_the_end_of_a_connection_ends_a_body_without_length(balancer: Balancer, answers: Answers) -> None:
    answers.data, answers.close = START + b"\r\nhello", True
    stream = balancer.connect().send(GET)
    head, body = stream.message()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in head
    assert body == b"hello"
    answers.data, answers.close = START + b"Content-Length: 2\r\n\r\nok", False
    assert stream.send(GET).message()[1] == b"ok"


HEAD_ANSWERS = {
    "with a length": (START + b"Content-Length: 5\r\n\r\n", START + b"Content-Length: 5\r\n\r\n"),
    "with chunks": (START + b"Transfer-Encoding: chunked\r\n\r\n", START + b"\r\n"),
    "with neither": (START + b"\r\n", START + b"\r\n"),
}


@pytest.mark.parametrize("case", HEAD_ANSWERS)
def test_a_response_to_head_has_no_body_whatever_its_headers_say(balancer: Balancer, answers: Answers, case: str) -> None:
    sent, expected = HEAD_ANSWERS[case]
    answers.data, answers.close = sent, False
    stream = balancer.connect()
    for _twice in range(2):
        stream.send(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert stream.exactly(len(expected)) == expected


OLD = {
    "length": (START + b"Content-Length: 2\r\n\r\nok", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", True),
    "chunks": (START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", True),
    "chunks, keep-alive asked for": (
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"Connection: keep-alive\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", True),
    "length, keep-alive asked for": (
        START + b"Content-Length: 2\r\n\r\nok", b"Connection: keep-alive\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", False),
    "no interim response": (
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + START + b"Content-Length: 2\r\n\r\nok", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", True),
}  # fmt: skip


@pytest.mark.parametrize("case", OLD)
def test_an_http_1_0_client_gets_neither_chunks_nor_interim_responses(balancer: Balancer, answers: Answers, case: str) -> None:
    sent, asked, expected, closes = OLD[case]
    answers.data, answers.close = sent, False
    stream = balancer.connect().send(b"GET / HTTP/1.0\r\nHost: old\r\n" + asked + b"\r\n")
    assert stream.exactly(len(expected)) == expected
    if closes:
        assert stream.closed()


def test_an_http_1_0_client_can_tell_a_response_that_was_cut_off(balancer: Balancer, answers: Answers) -> None:
    answers.data, answers.close = CUT_OFF["in a chunk"], True
    stream = balancer.connect().send(b"GET / HTTP/1.0\r\nHost: old\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        b"".join(iter(lambda: stream.sock.recv(1000), b""))


def test_junk_on_an_idle_connection_drops_it(shared: World) -> None:
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


def test_connection_close_of_a_backend_is_for_its_own_connection_only(balancer: Balancer, answers: Answers, origin: Origin) -> None:
    answers.data, answers.close = START + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", False
    stream = balancer.connect().send(GET)
    assert b"onnection" not in stream.message()[0]
    before = origin.connections
    assert stream.send(GET).message()[1] == b"ok"
    assert origin.connections == before + 1
    stream.close()
