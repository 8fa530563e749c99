"""Pools in operation: choice of the backend, ejection, panic mode, and limits per client."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import OK, PATIENCE
from .test_reload import unix

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, Stream, World

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
ERROR = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"


def named(name: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())


def pool(world: World, names: str, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Backends with these one-letter names that answer with their name."""
    return [{"name": name, "address": f"127.0.0.1:{world.origin(named(name)).port}", **changes.get(name, {})} for name in names]


def answers(balancer: Balancer, count: int, *headers: str) -> Counter[bytes]:
    return Counter(balancer.get("/", *headers)[1] for _request in range(count))


def test_round_robin_follows_weights(world: World) -> None:
    balancer = world.balancer(backends=pool(world, "abc", a={"weight": 2}))
    assert answers(balancer, 40) == {b"a": 20, b"b": 10, b"c": 10}


def test_hot_key_spreads_beyond_balance_factor(world: World) -> None:
    go_on = threading.Event()

    def slow(stream: Stream) -> None:
        while stream.message()[0]:
            go_on.wait(PATIENCE)
            stream.send(OK)

    origins = world.origin(slow), world.origin(slow)
    balancer = world.balancer(*origins, load_balancer={"algorithm": "consistent-hash", "hash_key": "client", "balance_factor": 1.25})
    held: list[Stream] = []
    for _request in range(3):  # at the third, 1.25 times the mean of 1.5 is less than the load one backend would have
        held.append(balancer.connect().send(GET))
        world.until(lambda: sum(len(origin.heads) for origin in origins) == len(held))
    assert sorted(len(origin.heads) for origin in origins) == [1, 2]
    go_on.set()
    assert [stream.message()[1] for stream in held] == [b"ok"] * 3


def test_least_requests_avoids_busy_backend(world: World) -> None:
    go_on = threading.Event()

    def slow(stream: Stream) -> None:
        while stream.message()[0]:
            go_on.wait(PATIENCE)
            stream.send(named("slow"))

    busy, quick = world.origin(slow), world.origin(named("b"))
    balancer = world.balancer(busy, quick, load_balancer={"algorithm": "least-requests"})
    held: list[Stream] = []
    while not busy.heads:  # one by one, until the slow backend has one
        held.append(balancer.connect().send(GET))
        world.until(lambda: len(busy.heads) + len(quick.heads) == len(held))
        world.until(lambda: balancer.status()["requests"]["in_flight"] == len(busy.heads))
    assert answers(balancer, 20)[b"b"] == 20
    go_on.set()
    for stream in held:
        assert stream.message()[1] in (b"slow", b"b")


def test_peak_ewma_avoids_slow_backend(world: World) -> None:
    pause = threading.Event()

    def slow(stream: Stream) -> None:
        while stream.message()[0]:
            pause.wait(0.05)
            stream.send(named("slow"))

    backends = [{"name": "slow", "address": f"127.0.0.1:{world.origin(slow).port}"}, *pool(world, "b")]
    balancer = world.balancer(backends=backends, load_balancer={"algorithm": "peak-ewma"})
    answers(balancer, 6)
    assert answers(balancer, 30)[b"b"] >= 28


@pytest.mark.parametrize(("key", "header"), [("header:X-User", "X-User: {}"), ("cookie:user", "Cookie: a=b; user={}")])
def test_consistent_hash_keeps_key_at_backend(world: World, key: str, header: str) -> None:
    balancer = world.balancer(backends=pool(world, "abc"), load_balancer={"algorithm": "consistent-hash", "hash_key": key})
    homes = {user: answers(balancer, 3, header.format(user)) for user in range(12)}
    assert all(len(found) == 1 for found in homes.values())
    assert len({next(iter(found)) for found in homes.values()}) == 3


def test_consistent_hash_by_client_and_path(world: World) -> None:
    by_client = world.balancer(backends=pool(world, "abc"), load_balancer={"algorithm": "consistent-hash"})
    assert len(answers(by_client, 10)) == 1
    by_path = world.balancer(backends=pool(world, "abc"), load_balancer={"algorithm": "consistent-hash", "hash_key": "path"})
    assert len({by_path.get(f"/{number}?a={number}")[1] for number in range(20)}) == 3
    assert len({by_path.get(f"/same?a={number}")[1] for number in range(10)}) == 1


def test_backups_only_when_no_other_is_available(world: World) -> None:
    balancer = world.balancer(backends=[*pool(world, "b", b={"backup": True}), {"name": "a", "address": f"127.0.0.1:{world.free_port()}"}])
    assert answers(balancer, 10) == {b"b": 10}
    both = world.balancer(backends=pool(world, "ab", b={"backup": True}))
    assert answers(both, 10) == {b"a": 10}


def test_sticky_client_returns_to_its_backend(world: World, tmp_path: Path) -> None:
    """A forged cookie is ignored and replaced."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"0123456789abcdef")
    balancer = world.balancer(backends=pool(world, "abc"), load_balancer={"sticky": {"cookie": "home", "secret": str(secret)}})
    head, first = balancer.get()
    cookie = re.search(rb"\r\nSet-Cookie: (home=[^;]+); Path=/; (?:Max-Age=\d+; )?HttpOnly; SameSite=Lax\r\n", head)
    assert cookie
    value = cookie[1].decode()
    assert answers(balancer, 9, f"Cookie: {value}") == {first: 9}
    assert b"Set-Cookie" not in balancer.get("/", f"Cookie: {value}")[0]
    forged = value[:-3] + ("AAA" if value[-3:] != "AAA" else "BBB")
    assert len(answers(balancer, 9, f"Cookie: {forged}")) == 3
    assert b"Set-Cookie" in balancer.get("/", f"Cookie: {forged}")[0]


def test_outlier_is_ejected_and_readmitted(world: World) -> None:
    bad = [True]

    def flapping(stream: Stream) -> None:
        while stream.message()[0]:
            stream.send(ERROR if bad[0] else OK)

    balancer = world.balancer(
        world.origin(flapping), world.origin(), circuit_breaker=False, retry=False,
        outlier_detection={"consecutive_failures": 3, "base_ejection": "1s"},
    )  # fmt: skip
    for _request in range(6):
        balancer.get()
    balancer.event("backend_ejected", backend="a", reason="consecutive_failures")
    assert answers(balancer, 10) == {b"ok": 10}
    balancer.becomes('balance_backend_ejections_total{backend="a",reason="consecutive_failures"}', 1)
    bad[0] = False
    balancer.event("backend_readmitted", backend="a")
    answers(balancer, 4)
    balancer.becomes('balance_backend_requests_total{backend="a",status_class="2xx"}', 2)


def test_outlier_is_ejected_by_error_ratio(world: World) -> None:
    def half(stream: Stream) -> None:
        while stream.message()[0]:
            stream.send(ERROR)
            if stream.message()[0]:
                stream.send(OK)

    detection = {"consecutive_failures": 1000, "error_percent": 30, "minimum_requests": 5, "interval": "500ms"}
    balancer = world.balancer(world.origin(half), world.origin(), circuit_breaker=False, retry=False, outlier_detection=detection)

    def ejected() -> bool:
        answers(balancer, 4)
        return any(event["event"] == "backend_ejected" and event["reason"] == "error_ratio" for event in balancer.events)

    world.until(ejected)


def test_panic_mode_when_most_are_down(world: World) -> None:
    origins: list[Origin] = [world.origin() for _origin in range(2)]
    check = {"type": "http", "path": "/up", "interval": "100ms", "unhealthy_threshold": 1, "expected_status": ["418"]}
    balancer = world.balancer(*origins, health_check=check)
    balancer.event("panic", pool="default")
    balancer.becomes('balance_pool_panic_mode{pool="default"}', 1)
    assert answers(balancer, 4) == {b"ok": 4}
    strict = world.balancer(*origins, health_check=check, load_balancer={"panic_threshold": 0})
    strict.event("backend_down", backend="a")
    strict.event("backend_down", backend="b")
    assert strict.get()[0].startswith(b"HTTP/1.1 503 ")


def test_panic_mode_begins_at_once(world: World) -> None:
    """Requests succeed as soon as the last backend goes down."""
    well = threading.Event()

    def script(stream: Stream) -> None:
        while head := stream.message()[0]:
            sick = b" /up " in head and not well.is_set()
            stream.send(ERROR if sick else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    check = {"type": "http", "path": "/up", "interval": "20ms", "healthy_threshold": 1, "unhealthy_threshold": 1}
    balancer = world.balancer(world.origin(script), health_check=check)
    for turn in range(1, 6):
        well.clear()
        world.until(lambda turn=turn: [event["event"] for event in balancer.events].count("backend_down") == turn)  # type: ignore[misc]
        assert balancer.get()[1] == b"ok"
        well.set()
        world.until(lambda turn=turn: [event["event"] for event in balancer.events].count("backend_up") == turn)  # type: ignore[misc]


def test_health_check_judges_status_and_body(world: World) -> None:
    check = {"type": "http", "path": "/up", "interval": "100ms", "unhealthy_threshold": 1, "expected_body": "fine"}
    balancer = world.balancer(world.origin(named("so fine")), world.origin(named("poor")), health_check=check)
    balancer.event("backend_down", backend="b")
    assert answers(balancer, 6) == {b"so fine": 6}


def test_per_try_timeout_moves_to_other_backend(world: World) -> None:
    def silent(stream: Stream) -> None:
        stream.message()
        stream.rest()

    balancer = world.balancer(world.origin(silent), world.origin(), retry={"per_try_timeout": "200ms"})
    for _request in range(4):
        assert balancer.get()[1] == b"ok"


def test_connections_per_client_are_limited(world: World) -> None:
    balancer = world.balancer(world.origin(), limits={"max_connections_per_client": 2})
    held = [balancer.connect() for _client in range(2)]
    for stream in held:
        assert stream.send(GET).message()[1] == b"ok"
    assert balancer.connect().closed()
    balancer.becomes('balance_connections_rejected_total{reason="client_limit"}', 1)
    held[0].close()
    world.until(lambda: balancer.status()["connections"]["active"] == 1)
    assert balancer.get()[1] == b"ok"


def test_requests_per_client_are_limited(world: World) -> None:
    go_on = threading.Event()

    def slow(stream: Stream) -> None:
        while stream.message()[0]:
            go_on.wait(PATIENCE)
            stream.send(OK)

    balancer = world.balancer(world.origin(slow), limits={"max_requests_per_client": 1})
    first = balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["in_flight"] == 1)
    head, _body = balancer.get()
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 1\r\n" in head
    go_on.set()
    assert first.message()[1] == b"ok"
    assert balancer.get()[1] == b"ok"


def test_denied_networks_are_rejected(world: World) -> None:
    balancer = world.balancer(world.origin(), limits={"deny": "127.0.0.0/8"})
    assert balancer.connect().closed()
    balancer.becomes('balance_connections_rejected_total{reason="denied"}', 1)


def test_route_rate_limit_sends_retry_after(world: World) -> None:
    routes = [{"name": "slow", "match": {"path": "/"}, "pool": "default", "rate_limit": {"rate": "2/m", "burst": 2, "per": "client"}}]
    balancer = world.balancer(world.origin(), routes=routes)
    assert [balancer.get()[0].split(b" ")[1] for _request in range(3)] == [b"200", b"200", b"429"]
    head, _body = balancer.get()
    retry_after = re.search(rb"\r\nRetry-After: (\d+)\r\n", head)
    assert retry_after
    assert 1 < int(retry_after[1]) <= 30
    balancer.becomes('balance_request_failures_total{reason="rate_limited",source="balancer"}', 2)


def test_queue_is_bounded(world: World) -> None:
    go_on = threading.Event()

    def slow(stream: Stream) -> None:
        while stream.message()[0]:
            go_on.wait(PATIENCE)
            stream.send(OK)

    origin = world.origin(slow)
    backends = [{"name": "a", "address": f"127.0.0.1:{origin.port}", "max_connections": 1}]
    balancer = world.balancer(backends=backends, limits={"max_queue": 1}, timeouts={"queue": "60s"})
    held = [balancer.connect().send(GET)]
    world.until(lambda: origin.heads)
    held.append(balancer.connect().send(GET))
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    assert balancer.get()[0].startswith(b"HTTP/1.1 503 ")
    balancer.becomes('balance_request_failures_total{reason="queue_full",source="balancer"}', 1)
    go_on.set()
    assert [stream.message()[1] for stream in held] == [b"ok", b"ok"]


def test_client_within_rate_is_not_refused(world: World) -> None:
    """A burst smaller than usual scheduling delays does not matter."""
    routes = [{"name": "all", "pool": "default", "rate_limit": {"rate": "200/s", "burst": 4}}]
    balancer = world.balancer(world.origin(), routes=routes)
    stream = balancer.connect()
    due, codes = time.monotonic(), Counter[bytes]()
    for _request in range(60):
        due = max(due + 0.01, time.monotonic())  # a hundred a second at most
        time.sleep(max(0.0, due - time.monotonic()))
        codes[stream.send(GET).message()[0].split(b" ")[1]] += 1
    assert codes == {b"200": 60}


def test_drained_backends_do_not_count_as_healthy(world: World, tmp_path: Path) -> None:
    check = {"type": "http", "path": "/up", "interval": "100ms", "unhealthy_threshold": 1, "healthy_threshold": 1}

    def moody(stream: Stream) -> None:
        while head := stream.message()[0]:
            stream.send(ERROR if head.startswith(b"GET /up ") else OK)

    balancer = world.balancer(world.origin(), world.origin(moody), health_check=check, admin={"listen": f"unix:{tmp_path}/admin.sock"})
    balancer.event("backend_down", backend="b")
    assert unix(balancer, "POST", "/-/backends/a/drain")[0] == 200
    balancer.event("panic", pool="default")  # none of the enabled backends is healthy
    assert balancer.get()[1] == b"ok"
    assert unix(balancer, "POST", "/-/backends/a/enable")[0] == 200
    balancer.event("panic_over", pool="default")


def test_slow_upload_outlives_per_try_timeout(world: World) -> None:
    size, go_on = 2**23, threading.Event()

    def slow(stream: Stream) -> None:
        head = stream.head()
        go_on.wait(PATIENCE)
        stream.skip(size)
        stream.send(OK if head else b"")

    balancer = world.balancer(world.origin(slow), retry={"per_try_timeout": "200ms"})
    stream = balancer.connect().send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size)
    sender = threading.Thread(target=stream.send, args=(bytes(size),))
    sender.start()
    assert not go_on.wait(1.5)  # several times as long as the response may take, which nobody can begin yet
    go_on.set()
    sender.join(PATIENCE)
    assert stream.message()[1] == b"ok"
