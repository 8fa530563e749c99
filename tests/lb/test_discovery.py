"""Discovery of backends by DNS and from a watched file; they come and go without a lost request."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from itertools import permutations
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.rcode
import pytest
from prometheus_client.parser import text_string_to_metric_families

from balance.config.address import Address
from balance.lb.config.model import BackendConfig, Discovery
from balance.lb.policy.discovery import SrvTarget, admitted, by_service, pause

from .conftest import OK, PATIENCE, Origin, answering
from .dns_server import DnsServer
from .test_reload import GET, named, reload, rewrite, unix
from .test_workers import CLIENTS, pids
from .test_workers_reload import restart

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, World

NAME = "api.test"
SERVICE = "_http._tcp.api.test"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    made = DnsServer()
    yield made
    made.close()


def found(balancer: Balancer) -> list[tuple[str, str]]:
    """Name and address of each backend."""
    return [(backend["name"], backend["address"]) for backend in balancer.status()["backends"]]


def names(balancer: Balancer) -> list[str]:
    return [name for name, _address in found(balancer)]


def becomes(world: World, balancer: Balancer, *expected: str) -> None:
    world.until(lambda: names(balancer) == list(expected), f"backends {expected}")


def balancer_with_discovery(world: World, *origins: Origin, workers: int = 1, admin: Any = None, **pool: Any) -> Balancer:
    """A balancer with one pool called api: the configured backends a, b... and those that it discovers."""
    stated = [{"name": "abcdef"[index], "address": f"127.0.0.1:{origin.port}"} for index, origin in enumerate(origins)]
    pools = [{"name": "api", **({"backends": stated} if stated else {}), **pool}]
    return world.balancer(backends=None, pools=pools, workers=workers, admin=admin or {})


def by_dns(world: World, server: DnsServer, port: int, *origins: Origin, **more: Any) -> Balancer:
    return balancer_with_discovery(world, *origins, discover={"dns": f"{NAME}:{port}", "server": f"127.0.0.1:{server.port}", **more})


def by_srv(world: World, server: DnsServer, **more: Any) -> Balancer:
    return balancer_with_discovery(world, discover={"srv": SERVICE, "server": f"127.0.0.1:{server.port}", **more})


# --- decisions ---

PAUSES = [(0.0, 30.0, 1.0), (5.0, 30.0, 5.0), (3600.0, 30.0, 30.0), (inf, 30.0, 30.0), (0.0, 0.5, 0.5)]


@pytest.mark.parametrize(("ttl", "interval", "expected"), PAUSES)
def test_pause_is_ttl_within_bounds(ttl: float, interval: float, expected: float) -> None:
    assert pause(ttl, interval) == expected


def config(name: str, port: int = 80) -> BackendConfig:
    return BackendConfig(name, Address("10.0.0.1", port), 1, 1000)


def test_admission_needs_unique_name_and_room() -> None:
    many = [config(str(number)) for number in range(1001)]
    assert admitted(many, set()) == tuple(many[:1000])
    assert admitted(many, {"0", "x"}) == tuple(many[1:999])
    assert admitted(many, {f"x{number}" for number in range(1001)}) == ()


TARGETS = [SrvTarget(1, 5, "10.0.0.10", 80), SrvTarget(2, 7, "10.0.0.2", 80), SrvTarget(1, 0, "10.0.0.9", 80), SrvTarget(2, 1, "10.0.0.9", 80)]


@pytest.mark.parametrize("order", list(permutations(TARGETS))[::5])
def test_order_of_srv_records_does_not_matter(order: tuple[SrvTarget, ...]) -> None:
    source = Discovery(None, "_http._tcp.api.test", "", 30.0, 1, 1000, None)
    assert [(one.name, one.weight, one.backup) for one in by_service("p", source, order)] == [
        ("p-10.0.0.2-80", 7, True), ("p-10.0.0.9-80", 1, False), ("p-10.0.0.10-80", 5, False),
    ]  # fmt: skip


# --- DNS: addresses ---


def test_each_address_becomes_a_backend(world: World, server: DnsServer) -> None:
    server.put(NAME, "A", "127.0.0.3", "127.0.0.1")
    server.put(NAME, "AAAA", "::1")
    port = world.origin().port
    balancer = by_dns(world, server, port, weight=3, max_connections=7)
    assert found(balancer) == [
        ("api-127.0.0.1", f"127.0.0.1:{port}"), ("api-127.0.0.3", f"127.0.0.3:{port}"), ("api---1", f"[::1]:{port}"),
    ]  # fmt: skip
    assert {(backend["weight"], backend["connections"]["limit"]) for backend in balancer.status()["backends"]} == {(3, 7)}
    assert balancer.get()[1] == b"ok"
    assert balancer.metric('balance_discovery_backends{pool="api"}') == 3
    assert balancer.metric('balance_discovery_updates_total{pool="api",result="changed"}') == 1


def test_configured_backends_stay_beside_discovered_ones(world: World, server: DnsServer) -> None:
    server.put(NAME, "A", "127.0.0.1")
    balancer = by_dns(world, server, 1, world.origin())
    assert names(balancer) == ["a", "api-127.0.0.1"]
    server.put(NAME, "A")
    becomes(world, balancer, "a")


def test_interval_caps_ttl(world: World, server: DnsServer) -> None:
    server.ttl = 3600
    server.put(NAME, "A", "127.0.0.1")
    balancer = by_dns(world, server, 1, interval="1s")
    server.put(NAME, "A", "127.0.0.2")
    becomes(world, balancer, "api-127.0.0.2")


def test_removed_backends_lose_their_series(world: World, server: DnsServer) -> None:
    """Counters of the remaining backends continue."""
    server.put(NAME, "A", "127.0.0.1", "127.0.0.2")
    origin = world.origin()
    balancer = by_dns(world, server, origin.port)
    series = 'balance_backend_requests_total{backend="api-127.0.0.1",status_class="2xx"}'
    world.until(lambda: balancer.get()[1] == b"ok" and balancer.metric(series) > 0)
    before = balancer.metric(series)
    server.put(NAME, "A", "127.0.0.1")
    becomes(world, balancer, "api-127.0.0.1")
    balancer.get()
    balancer.becomes(series, before + 1)
    assert 'backend="api-127.0.0.2"' not in balancer.admin("/metrics")[1]
    assert balancer.event("backends_discovered", removed=["api-127.0.0.2"])["backends"] == 1


def test_empty_answer_empties_pool(world: World, server: DnsServer) -> None:
    server.put(NAME, "A", "127.0.0.1")
    balancer = by_dns(world, server, world.origin().port)
    assert balancer.admin("/ready")[0] == 200
    server.put(NAME, "A")
    becomes(world, balancer)
    assert balancer.get()[0].startswith(b"HTTP/1.1 503")
    assert balancer.admin("/ready") == (503, "no backend is available\n")


FAILURES = {
    "no such name": lambda server: server.records.clear(),
    "SERVFAIL": lambda server: server.rcodes.update({NAME: dns.rcode.SERVFAIL}),
    "no answer within 4 s": lambda server: server.mute.add(NAME),
}


@pytest.mark.parametrize("cause", FAILURES)
def test_failed_lookup_keeps_backends(world: World, server: DnsServer, cause: str) -> None:
    """The failure is logged once, and so is the recovery."""
    server.put(NAME, "A", "127.0.0.1")
    balancer = by_dns(world, server, world.origin().port, interval="1s")
    records = dict(server.records)
    FAILURES[cause](server)
    world.until(lambda: balancer.metric('balance_discovery_updates_total{pool="api",result="failed"}') >= 2)
    assert names(balancer) == ["api-127.0.0.1"]
    assert balancer.get()[1] == b"ok"
    (failed,) = [event for event in balancer.events if event["event"] == "discovery_failed"]
    assert cause in failed["cause"]
    assert failed["kept"] == 1
    server.records.update(records)
    server.rcodes.clear()
    server.mute.clear()
    balancer.event("discovery_recovered", pool="api")
    last = balancer.metric('balance_discovery_last_success_timestamp_seconds{pool="api"}')
    world.until(lambda: balancer.metric('balance_discovery_last_success_timestamp_seconds{pool="api"}') > last)


def test_starts_without_dns_answer(world: World, server: DnsServer) -> None:
    balancer = by_dns(world, server, world.origin().port)
    assert balancer.admin("/ready")[0] == 503
    assert balancer.get()[0].startswith(b"HTTP/1.1 503")
    server.put(NAME, "A", "127.0.0.1")
    becomes(world, balancer, "api-127.0.0.1")
    assert balancer.get()[1] == b"ok"


def test_truncated_answer_is_retried_over_tcp(world: World, server: DnsServer) -> None:
    server.truncating = True
    server.ttl = 60
    server.put(NAME, "A", *(f"127.0.{high}.{low}" for high in range(1, 5) for low in range(250)))
    server.put(NAME, "AAAA", "::1")
    balancer = by_dns(world, server, 1)
    assert len(names(balancer)) == 1000
    assert server.by_tcp == 2
    assert balancer.metric('balance_discovery_backends{pool="api"}') == 1001
    assert balancer.event("backends_left_out", pool="api")["backends"] == ["api---1"]


def test_ip_address_needs_no_dns_server(world: World, server: DnsServer) -> None:
    origin = world.origin()
    balancer = balancer_with_discovery(world, discover={"dns": f"127.0.0.1:{origin.port}", "server": f"127.0.0.1:{server.port}"})
    assert names(balancer) == ["api-127.0.0.1"]
    assert server.questions == []


def test_certificate_must_match_looked_up_name(world: World, server: DnsServer, authority: Authority) -> None:
    server.put(NAME, "A", "127.0.0.1")
    server.put("b.test", "A", "127.0.0.1")
    origin = world.origin(OK, authority.server(authority.issue("api", NAME)))
    more = {"server": f"127.0.0.1:{server.port}", "tls": {"ca": str(authority.ca)}}
    pools = [{"name": name, "discover": {"dns": f"{host}:{origin.port}", **more}} for name, host in (("right", NAME), ("wrong", "b.test"))]
    routes = [{"name": "wrong", "pool": "wrong", "match": {"path": "/wrong"}}, {"name": "right", "pool": "right"}]
    balancer = world.balancer(backends=None, pools=pools, routes=routes, retry=False)
    assert balancer.get("/")[1] == b"ok"
    assert balancer.get("/wrong")[0].startswith(b"HTTP/1.1 502")


# --- DNS: services ---


def test_srv_port_weight_and_priority(world: World, server: DnsServer) -> None:
    """Targets of a later priority become backups."""
    server.put(SERVICE, "SRV", "5 0 81 b.test.", "1 0 82 a.test.", "1 20 83 a.test.", "1 1 84 gone.test.")
    server.put("a.test", "A", "127.0.0.2")
    server.put("b.test", "A", "127.0.0.1", "127.0.0.2")
    server.put("b.test", "AAAA", "::1")
    balancer = by_srv(world, server)
    assert [(backend["name"], backend["address"], backend["weight"]) for backend in balancer.status()["backends"]] == [
        ("api-127.0.0.1-81", "127.0.0.1:81", 1),
        ("api-127.0.0.2-81", "127.0.0.2:81", 1),
        ("api-127.0.0.2-82", "127.0.0.2:82", 1),
        ("api-127.0.0.2-83", "127.0.0.2:83", 20),
        ("api---1-81", "[::1]:81", 1),
    ]


def test_failed_srv_target_keeps_its_addresses(world: World, server: DnsServer) -> None:
    server.put(SERVICE, "SRV", "1 1 81 a.test.", "1 1 82 b.test.")
    server.put("a.test", "A", "127.0.0.1")
    server.put("b.test", "A", "127.0.0.2")
    balancer = by_srv(world, server)
    server.rcodes["a.test"] = dns.rcode.SERVFAIL
    server.put("b.test", "A", "127.0.0.3")
    becomes(world, balancer, "api-127.0.0.1-81", "api-127.0.0.3-82")


def test_srv_root_target_empties_pool(world: World, server: DnsServer) -> None:
    """A target of "." says that the service does not exist (RFC 2782)."""
    server.put(SERVICE, "SRV", "1 1 81 a.test.")
    server.put("a.test", "A", "127.0.0.1")
    balancer = by_srv(world, server)
    assert names(balancer) == ["api-127.0.0.1-81"]
    server.put(SERVICE, "SRV", "0 0 0 .")
    becomes(world, balancer)


# --- under load ---


class Load:
    """Clients that send requests without a pause; `answers` are the bodies that they got."""

    def __init__(self, balancer: Balancer, clients: int = 4) -> None:
        self.answers: list[bytes] = []
        self._over = threading.Event()
        self._balancer = balancer
        self._threads = [threading.Thread(target=self._ask) for _client in range(clients)]

    def _ask(self) -> None:
        stream = self._balancer.connect()
        while not self._over.is_set():
            self.answers.append(stream.send(GET).message()[1])

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def test_scaling_under_load_loses_no_request(world: World, server: DnsServer) -> None:
    origins = [world.origin(named(str(number))) for number in range(3)]
    server.put("a.test", "A", "127.0.0.1")
    rows = [f"1 1 {origin.port} a.test." for origin in origins]
    server.put(SERVICE, "SRV", rows[0])
    balancer = by_srv(world, server)
    with Load(balancer) as load:
        for step in (rows, rows[1:], rows[:1], rows[1:2]):
            server.put(SERVICE, "SRV", *step)
            becomes(world, balancer, *sorted(f"api-127.0.0.1-{row.split()[2]}" for row in step))
    assert set(load.answers) == {b"0", b"1", b"2"}


def test_queued_request_takes_new_backend(world: World, tmp_path: Path) -> None:
    go_on = threading.Event()

    def stuck(stream: Any) -> None:
        stream.message()
        go_on.wait(PATIENCE)

    file = listing(tmp_path, a=world.origin(stuck), extra="max_connections: 1")
    balancer = balancer_with_discovery(world, discover={"file": str(file)})
    balancer.connect().send(GET)
    waiting = balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    listing(tmp_path, b=world.origin(named("new")))
    assert waiting.message()[1] == b"new"
    go_on.set()


# --- a file ---


def listing(folder: Path, *, extra: str = "weight: 1", **origins: Origin) -> Path:
    """Write a file of these backends by a rename."""
    new, file = folder / "new", folder / "backends.yaml"
    new.write_text("".join(f"- {{name: {name}, address: '127.0.0.1:{origin.port}', {extra}}}\n" for name, origin in origins.items()))
    new.rename(file)
    return file


def test_file_changes_are_followed(world: World, tmp_path: Path) -> None:
    one, two = world.origin(named("1")), world.origin(named("2"))
    balancer = balancer_with_discovery(world, discover={"file": str(listing(tmp_path, one=one))})
    assert balancer.get()[1] == b"1"
    listing(tmp_path, one=one, two=two)
    becomes(world, balancer, "one", "two")
    (tmp_path / "backends.yaml").write_text(f'[{{"name": "two", "address": "127.0.0.1:{two.port}"}}]')
    becomes(world, balancer, "two")
    assert balancer.get()[1] == b"2"


def test_symlink_swap_is_followed(world: World, tmp_path: Path) -> None:
    """Kubernetes swaps a symlink to update the files of a ConfigMap."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        listing(tmp_path / name).write_text(f"- {{name: {name}, address: '127.0.0.1:1'}}\n")
    (tmp_path / "data").symlink_to("one")
    balancer = balancer_with_discovery(world, discover={"file": str(tmp_path / "data" / "backends.yaml")})
    assert names(balancer) == ["one"]
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", tmp_path / "data")
    becomes(world, balancer, "two")


BAD_FILES: dict[str, tuple[bytes | None, str]] = {
    "invalid YAML": (b"- [", "backends.yaml:1: invalid YAML: "),
    "invalid entry": (b"- {name: a}\n", "backends.yaml:1: backends[0].address: is missing"),
    "empty": (b"", "must be a list with at least one entry"),
    "not UTF-8": (b"\xff\n", "is not UTF-8 text"),
    "no file": (None, "cannot be read: no such file or directory"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_keeps_backends(world: World, tmp_path: Path, case: str) -> None:
    """The failure is logged once."""
    content, cause = BAD_FILES[case]
    file = listing(tmp_path, one=world.origin())
    balancer = balancer_with_discovery(world, discover={"file": str(file)})
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    world.until(lambda: balancer.metric('balance_discovery_updates_total{pool="api",result="failed"}') >= 2)
    (failed,) = [event for event in balancer.events if event["event"] == "discovery_failed"]
    assert cause in failed["cause"]
    assert names(balancer) == ["one"]
    assert balancer.get()[1] == b"ok"
    listing(tmp_path, two=world.origin())
    becomes(world, balancer, "two")


def test_taken_name_is_left_out(world: World, tmp_path: Path) -> None:
    origin, other = world.origin(), world.origin()
    balancer = balancer_with_discovery(world, origin, discover={"file": str(listing(tmp_path, a=other, b=other))})
    assert found(balancer) == [("a", f"127.0.0.1:{origin.port}"), ("b", f"127.0.0.1:{other.port}")]
    assert balancer.event("backends_left_out")["backends"] == ["a"]


# --- reload ---


def test_reload_keeps_discovered_backends_until_next_lookup(world: World, server: DnsServer) -> None:
    server.put(NAME, "A", "127.0.0.1")
    origin = world.origin()
    balancer = by_dns(world, server, origin.port)
    series = 'balance_backend_requests_total{backend="api-127.0.0.1",status_class="2xx"}'
    balancer.get()
    balancer.becomes(series, 1)
    server.mute.add(NAME)
    rewrite(balancer, timeouts={"queue": "1s"})
    reload(balancer)
    assert names(balancer) == ["api-127.0.0.1"]
    balancer.get()
    balancer.becomes(series, 2)


def test_reload_to_another_source_loses_no_request(world: World, server: DnsServer, tmp_path: Path) -> None:
    server.put(NAME, "A", "127.0.0.1")
    old, new = world.origin(named("old")), world.origin(named("new"))
    balancer = by_dns(world, server, old.port)
    file = listing(tmp_path, found=new)
    with Load(balancer) as load:
        world.until(lambda: load.answers)
        rewrite(balancer, pools=[{"name": "other", "discover": {"file": str(file)}}])
        reload(balancer)
        world.until(lambda: load.answers[-1] == b"new")
    assert set(load.answers) == {b"old", b"new"}
    text = balancer.admin("/metrics")[1]
    assert 'pool="api"' not in text
    assert 'balance_discovery_backends{pool="other"} 1.0' in text
    asked = len(server.questions)
    world.until(lambda: balancer.metric('balance_discovery_updates_total{pool="other",result="unchanged"}') >= 2)
    assert len(server.questions) <= asked + 2


def test_discovered_backends_are_health_checked(world: World, server: DnsServer) -> None:
    server.put(NAME, "A", "127.0.0.1")
    origin = world.origin(answering(OK))
    pool: dict[str, Any] = {"discover": {"dns": f"{NAME}:{origin.port}", "server": f"127.0.0.1:{server.port}"}}
    balancer = balancer_with_discovery(world, health_check={"path": "/up", "interval": "100ms", "unhealthy_threshold": 1}, **pool)
    world.until(lambda: any(head.startswith(b"GET /up") for head in origin.heads))
    server.put(NAME, "A", "127.0.0.1", "127.0.0.9")
    balancer.event("backend_down", backend="api-127.0.0.9")


def test_reload_at_series_limit_finds_room(world: World, tmp_path: Path) -> None:
    """A full set of other backends fits, because the series of the former ones are released."""
    port = world.origin().port
    balancer = balancer_with_discovery(world, discover={"file": str(write_names(tmp_path, port, *map(str, range(1000))))})
    write_names(tmp_path, port, *map(str, range(500, 1500)))
    balancer.event("backends_discovered", pool="api", backends=1000, removed=[str(number) for number in range(10)])
    rewrite(balancer, pools=None, backends=[{"name": f"x{number}", "address": f"127.0.0.1:{port}"} for number in range(1000)])
    reload(balancer)
    assert names(balancer) == [f"x{number}" for number in range(1000)]
    assert balancer.get()[1] == b"ok"


def test_left_out_backend_joins_when_name_is_free(world: World, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    port = world.origin().port
    first, second = write_names(tmp_path / "one", port, "x", "y"), write_names(tmp_path / "two", port, "y", "z")
    pools = [{"name": "one", "discover": {"file": str(first)}}, {"name": "two", "discover": {"file": str(second)}}]
    balancer = world.balancer(backends=None, pools=pools)
    assert names(balancer) == ["x", "y", "z"]
    assert balancer.event("backends_left_out", pool="two")["backends"] == ["y"]
    write_names(tmp_path / "one", port, "x")
    becomes(world, balancer, "x", "y", "z")
    world.until(lambda: [pool["backends"]["discovered"] for pool in balancer.status()["pools"]] == [1, 2])


# --- backend state survives changes ---


def write_names(folder: Path, port: int, *names: str) -> Path:
    """Write a file of backends of these names, all at one port, by a rename."""
    new, file = folder / "new", folder / "backends.yaml"
    new.write_text("".join(f"- {{name: '{name}', address: '127.0.0.1:{port}'}}\n" for name in names))
    new.rename(file)
    return file


def hanging_up(stream: Any) -> None:
    stream.message()


def test_backend_state_survives_file_change(world: World, tmp_path: Path) -> None:
    """Health, breaker and ejection of the backends that stay."""
    good, bad = world.origin(), world.origin(hanging_up)
    balancer = balancer_with_discovery(
        world, discover={"file": str(listing(tmp_path, good=good, bad=bad))}, circuit_breaker={"failure_threshold": 1, "open_for": "1h"},
        outlier_detection={"consecutive_failures": 1, "base_ejection": "1h", "max_ejection": "1h"},
    )  # fmt: skip
    world.until(lambda: balancer.get()[0] != b"" and balancer.metric('balance_circuit_breaker_state{backend="bad",state="open"}'))
    listing(tmp_path, good=good, bad=bad, third=world.origin())
    becomes(world, balancer, "good", "bad", "third")
    asked = bad.connections
    assert {balancer.get()[1] for _request in range(20)} == {b"ok"}
    assert bad.connections == asked
    assert balancer.metric('balance_circuit_breaker_state{backend="bad",state="open"}') == 1
    assert balancer.metric('balance_backend_ejections_total{backend="bad",reason="consecutive_failures"}') == 1


def test_sticky_sessions_survive_file_change(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of many bytes")
    a, b, c = (world.origin(named(name)) for name in "abc")
    sticky = {"sticky": {"cookie": "home", "secret": str(secret)}}
    balancer = balancer_with_discovery(world, discover={"file": str(listing(tmp_path, a=a, b=b))}, load_balancer=sticky)
    head, home = balancer.get()
    cookie = head.split(b"home=")[1].split(b";")[0].decode()
    both: dict[str, Any] = {"c": c, home.decode(): {b"a": a, b"b": b}[home]}
    listing(tmp_path, **both)
    becomes(world, balancer, "c", home.decode())
    assert {balancer.get("/", f"Cookie: home={cookie}")[1] for _request in range(10)} == {home}
    listing(tmp_path, c=c)
    becomes(world, balancer, "c")
    assert balancer.get("/", f"Cookie: home={cookie}")[1] == b"c"


def test_only_later_backends_start_slowly(world: World, tmp_path: Path) -> None:
    a, b, c = (world.origin(named(name)) for name in "abc")
    balancer = balancer_with_discovery(world, discover={"file": str(listing(tmp_path, a=a, b=b))}, load_balancer={"slow_start": "1h"})
    assert sorted(balancer.get()[1] for _request in range(20)) == [b"a"] * 10 + [b"b"] * 10
    listing(tmp_path, a=a, b=b, c=c)
    becomes(world, balancer, "a", "b", "c")
    answers = [balancer.get()[1] for _request in range(210)]
    assert answers.count(b"c") in range(9, 12)
    listing(tmp_path, b=b, c=c)
    becomes(world, balancer, "b", "c")
    answers = [balancer.get()[1] for _request in range(110)]
    assert answers.count(b"c") in range(9, 12)


def test_status_shows_discovery_source(world: World, tmp_path: Path) -> None:
    file = listing(tmp_path, found=world.origin())
    pools = [
        {"name": "stated", "backends": [{"name": "a", "address": "127.0.0.1:1"}]},
        {"name": "file", "discover": {"file": str(file)}, "backends": [{"name": "b", "address": "127.0.0.1:1"}]},
        {"name": "dns", "discover": {"dns": "127.0.0.1:1"}},
    ]
    balancer = world.balancer(backends=None, pools=pools)
    shown = {pool["name"]: (pool["backends"], pool["discovery"]) for pool in balancer.status()["pools"]}
    assert shown == {
        "stated": ({"configured": 1, "discovered": 0}, {"source": "off", "last_update": "none", "failure": ""}),
        "file": ({"configured": 1, "discovered": 1}, {"source": f"file {file}", "last_update": "changed", "failure": ""}),
        "dns": ({"configured": 0, "discovered": 1}, {"source": "dns 127.0.0.1:1", "last_update": "changed", "failure": ""}),
    }
    file.unlink()
    world.until(lambda: balancer.status()["pools"][1]["discovery"]["last_update"] == "failed")
    assert "cannot be read" in balancer.status()["pools"][1]["discovery"]["failure"]


# --- several workers ---


def labelled(balancer: Balancer, label: str) -> dict[str, set[str]]:
    """Names of the series that have the label, by its value."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(balancer.admin("/metrics")[1]):
        for sample in family.samples:
            if label in sample.labels:
                found.setdefault(sample.labels[label], set()).add(sample.name)
    return found


def test_series_do_not_accumulate(world: World, tmp_path: Path) -> None:
    """However many backends come and go, and workers die."""
    origin = world.origin()
    file = write_names(tmp_path, origin.port, "kept", "first")
    balancer = balancer_with_discovery(world, workers=2, discover={"file": str(file)})
    series, answered = 'balance_backend_requests_total{backend="kept",status_class="2xx"}', 0.0

    def generation(*members: str) -> None:
        """Replace the list, send requests through all workers, and check that a scrape shows these backends only."""
        nonlocal answered
        write_names(tmp_path, origin.port, "kept", *members)
        becomes(world, balancer, "kept", *members)
        streams = [balancer.connect() for _client in range(CLIENTS)]
        for stream in streams:
            for _request in range(4):
                assert stream.send(GET).message()[1] == b"ok"
            stream.close()
        world.until(lambda: labelled(balancer, "backend").keys() == {"kept", *members}, f"series of {members}")
        now = balancer.metric(series)
        assert now > answered
        answered = now

    generation("first")
    size = len(balancer.admin("/metrics")[1].splitlines())
    for number in range(3):
        generation(f"pod{number}")
    restart(world, balancer, 0)
    generation("pod2")
    for number in range(3, 6):
        generation(f"pod{number}")
    restart(world, balancer, 1)
    for number in range(6, 8):
        generation(f"pod{number}")
    assert len(balancer.admin("/metrics")[1].splitlines()) == size
    assert labelled(balancer, "pool").keys() == {"api"}


def test_discovery_series_disappear_with_discovery(world: World, tmp_path: Path) -> None:
    """Also those of workers that died."""
    origin = world.origin()
    balancer = balancer_with_discovery(world, origin, workers=2, discover={"file": str(write_names(tmp_path, origin.port, "x"))})
    looks = 'balance_discovery_updates_total{pool="api",result="changed"}'
    assert balancer.metric(looks) == 2
    restart(world, balancer, 0)
    assert balancer.metric(looks) == 3
    rewrite(balancer, pools=[{"name": "api", "backends": [{"name": "a", "address": f"127.0.0.1:{origin.port}"}]}])
    reload(balancer)
    text = balancer.admin("/metrics")[1]
    assert 'balance_discovery_updates_total{pool="api"' not in text
    assert 'backend="x"' not in text
    assert 'balance_backend_queue_depth{pool="api"} 0.0' in text


def test_discovered_backend_stays_drained(world: World, tmp_path: Path) -> None:
    """Through file changes, reloads and the death of workers."""
    a, b, c = (world.origin(named(name)) for name in "abc")
    file = listing(tmp_path, a=a, b=b)
    balancer = balancer_with_discovery(world, workers=2, admin={"listen": f"unix:{tmp_path}/admin.sock"}, discover={"file": str(file)})

    def state() -> dict[str, bool]:
        return {backend["name"]: backend["drained"] for backend in unix(balancer, "GET", "/status")[1]["backends"]}

    assert unix(balancer, "POST", "/-/backends/b/drain")[0] == 200
    listing(tmp_path, a=a, b=b, c=c)
    world.until(lambda: state() == {"a": False, "b": True, "c": False})
    assert unix(balancer, "POST", "/-/reload")[0] == 200
    started = [event["pid"] for event in balancer.events if event["event"] == "worker_started"]
    for number, pid in enumerate(started, 3):
        os.kill(pid, signal.SIGKILL)
        world.until(lambda: len([event for event in balancer.events if event["event"] == "worker_started"]) == number)  # noqa: B023 -- at once
    assert state() == {"a": False, "b": True, "c": False}
    assert {balancer.get()[1] for _client in range(CLIENTS)} == {b"a", b"c"}
    listing(tmp_path, a=a)
    world.until(lambda: state() == {"a": False})
    listing(tmp_path, a=a, b=b)
    world.until(lambda: state() == {"a": False, "b": False})


def test_workers_share_connection_limit(world: World, tmp_path: Path) -> None:
    file = listing(tmp_path, a=world.origin(), extra="max_connections: 7")
    balancer = balancer_with_discovery(world, workers=2, discover={"file": str(file)})
    assert balancer.status()["backends"][0]["connections"]["limit"] == 7


def test_failed_reload_keeps_discovery_running(world: World, tmp_path: Path) -> None:
    origin = world.origin()
    balancer = balancer_with_discovery(world, workers=2, discover={"file": str(write_names(tmp_path, origin.port, "a"))})
    hung, _other = pids(balancer)
    rewrite(balancer, pools=[{"name": "other", "backends": [{"name": "z", "address": "127.0.0.1:1"}]}])
    balancer.allow("config_not_reloaded")
    os.kill(hung, signal.SIGSTOP)
    try:
        reload(balancer)
    finally:
        os.kill(hung, signal.SIGCONT)
    write_names(tmp_path, origin.port, "a", "b")
    world.until(lambda: labelled(balancer, "backend").keys() == {"a", "b"})
    becomes(world, balancer, "a", "b")
    assert labelled(balancer, "pool").keys() == {"api"}
    assert 'backend="z"' not in balancer.admin("/metrics")[1]
