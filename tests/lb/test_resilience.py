"""Failing backends: retries, the circuit breaker, the queue, timeouts, and their metrics."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from .conftest import PATIENCE

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Stream, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % len(body) + body


def closing(stream: Stream) -> None:
    """Read a request and close without an answer."""
    stream.message()


def silent(stream: Stream) -> None:
    """Read a request and never answer."""
    stream.message()
    stream.rest()


def attempts(balancer: Balancer, backend: str, outcome: str) -> float:
    return balancer.metric(f'balance_backend_requests_total{{backend="{backend}",status_class="{outcome}"}}')


def test_failed_connection_is_retried_for_any_method(world: World) -> None:
    """The request never reached a backend."""
    good = world.origin()
    balancer = world.balancer(world.free_port(), good)
    for _request in range(4):
        assert balancer.ask(post(b"hello"))[1] == b"ok"
    assert good.bodies == [b"hello"] * 4
    assert attempts(balancer, "a", "none") == balancer.metric('balance_backend_retries_total{backend="b"}') > 0
    assert balancer.metric('balance_circuit_breaker_failures_total{backend="a"}') == attempts(balancer, "a", "none")


REPEATED = {"GET": GET, "HEAD": GET.replace(b"GET", b"HEAD"), "DELETE": GET.replace(b"GET", b"DELETE"), "OPTIONS": GET.replace(b"GET", b"OPTIONS")}


@pytest.mark.parametrize("method", REPEATED)
def test_idempotent_request_is_retried_after_hangup(world: World, method: str) -> None:
    bad, good = world.origin(closing), world.origin(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    balancer = world.balancer(bad, good)
    for _request in range(4):
        assert balancer.ask(REPEATED[method])[0].startswith(b"HTTP/1.1 200 ")
    assert len(bad.heads) == balancer.metric('balance_backend_retries_total{backend="b"}') > 0


NOT_REPEATED = {
    "POST without body": GET.replace(b"GET", b"POST"),
    "PATCH": GET.replace(b"GET", b"PATCH"),
    "PUT with a sent body": post(b"hello").replace(b"POST", b"PUT"),
}


@pytest.mark.parametrize("case", NOT_REPEATED)
def test_possibly_executed_request_is_not_retried(world: World, case: str) -> None:
    bad = world.origin(closing)
    balancer = world.balancer(bad, circuit_breaker=False)
    head, body = balancer.ask(NOT_REPEATED[case])
    assert head.startswith(b"HTTP/1.1 502 ")
    assert body == b"502 Bad Gateway: the backend closed the connection before it responded\n"
    assert len(bad.heads) == 1
    assert balancer.metric('balance_backend_retries_total{backend="a"}') == 0


def test_attempts_are_limited(world: World) -> None:
    bad = world.origin(closing)
    balancer = world.balancer(bad, retry={"max_attempts": 4}, circuit_breaker=False)
    assert balancer.get()[0].startswith(b"HTTP/1.1 502 ")
    assert len(bad.heads) == 4
    assert balancer.metric('balance_backend_retries_total{backend="a"}') == 3
    assert attempts(balancer, "a", "none") == 4
    assert balancer.metric('balance_http_requests_total{method="GET",status="502"}') == 1


def test_retry_off_means_one_attempt(world: World) -> None:
    bad = world.origin(closing)
    balancer = world.balancer(bad, retry=False, circuit_breaker=False)
    assert balancer.get()[0].startswith(b"HTTP/1.1 502 ")
    assert len(bad.heads) == 1


def test_budget_limits_retries(world: World) -> None:
    retry = {"max_attempts": 2, "budget_percent": 0, "budget_per_second": 3, "backoff_base": "1m", "backoff_max": "1m"}
    balancer = world.balancer(world.free_port(), circuit_breaker=False, retry=retry)
    streams = [balancer.connect().send(GET) for _client in range(8)]
    world.until(lambda: balancer.metric('balance_http_requests_total{method="GET",status="502"}') == 5)
    assert balancer.status()["requests"]["retrying"] == 3  # the floor
    for stream in streams:
        stream.close()
    world.until(lambda: balancer.status()["requests"] == {"in_flight": 0, "retrying": 0, "queued": 0})


def test_budget_covers_failures_that_open_breaker(world: World) -> None:
    """Five requests in flight fail at once; the retries are answered only once all of them have arrived."""
    dropped, arrived = threading.Barrier(5), threading.Barrier(10)

    def dropping(stream: Stream) -> None:
        stream.message()
        dropped.wait(PATIENCE)
        stream.reset()

    def waiting(stream: Stream) -> None:
        stream.message()
        arrived.wait(PATIENCE)
        stream.send(OK)

    balancer = world.balancer(world.origin(dropping), world.origin(waiting))
    streams = [balancer.connect().send(GET) for _client in range(10)]
    assert [stream.message()[1] for stream in streams] == [b"ok"] * 10


ERROR_500 = {
    "whole": b"HTTP/1.1 500 Sad\r\nContent-Length: 3\r\n\r\nsad",
    "chunked": b"HTTP/1.1 500 Sad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsad\r\n0\r\n\r\n",
    "unfinished body": b"HTTP/1.1 500 Sad\r\nContent-Length: 9\r\n\r\nsad",
    "ends with the connection": b"HTTP/1.0 500 Sad\r\n\r\nsad",
}


@pytest.mark.parametrize("form", ERROR_500)
def test_idempotent_request_is_retried_after_listed_status(world: World, form: str) -> None:
    bad, good = world.origin(ERROR_500[form]), world.origin()
    balancer = world.balancer(bad, good, retry={"on_status": [500, 502], "backoff_base": "1ms"})
    for _request in range(4):
        assert balancer.get()[1] == b"ok"
    assert len(bad.heads) == attempts(balancer, "a", "5xx") == balancer.metric('balance_backend_retries_total{backend="b"}') > 0
    assert balancer.metric('balance_retries_total{reason="bad_status"}') == balancer.metric("balance_retry_success_total") == len(bad.heads)
    assert balancer.metric('balance_http_requests_total{method="GET",status="200"}') == 4
    world.until(lambda: [(line["status"], line["backend"]) for line in balancer.access()] == [(200, "b")] * 4)


def test_last_response_is_passed_on(world: World) -> None:
    bad = world.origin(ERROR_500["whole"])
    balancer = world.balancer(bad, retry={"on_status": 500, "max_attempts": 2, "backoff_base": "1ms"})
    assert balancer.get()[1] == b"sad"
    assert len(bad.heads) == 2
    assert balancer.metric('balance_retries_exhausted_total{reason="attempts"}') == 1
    assert balancer.ask(GET.replace(b"GET", b"POST"))[1] == b"sad"
    assert len(bad.heads) == 3
    assert balancer.metric('balance_retries_exhausted_total{reason="unsafe"}') == 1


def test_response_that_opens_last_breaker_is_passed_on(world: World) -> None:
    breaker = {"failure_threshold": 1, "open_for": "1h"}
    balancer = world.balancer(world.origin(ERROR_500["whole"]), failing_status="500", circuit_breaker=breaker, retry={"on_status": 500})
    assert balancer.get()[1] == b"sad"
    assert balancer.metric('balance_retries_exhausted_total{reason="no_backend"}') == 1


@pytest.mark.parametrize(("failing", "expected"), [("502-504", "closed"), ([500, "502-504"], "open")])
def test_failing_status_decides_what_counts(world: World, failing: object, expected: str) -> None:
    bad = world.origin(ERROR_500["whole"])
    balancer = world.balancer(bad, failing_status=failing, circuit_breaker={"failure_threshold": 1}, outlier_detection={"consecutive_failures": 1})
    assert balancer.get()[1] == b"sad"
    assert balancer.status()["backends"][0]["circuit_breaker"] == expected
    ejections = balancer.metric('balance_backend_ejections_total{backend="a",reason="consecutive_failures"}')
    assert bool(ejections) is (expected == "open")


def test_closed_idle_connection_costs_nothing(world: World) -> None:
    """The origin closes after having read the second request, as if its idle timeout had expired just then."""

    def script(stream: Stream) -> None:
        stream.message()
        stream.send(OK)
        stream.message()

    origin = world.origin(script)
    balancer = world.balancer(origin, retry=False, circuit_breaker={"failure_threshold": 1})
    stream = balancer.connect()
    for _request in range(5):
        assert stream.send(GET).message()[1] == b"ok"
    assert origin.connections == 5
    assert attempts(balancer, "a", "2xx") == 5
    assert attempts(balancer, "a", "none") == 0
    assert balancer.status()["backends"][0]["circuit_breaker"] == "closed"
    assert stream.send(GET.replace(b"GET", b"POST")).message()[0].startswith(b"HTTP/1.1 502 ")  # not repeatable
    assert balancer.status()["backends"][0]["circuit_breaker"] == "closed"


def test_breaker_opens_probes_and_closes(world: World) -> None:
    healthy = threading.Event()

    def script(stream: Stream) -> None:
        while stream.message()[0]:
            stream.send(OK if healthy.is_set() else b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")

    origin = world.origin(script)
    balancer = world.balancer(origin, circuit_breaker={"failure_threshold": 3, "success_threshold": 2, "open_for": "300ms"})
    state = 'balance_circuit_breaker_state{backend="a",state="%s"}'
    for _request in range(3):
        assert balancer.get()[1] == b"busy"
    assert balancer.metric(state % "open") == 1
    assert balancer.metric(state % "closed") == 0
    assert balancer.metric('balance_circuit_breaker_failures_total{backend="a"}') == 3
    balancer.event("breaker", backend="a", state="open")
    healthy.set()
    world.until(lambda: balancer.get()[1] == b"ok")
    balancer.event("breaker", backend="a", state="half_open")
    assert balancer.get()[1] == b"ok"
    assert balancer.metric(state % "closed") == 1
    assert attempts(balancer, "a", "5xx") == 3


def test_open_breaker_blocks_requests(world: World) -> None:
    origin = world.origin(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
    balancer = world.balancer(origin, circuit_breaker={"failure_threshold": 1, "open_for": "1h"})
    assert balancer.get()[1] == b"busy"
    head, body = balancer.get()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in head
    assert body == b"503 Service Unavailable: no backend is available\n"
    assert len(origin.heads) == 1


def test_open_breaker_affects_readiness(world: World) -> None:
    """Requests go to the other backend; without one, the balancer is not ready."""
    balancer = world.balancer(world.free_port(), world.origin(), circuit_breaker={"failure_threshold": 1, "open_for": "1h"})
    for _request in range(4):
        assert balancer.get()[1] == b"ok"
    assert attempts(balancer, "a", "none") == 1
    assert balancer.admin("/ready")[0] == 200
    alone = world.balancer(world.free_port(), circuit_breaker={"failure_threshold": 1, "open_for": "1h"}, retry=False)
    assert alone.get()[1] == b"502 Bad Gateway: connection to the backend was refused\n"
    assert alone.admin("/ready") == (503, "no backend is available\n")


def test_requests_beyond_connection_limit_queue(world: World) -> None:
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        while stream.message()[0]:
            go_on.wait()
            stream.send(OK)

    origin = world.origin(script)
    balancer = world.balancer(origin, backends=[{"name": "a", "address": f"127.0.0.1:{origin.port}", "max_connections": 2}])
    streams = [balancer.connect().send(GET) for _client in range(10)]
    world.until(lambda: balancer.status()["requests"]["queued"] == 8)
    world.until(lambda: len(origin.heads) == 2)
    go_on.set()
    assert [stream.message()[1] for stream in streams] == [b"ok"] * 10
    assert origin.connections == 2
    assert balancer.status()["requests"] == {"in_flight": 0, "retrying": 0, "queued": 0}


def test_queued_upload_ends_when_client_leaves(world: World) -> None:
    origin = world.origin(silent)
    balancer = world.balancer(
        origin, backends=[{"name": "a", "address": f"127.0.0.1:{origin.port}", "max_connections": 1}], timeouts={"queue": "60s"}
    )
    balancer.connect().send(GET)
    world.until(lambda: origin.heads)
    gone = balancer.connect().send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n" + b"a" * 500)
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    gone.reset()
    world.until(lambda: balancer.status()["requests"]["queued"] == 0)
    balancer.becomes('balance_request_failures_total{reason="client_abort",source="client"}', 1)
    assert len(origin.heads) == 1


def test_queued_upload_is_buffered_up_to_a_limit(world: World) -> None:
    go_on = threading.Event()

    def script(stream: Stream) -> None:
        while stream.message()[0]:
            go_on.wait()
            stream.send(OK)

    origin = world.origin(script)
    balancer = world.balancer(
        origin, backends=[{"name": "a", "address": f"127.0.0.1:{origin.port}", "max_connections": 1}], timeouts={"queue": "60s"}
    )
    first = balancer.connect().send(GET)
    world.until(lambda: origin.heads)
    size = 2**24
    before = balancer.metric("process_resident_memory_bytes")
    waiting = balancer.connect()
    sender = threading.Thread(target=waiting.send, args=(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size,))
    sender.start()
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    assert balancer.metric("process_resident_memory_bytes") < before + size / 2
    go_on.set()
    assert first.message()[1] == b"ok"
    assert waiting.message()[1] == b"ok"
    sender.join()
    assert len(origin.bodies[1]) == size


def test_queue_wait_is_limited(world: World) -> None:
    origin = world.origin(silent)
    balancer = world.balancer(
        origin, backends=[{"name": "a", "address": f"127.0.0.1:{origin.port}", "max_connections": 1}], timeouts={"queue": "100ms"}
    )
    balancer.connect().send(GET)
    world.until(lambda: origin.heads)
    gone = balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    gone.close()
    world.until(lambda: balancer.status()["requests"]["queued"] == 0)
    head, body = balancer.get()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert body == b"503 Service Unavailable: all backends are at their connection limit\n"


def test_silent_backend_becomes_504(world: World) -> None:
    origin = world.origin(silent)
    balancer = world.balancer(origin, timeouts={"first_byte": "100ms"})
    assert balancer.get()[1] == b"504 Gateway Timeout: the backend did not respond in time\n"
    assert len(origin.heads) == 1
    assert balancer.metric('balance_circuit_breaker_failures_total{backend="a"}') == 1


def test_connect_timeout_becomes_504(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:  # never accepts; the backlog fills up
        fill = [socket.socket() for _connection in range(4)]
        for one in fill:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        balancer = world.balancer(listener.getsockname()[1], timeouts={"connect": "100ms"}, retry=False)
        assert balancer.get()[1] == b"504 Gateway Timeout: connection to the backend timed out\n"
        for one in fill:
            one.close()


def test_stalled_response_is_cut_off(world: World) -> None:
    def script(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        stream.rest()

    balancer = world.balancer(world.origin(script), timeouts={"response_idle": "100ms"})
    assert balancer.connect().send(GET).rest().endswith(b"half")
    world.until(lambda: [line["reason"] for line in balancer.access()] == ["response_timeout"])


def test_unreachable_backend_becomes_502(world: World) -> None:
    balancer = world.balancer(world.free_port(), circuit_breaker=False)
    assert balancer.get()[1] == b"502 Bad Gateway: connection to the backend was refused\n"
    nowhere = world.balancer(backends=[{"name": "a", "address": "does-not-exist.invalid:80"}], circuit_breaker=False)
    assert nowhere.get()[1] == b"502 Bad Gateway: connection to the backend failed\n"


def test_shares_follow_weights(world: World) -> None:
    origins = [world.origin() for _backend in range(3)]
    balancer = world.balancer(
        backends=[
            {"name": f"b{weight}", "address": f"127.0.0.1:{origin.port}", "weight": weight} for weight, origin in zip((5, 2, 1), origins, strict=True)
        ]
    )
    for _request in range(16):
        balancer.get()
    assert [len(origin.heads) for origin in origins] == [10, 4, 2]


def test_backend_at_unix_socket(world: World, tmp_path: object) -> None:
    path = f"{tmp_path}/origin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        balancer = world.balancer(backends=[{"name": "a", "address": f"unix:{path}"}])
        stream = balancer.connect().send(GET)
        connection, _address = listener.accept()
        assert connection.recv(1000).startswith(b"GET / HTTP/1.1\r\n")
        connection.sendall(OK)
        assert stream.message()[1] == b"ok"
        connection.close()
