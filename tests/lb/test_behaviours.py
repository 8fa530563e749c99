"""Proxy behaviour beyond single messages, after the test suites of Pingora, Go and Caddy: cancellation, and what goes end to end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lb.conftest import Balancer, Stream, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
EXPECTING = b"POST / HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MEGABYTE = 2**20


def never_answer(stream: Stream) -> None:
    stream.rest()


def download(stream: Stream) -> None:
    stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        stream.send(b"a" * MEGABYTE)


def stream_slowly(stream: Stream) -> None:
    stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    stream.rest()


def hint(stream: Stream) -> None:
    stream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    stream.rest()


CLIENT_LEAVES: dict[str, tuple[bytes, Callable[[Stream], None]]] = {
    "unanswered GET": (GET, never_answer),
    "unanswered POST": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n", never_answer),
    "after an interim response": (GET, hint),
    "during upload by length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1000\r\n\r\nabc", never_answer),
    "during chunked upload": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", never_answer),
    "waiting for 100": (EXPECTING, never_answer),
    "during download": (GET, download),
    "between chunks of a stream": (GET, stream_slowly),
}


@pytest.mark.parametrize("case", CLIENT_LEAVES)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_backend_is_cancelled_when_client_leaves(world: World, case: str, how: str) -> None:
    request, act = CLIENT_LEAVES[case]
    begun, ended = threading.Event(), threading.Event()

    def script(stream: Stream) -> None:
        stream.head()
        begun.set()
        try:
            act(stream)
        finally:
            ended.set()

    balancer = world.balancer(world.origin(script), circuit_breaker={"failure_threshold": 1}, timeouts={"body_idle": "1h", "first_byte": "1h"})
    client = balancer.connect().send(request)
    assert begun.wait(PATIENCE)
    if act is not never_answer:
        client.head()
    getattr(client, how)()
    assert ended.wait(PATIENCE), "the backend was left to work"
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 0)
    world.until(lambda: balancer.status()["backends"][0]["connections"]["open"] == 0)
    assert balancer.status()["backends"][0]["available"]
    assert balancer.sum("balance_circuit_breaker_failures_total", 'backend="a"') == 0


BACKEND_DIES = {
    "before the head": (b"", 502, False),
    "within the head": (b"HTTP/1.1 200 OK\r\nX:", 502, False),
    "after an interim response": (b"HTTP/1.1 103 Early Hints\r\n\r\n", 502, False),
    "after the head": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, True),
    "after a chunked head": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, True),
}


@pytest.mark.parametrize("case", BACKEND_DIES)
@pytest.mark.parametrize("upload", [b"", b"Content-Length: 100000000\r\n"], ids=["no body", "during upload"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_dying_backend_becomes_502_or_abort(world: World, case: str, upload: bytes, how: str) -> None:
    """502 before the response head, an aborted connection after it."""
    sent, status, aborted = BACKEND_DIES[case]
    noticed = threading.Event()

    def script(stream: Stream) -> None:
        stream.head()
        stream.send(sent)
        if aborted:
            noticed.wait(PATIENCE)
        getattr(stream, how)()

    balancer = world.balancer(world.origin(script), retry=False)
    client = balancer.connect().send(b"POST / HTTP/1.1\r\n" + H + upload + b"\r\n" + b"abc" * bool(upload))
    head = client.head()
    while head.startswith(b"HTTP/1.1 103 "):
        head = client.head()
    assert int(head.split(b" ")[1]) == status
    noticed.set()
    if aborted:
        assert client.rest() == b""
        world.until(lambda: [line["reason"] for line in balancer.access()] == ["response_truncated"])
    world.until(lambda: balancer.status()["backends"][0]["connections"]["open"] == 0)


def test_head_request_with_expect_keeps_connection(world: World) -> None:
    """HEAD with `Expect: 100-continue` gets one head, and the connection stays usable."""

    def script(stream: Stream) -> None:
        while stream.message(bodiless=True)[0]:
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")

    client = world.balancer(world.origin(script)).connect()
    for _twice in range(2):
        client.send(b"HEAD / HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\n\r\n")
        assert client.head() == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def test_refused_expectation_closes_connection(world: World) -> None:
    """Whether the body follows the final answer is unknown, so it must not be read as a request."""

    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        origin.bodies.append(stream.rest())

    origin = world.origin(script)
    client = world.balancer(origin).connect().send(EXPECTING.replace(b"5", b"36"))
    head, body = client.message()
    assert (head.split(b" ")[1], body) == (b"401", b"no")
    assert b"\r\nConnection: close\r\n" in head
    client.send(b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n")
    assert client.closed()
    world.until(lambda: origin.bodies == [b""], "the end of the backend's connection")
    assert origin.connections == 1


def test_client_not_waiting_for_100_still_gets_it(world: World) -> None:
    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert stream.exactly(5) == b"hello"
        stream.send(OK)

    client = world.balancer(world.origin(script)).connect().send(EXPECTING + b"hello")
    assert client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.message()[1] == b"ok"


def test_server_sent_events_pass_unbuffered(world: World) -> None:
    """Each event is passed on as it comes, and a long poll is not cut off by the body timeout."""
    steps = [threading.Event() for _event in range(3)]

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")  # to the end of the connection
        for number, step in enumerate(steps):
            step.wait(PATIENCE)
            stream.send(b"data: %d\n\n" % number)

    client = world.balancer(world.origin(script), timeouts={"first_byte": "1h", "response_idle": "1h", "body_idle": "50ms"}).connect().send(GET)
    assert client.head() == b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    for number, step in enumerate(steps):
        step.set()
        assert client.exactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
    assert client.exactly(5) == b"0\r\n\r\n"


def test_pipelined_responses_stay_in_order(world: World) -> None:
    """The first request takes longest."""
    later = threading.Event()

    def script(stream: Stream) -> None:
        while head := stream.message()[0]:
            target = head.split(b" ")[1]
            if target == b"/0":
                later.wait(PATIENCE)
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + target)

    origins = [world.origin(script) for _backend in range(3)]
    client = world.balancer(*origins).connect()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\n" % number + H + b"\r\n" for number in range(5)))
    world.until(lambda: any(origin.heads for origin in origins))
    later.set()
    assert [client.message()[1] for _request in range(5)] == [b"/%d" % number for number in range(5)]


def resident(balancer: Balancer) -> int:
    """Resident bytes according to the kernel, for a balancer that may be too busy to answer."""
    return int(Path(f"/proc/{balancer.process.pid}/statm").read_text().split()[1]) * 4096


def test_stalled_download_waits_at_origin(world: World) -> None:
    """200 MB for a client that stops reading stay at the origin instead of filling memory."""
    size = 200 * MEGABYTE
    sent = [0]

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _piece in range(200):
            stream.send(b"a" * MEGABYTE)
            sent[0] += 1

    balancer = world.balancer(world.origin(script))
    before, samples = resident(balancer), [0]
    client = balancer.connect().send(GET)
    client.head()

    def still() -> bool:
        samples.append(resident(balancer))
        counts.append(sent[0])
        return len(counts) > 40 and len(set(counts[-40:])) == 1

    counts: list[int] = []
    world.until(still, "a standstill")
    assert sent[0] < 64
    assert max(samples) - before < 8 * MEGABYTE
    assert client.skip(size) == size
    assert resident(balancer) - before < 16 * MEGABYTE
