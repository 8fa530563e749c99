"""Streaming of bodies both ways in bounded memory, and reuse and closing of connections."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Stream, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
MEGABYTE = 2**20


def resident(balancer: Balancer) -> float:
    return balancer.metric("process_resident_memory_bytes")


def test_response_chunks_are_passed_on_at_once(world: World) -> None:
    pieces = [threading.Event() for _piece in range(3)]

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number, piece in enumerate(pieces):
            piece.wait()
            stream.send(b"1\r\n%d\r\n" % number)
        stream.send(b"0\r\n\r\n")

    stream = world.balancer(world.origin(script)).connect().send(GET)
    assert stream.head().startswith(b"HTTP/1.1 200 ")
    for number, piece in enumerate(pieces):
        piece.set()
        assert stream.exactly(6) == b"1\r\n%d\r\n" % number
    assert stream.exactly(5) == b"0\r\n\r\n"


def test_request_chunks_are_passed_on_at_once(world: World) -> None:
    seen: list[bytes] = []

    def script(stream: Stream) -> None:
        stream.head()
        for _piece in range(3):
            stream.until(b"\r\n")
            seen.append(stream.until(b"\r\n"))
        assert stream.exactly(5) == b"0\r\n\r\n"
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    stream = world.balancer(world.origin(script)).connect()
    stream.send(b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n")
    for number in range(3):
        stream.send(b"1\r\n%d\r\n" % number)
        world.until(lambda: len(seen) > number, "the piece at the origin")  # noqa: B023 -- called at once
    assert stream.send(b"0\r\n\r\n").head().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("coding", [b"Content-Length: %d\r\n" % (64 * MEGABYTE), b""], ids=["by length", "until the end"])
def test_slow_client_holds_backend_back(world: World, coding: bytes) -> None:
    """The response waits in the origin instead of filling memory."""
    sent = [0]

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\n" + coding + b"\r\n")
        for _piece in range(64):
            stream.send(b"a" * MEGABYTE)
            sent[0] += MEGABYTE

    balancer = world.balancer(world.origin(script))
    before = resident(balancer)
    stream = balancer.connect().send(GET)
    stream.head()
    steady(world, lambda: sent[0])
    assert sent[0] < 32 * MEGABYTE  # the rest waits in the origin: socket buffers hold a few
    assert resident(balancer) - before < 8 * MEGABYTE
    if coding:
        assert stream.skip(64 * MEGABYTE) == 64 * MEGABYTE
    else:
        received = 0
        while size := int(stream.until(b"\r\n"), 16):
            received += stream.skip(size)
            stream.skip(2)
        assert received == 64 * MEGABYTE
    assert resident(balancer) - before < 16 * MEGABYTE


def test_slow_backend_holds_client_back(world: World) -> None:
    """The upload waits at the client instead of filling memory."""
    go_on = threading.Event()
    total = 64 * MEGABYTE

    def script(stream: Stream) -> None:
        stream.head()
        go_on.wait()
        assert stream.skip(total) == total
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    balancer = world.balancer(world.origin(script))
    before = resident(balancer)
    stream = balancer.connect().send(b"POST / HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % total)
    sent = [0]

    def upload() -> None:
        for _piece in range(64):
            stream.send(b"a" * MEGABYTE)
            sent[0] += MEGABYTE

    uploading = threading.Thread(target=upload)
    uploading.start()
    steady(world, lambda: sent[0])
    assert sent[0] < 32 * MEGABYTE
    assert resident(balancer) - before < 8 * MEGABYTE
    go_on.set()
    uploading.join()
    assert stream.head().startswith(b"HTTP/1.1 200 ")
    assert balancer.metric("balance_http_request_size_bytes_sum") == total


def steady(world: World, value: Callable[[], int]) -> None:
    """Wait until a number has not changed for twenty samples."""
    looks: list[int] = []

    def still() -> bool:
        looks.append(value())
        return looks[-1] > 0 and len(looks) > 20 and len(set(looks[-20:])) == 1

    world.until(still, "a standstill")


def test_unread_pipelining_is_bounded_in_memory(world: World) -> None:
    balancer = world.balancer(world.origin(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000))
    before = resident(balancer)
    stream = balancer.connect().send(GET * 200)
    answered = 'balance_http_requests_total{method="GET",status="200"}'
    steady(world, lambda: int(balancer.metric(answered)))
    assert balancer.metric(answered) < 100
    assert resident(balancer) - before < 8 * MEGABYTE
    for _request in range(200):
        assert len(stream.message()[1]) == 200_000


def test_client_abort_cancels_backend_request(world: World) -> None:
    """The backend is not blamed for it."""
    gone = threading.Event()

    def script(stream: Stream) -> None:
        stream.message()
        stream.rest()
        gone.set()

    balancer = world.balancer(world.origin(script), circuit_breaker={"failure_threshold": 1})
    stream = balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 1)
    stream.close()
    assert gone.wait(15)
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 0)
    assert balancer.metric('balance_circuit_breaker_failures_total{backend="a"}') == 0
    assert balancer.metric('balance_backend_requests_total{backend="a",status_class="none"}') == 1
    assert balancer.status()["backends"][0]["available"]
    world.until(lambda: [line["reason"] for line in balancer.access()] == ["client_abort"])


@pytest.mark.parametrize("moment", ["while connecting or waiting", "during the response body", "during the request body"])
def test_client_may_abort_at_any_time(world: World, moment: str) -> None:
    def script(stream: Stream) -> None:
        stream.message()
        if "response" in moment:
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while True:
                stream.send(b"a" * MEGABYTE)
        stream.rest()

    balancer = world.balancer(world.origin(script), circuit_breaker={"failure_threshold": 1})
    for _client in range(20):
        stream = balancer.connect()
        if "request" in moment:
            stream.send(b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1000\r\n\r\nabc")
        else:
            stream.send(GET)
        if "response" in moment:
            stream.head()
        stream.reset()
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 0)
    world.until(lambda: balancer.status()["connections"]["active"] == 0)
    world.until(lambda: balancer.status()["backends"][0]["connections"]["open"] == 0)
    assert balancer.status()["backends"][0]["available"]


def test_connections_are_reused_on_both_sides(world: World) -> None:
    origin = world.origin()
    balancer = world.balancer(origin)
    stream = balancer.connect()
    for _request in range(10):
        assert stream.send(GET).message()[1] == b"ok"
    assert origin.connections == 1
    assert balancer.metric("balance_connections_total") == 1
    assert balancer.metric("balance_active_connections") == 1
    assert balancer.metric('balance_backend_connections{backend="a"}') == 1


def test_expect_100_continue_is_end_to_end(world: World) -> None:
    def script(stream: Stream) -> None:
        head = stream.head()
        assert b"\r\nExpect: 100-continue\r\n" in head
        stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = stream.exactly(5)
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    stream = world.balancer(world.origin(script)).connect()
    stream.send(b"POST / HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert stream.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert stream.send(b"hello").message()[1] == b"hello"


def test_early_final_response_closes_connection(world: World) -> None:
    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        stream.rest()

    balancer = world.balancer(world.origin(script))
    stream = balancer.connect().send(b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1000000\r\n\r\nabc")
    head, body = stream.message()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in head
    assert body == b"no"
    assert stream.closed()
    world.until(lambda: balancer.status()["backends"][0]["connections"]["open"] == 0)


def test_full_duplex(world: World) -> None:
    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _piece in range(3):
            size = int(stream.until(b"\r\n"), 16)
            data = stream.exactly(size + 2)
            stream.send(b"%x\r\n%b" % (size, data))
        stream.send(b"0\r\n\r\n")

    stream = world.balancer(world.origin(script)).connect()
    stream.send(b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n")
    stream.send(b"3\r\none\r\n")
    assert stream.head().startswith(b"HTTP/1.1 200 ")
    for word in (b"one", b"two", b"six"):
        if word != b"one":
            stream.send(b"3\r\n" + word + b"\r\n")
        assert stream.exactly(8) == b"3\r\n" + word + b"\r\n"
    assert stream.exactly(5) == b"0\r\n\r\n"


def test_response_outlives_deadline_of_finished_upload(world: World) -> None:
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        assert stream.exactly(2) == b"ab"
        go_on.wait()
        stream.send(b"ok")

    balancer = world.balancer(world.origin(script), timeouts={"body_idle": "1s", "request_header": "1s"})
    other = balancer.connect().send(GET.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\na"))
    assert other.head().startswith(b"HTTP/1.1 200 ")
    other.send(b"b")
    assert balancer.connect().rest() == b""  # closed by a deadline that was set later and is as long
    go_on.set()
    assert other.exactly(2) == b"ok"


def test_flowing_response_survives_stalled_upload(world: World) -> None:
    """`response_idle` does not apply to an upload that the backend does not read."""
    ticks = threading.Semaphore(0)

    def script(stream: Stream) -> None:
        stream.head()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _piece in range(20):
            ticks.acquire(timeout=0.2)  # never released: a pause between pieces; together they take longer than the timeout
            stream.send(b"x")

    balancer = world.balancer(world.origin(script), timeouts={"response_idle": "1s"})
    stream = balancer.connect().send(b"POST / HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % (100 * MEGABYTE))
    assert stream.head().startswith(b"HTTP/1.1 200 ")
    uploading = threading.Thread(target=_endlessly, args=(stream,))
    uploading.start()
    assert stream.exactly(20) == b"x" * 20
    stream.close()
    uploading.join()


def _endlessly(stream: Stream) -> None:
    with contextlib.suppress(OSError):
        while True:
            stream.sock.sendall(b"a" * MEGABYTE)


def test_uploads_of_many_sizes(world: World) -> None:
    origin = world.origin()
    balancer = world.balancer(origin)
    stream = balancer.connect()
    for size in (0, 1, 1000, 65_536, 300_000, 2 * MEGABYTE):
        stream.send(b"PUT / HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        assert stream.message()[1] == b"ok"
        assert origin.bodies[-1] == b"x" * size
    assert origin.connections == 1
