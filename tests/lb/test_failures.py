"""The failure metric: each failed request counts exactly once, by source and reason."""

from __future__ import annotations

import resource
import signal
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from balance.lb.catalog.metrics import FAILURE_REASONS
from balance.lb.policy.faults import Fault

from .conftest import OK, answering, unread

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Script, Stream, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 20\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\n" + H + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"

Cause = Callable[["World"], "tuple[Balancer, list[Stream]]"]


def test_catalog_reasons_match_faults() -> None:
    reasons = [reason for reasons in FAILURE_REASONS.values() for reason in reasons]
    assert sorted(reasons) == sorted(fault.value for fault in Fault if fault not in (Fault.OK, Fault.BAD_STATUS))


def test_fresh_scrape_shows_all_failures_at_zero(world: World) -> None:
    balancer = world.balancer(world.origin())
    shown = {line for line in balancer.admin("/metrics")[1].splitlines() if line.startswith("balance_request_failures_total")}
    pairs = [(source, reason) for source, reasons in FAILURE_REASONS.items() for reason in reasons]
    assert shown == {f"{series(source, reason)} 0.0" for source, reason in pairs}


def series(source: str, reason: str) -> str:
    return f'balance_request_failures_total{{reason="{reason}",source="{source}"}}'


def total(balancer: Balancer, name: str) -> float:
    lines = [line for line in balancer.admin("/metrics")[1].splitlines() if line.startswith(name + "{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


# --- behaviour of clients and backends ---


def once(stream: Stream, *answers: bytes) -> None:
    """Read a request, send the answers, and read to the end."""
    stream.message()
    for answer in answers:
        stream.send(answer)
    stream.rest()


def cut(stream: Stream) -> None:
    stream.message()
    stream.send(HALF)


def closing(stream: Stream) -> None:
    stream.message()


def silent(stream: Stream) -> None:
    once(stream)


def half(stream: Stream) -> None:
    once(stream, HALF)


def switch(stream: Stream) -> None:
    once(stream, SWITCH)


def endless(stream: Stream) -> None:
    once(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n", *[b"a" * 1_000_000] * 90)


def sends(data: bytes, script: Script | None = None, **settings: Any) -> Cause:
    """A client that sends `data` and waits for the answer."""

    def cause(world: World) -> tuple[Balancer, list[Stream]]:
        origin = world.origin(script or answering(OK))
        balancer = world.balancer(origin, **{"retry": False, "circuit_breaker": False, **settings})
        return balancer, [balancer.connect().send(data)]

    return cause


def leaves(data: bytes, script: Script | None = None, *, after: bytes = b"", reset: bool = False, **settings: Any) -> Cause:
    """A client that sends `data` and hangs up once it has read `after`, or once the balancer has read the data."""

    def cause(world: World) -> tuple[Balancer, list[Stream]]:
        balancer, [stream] = sends(data, script, **settings)(world)
        world.until(lambda: balancer.metric("balance_connections_total") == 1 and not unread(balancer.port))
        if after:
            stream.until(after)
        stream.reset() if reset else stream.close()
        return balancer, []

    return cause


def unreachable(address: str) -> Cause:
    """A backend that cannot be reached."""
    return sends(GET, backends=[{"name": "a", "address": address}])


def bad_chunk(world: World) -> tuple[Balancer, list[Stream]]:
    """The broken chunk arrives in a later read than the head."""
    opened = threading.Event()

    def script(stream: Stream) -> None:
        stream.head()
        opened.set()
        stream.rest()

    balancer, streams = sends(CHUNKED, script)(world)
    assert opened.wait(15)
    streams[0].send(b"2\r\nabc\r\n")
    return balancer, streams


def over_connection_limit(world: World) -> tuple[Balancer, list[Stream]]:
    balancer, streams = sends(b"", limits={"max_connections": 1})(world)
    balancer.becomes("balance_active_connections", 1)
    return balancer, [*streams, balancer.connect()]


def full_queue(world: World) -> tuple[Balancer, list[Stream]]:
    """A second request while a tunnel, which is not a failure, holds the backend's only connection."""
    origin = world.origin(switch)
    backends = [{"name": "a", "address": f"127.0.0.1:{origin.port}", "max_connections": 1}]
    balancer = world.balancer(backends=backends, timeouts={"queue": "100ms"})
    tunnel = balancer.connect().send(UPGRADE)
    tunnel.head()
    return balancer, [balancer.connect().send(GET), tunnel]


def no_descriptors(world: World) -> tuple[Balancer, list[Stream]]:
    balancer = world.balancer(world.origin(), retry=False)
    stream = balancer.connect()
    world.until(lambda: balancer.metric("balance_active_connections") == 1)
    pid = balancer.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    head = stream.send(GET).head()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert head.startswith(b"HTTP/1.1 503 ")
    return balancer, [stream]


def unaccepted(world: World) -> tuple[Balancer, list[Stream]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)  # never accepts; the backlog fills up
    waiting = [socket.socket() for _connection in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    balancer = world.balancer(listener.getsockname()[1], timeouts={"connect": "100ms"}, retry=False)
    stream = balancer.connect().send(GET)
    assert stream.head().startswith(b"HTTP/1.1 504 ")
    for one in (listener, *waiting):
        one.close()
    return balancer, [stream]


def unhealthy(world: World) -> tuple[Balancer, list[Stream]]:
    check = {"type": "tcp", "interval": "50ms", "timeout": "50ms", "unhealthy_threshold": 1}
    balancer = world.balancer(world.free_port(), health_check=check, load_balancer={"panic_threshold": 0})
    balancer.event("backend_down")
    return balancer, [balancer.connect().send(GET)]


CAUSES: dict[str, tuple[str, str, Cause]] = {
    "junk": ("client", "bad_request", sends(b"\xff\x00 junk\r\n\r\n")),
    "fragment": ("client", "bad_target", sends(GET.replace(b"/ ", b"/#a "))),
    "invalid host": ("client", "bad_host", sends(GET.replace(H, b"Host: a b\r\n"))),
    "transfer-encoding in HTTP/1.0": ("client", "bad_framing", sends(CHUNKED.replace(b"1.1", b"1.0"))),
    "bad chunk": ("client", "bad_framing", bad_chunk),
    "HTTP/2.0": ("client", "bad_version", sends(GET.replace(b"1.1", b"2.0"))),
    "slow head": ("client", "header_timeout", sends(GET[:-3], timeouts={"request_header": "100ms"})),
    "slow body": ("client", "body_timeout", sends(POST + b"half", timeouts={"body_idle": "100ms"})),
    "declared too large": ("client", "body_too_large", sends(POST, limits={"max_request_size": 10})),
    "target too long": ("client", "target_too_long", sends(b"GET /" + b"a" * 40000)),
    "head too large": ("client", "header_too_large", sends(GET[:-2] + b"X: " + b"a" * 40000)),
    "unknown expectation": ("client", "bad_expectation", sends(GET.replace(H, H + b"Expect: cake\r\n"))),
    "CONNECT": ("client", "not_implemented", sends(b"CONNECT test:80 HTTP/1.1\r\n" + H + b"\r\n")),
    "leaves within the head": ("client", "client_abort", leaves(GET[:-3])),
    "leaves within the body": ("client", "client_abort", leaves(POST + b"half")),
    "leaves before the response": ("client", "client_abort", leaves(GET, silent)),
    "leaves within the response": ("client", "client_abort", leaves(GET, half, after=b"half")),
    "leaves a tunnel": ("client", "client_abort", leaves(UPGRADE, switch, after=b"\r\n\r\n", reset=True)),
    "stops reading": ("client", "client_stalled", sends(GET, endless, timeouts={"body_idle": "100ms"})),
    "no healthy backend": ("balancer", "no_backend", unhealthy),
    "queue timeout": ("balancer", "queue_timeout", full_queue),
    "no descriptors": ("balancer", "out_of_resources", no_descriptors),
    "too many connections": ("balancer", "too_many_connections", over_connection_limit),
    "idle tunnel": ("balancer", "tunnel_timeout", sends(UPGRADE, switch, timeouts={"tunnel": "100ms"})),
    "refused": ("backend", "connect_refused", unreachable("127.0.0.1:1")),
    "unknown host": ("backend", "connect_failed", unreachable("does-not-exist.invalid:80")),
    "connect timeout": ("backend", "connect_timeout", unaccepted),
    "closes": ("backend", "closed_early", sends(GET, closing)),
    "closes, retried": ("backend", "closed_early", sends(GET, closing, retry={"backoff_base": "1ms"})),
    "not HTTP": ("backend", "invalid_response", sends(GET, answering(b"SSH-2.0-x\r\n"))),
    "unexpected 101": ("backend", "invalid_response", sends(GET, switch)),
    "silent": ("backend", "first_byte_timeout", sends(GET, silent, timeouts={"first_byte": "100ms"})),
    "stalls": ("backend", "response_timeout", sends(GET, half, timeouts={"response_idle": "100ms"})),
    "cut off": ("backend", "response_truncated", sends(GET, cut)),
}  # fmt: skip

PHASES = {
    "response": ("leaves before the response", "closes", "closes, retried", "not HTTP", "unexpected 101", "silent"),
    "body": ("leaves within the response", "stops reading", "stalls", "cut off"),
    "tunnel": ("leaves a tunnel", "idle tunnel"),
    "queue": ("no healthy backend", "queue timeout"),
    "connect": ("no descriptors", "refused", "unknown host", "connect timeout"),
}
"""The phase in which a case ends, if not while the request is received."""


@pytest.mark.parametrize("case", CAUSES)
def test_failure_counts_once_by_source_and_reason(world: World, case: str) -> None:
    source, reason, cause = CAUSES[case]
    balancer, streams = cause(world)
    balancer.becomes(series(source, reason), 1)
    for stream in streams:
        stream.close()
    balancer.becomes("balance_active_connections", 0)
    world.until(lambda: total(balancer, "balance_http_requests_total") == len(balancer.access()))
    assert total(balancer, "balance_request_failures_total") == 1
    phase = next((phase for phase, cases in PHASES.items() if case in cases), "request")
    ends = [(line["reason"], line["termination"]) for line in balancer.access() if line["reason"] != "ok"]
    assert ends == [(reason, f"{source}_{phase}")]


SUCCESSES: dict[str, tuple[Cause, int]] = {
    "nothing sent": (leaves(b""), 0),
    "an empty line": (leaves(b"\r\n"), 0),
    "an answer": (leaves(GET, after=b"ok"), 1),
    "a 503 of the backend's own": (leaves(GET, answering(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"), after=b"no"), 1),
    "two answers": (leaves(GET + GET, after=b"okHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 2),
    "a tunnel that ends": (leaves(UPGRADE, lambda stream: once(stream, SWITCH + b"hello"), after=b"hello"), 1),
}


@pytest.mark.parametrize("case", SUCCESSES)
def test_success_is_not_a_failure(world: World, case: str) -> None:
    cause, requests = SUCCESSES[case]
    balancer, _streams = cause(world)
    balancer.becomes("balance_active_connections", 0)
    world.until(lambda: len(balancer.access()) == requests)
    assert total(balancer, "balance_request_failures_total") == 0
    assert {line["termination"] for line in balancer.access()} <= {"complete"}


def test_shutdown_logs_each_unfinished_request_once(world: World) -> None:
    origin = world.origin(silent)
    balancer = world.balancer(origin)
    for data in (GET, GET[:-3]):
        balancer.connect().send(data)
    world.until(lambda: origin.heads and not unread(balancer.port))
    balancer.signal(signal.SIGTERM)
    assert balancer.wait() == 0
    assert [line["reason"] for line in balancer.access()] == ["shutdown"] * 2
