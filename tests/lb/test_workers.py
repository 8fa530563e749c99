"""Several worker processes as one service: spreading of clients, crashes, and aggregated metrics and status."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from balance.lb.app import processors

from .conftest import PATIENCE, Stream
from .test_start import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, World

H = b"Host: test\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLIENTS = 32
"""So many that all of them reach the same of two workers only once in two thousand million runs."""


def pids(balancer: Balancer) -> list[int]:
    return [worker["pid"] for worker in balancer.status()["workers"]]


def counts(balancer: Balancer) -> dict[str, float]:
    """Every series of a scrape that must never decrease."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(balancer.admin("/metrics")[1])
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def runs(pid: int) -> bool:
    """True if there is such a process that has not ended."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "\nState:\tZ" not in status.read_text()


def answered(balancer: Balancer) -> float:
    return balancer.metric('balance_http_requests_total{method="GET",status="200"}')


def test_clients_are_spread_and_metrics_aggregated(world: World) -> None:
    balancer = world.balancer(
        world.origin(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + b"a" * 300), workers=2, limits={"max_connections": 1001}
    )
    streams = [balancer.connect() for _client in range(CLIENTS)]
    for number, stream in enumerate(streams):
        for _request in range(1 + number % 3):
            assert stream.send(GET).message()[1] == b"a" * 300
    total = sum(1 + number % 3 for number in range(CLIENTS))
    each = [balancer.metric(f'balance_worker_connections{{worker="{number}"}}') for number in (0, 1)]
    assert all(each)
    assert sum(each) == balancer.metric("balance_active_connections") == CLIENTS
    assert answered(balancer) == total
    assert balancer.metric("balance_http_response_size_bytes_sum") == 300 * total
    buckets = [balancer.metric(f'balance_http_response_size_bytes_bucket{{le="{bound}"}}') for bound in ("256.0", "1024.0", "+Inf")]
    assert buckets == [0, total, total]
    assert balancer.metric("balance_connections_limit") == 1001
    assert (balancer.metric("balance_workers"), balancer.metric("balance_workers_configured")) == (2, 2)
    assert balancer.metric('balance_backend_healthy{backend="a"}') == 1
    status = balancer.status()
    assert status["connections"] == {"active": CLIENTS, "limit": 1001}
    assert [worker["connections"]["active"] for worker in status["workers"]] == each
    assert (status["ready"], status["draining"], status["backends"][0]["connections"]["limit"]) == (True, False, 1000)


def test_killed_worker_loses_only_its_requests(world: World) -> None:
    """It is restarted, and no counter decreases."""
    balancer = world.balancer(world.origin(), workers=2)
    over = threading.Event()
    scrapes = [counts(balancer)]

    def client() -> list[bool]:
        outcomes = []
        while not over.is_set():
            try:
                outcomes.append(balancer.get()[1] == b"ok")
            except ConnectionError:
                outcomes.append(False)
        return outcomes

    def scraper() -> None:
        while not over.is_set():
            scrapes.append(counts(balancer))

    with ThreadPoolExecutor() as pool:
        watching = pool.submit(scraper)
        clients = [pool.submit(client) for _client in range(4)]
        try:
            world.until(lambda: answered(balancer) > 100)
            killed, kept = pids(balancer)
            os.kill(killed, signal.SIGKILL)
            assert balancer.event("worker_ended", worker=0)["signal"] == "SIGKILL"
            balancer.event("worker_restarting", worker=0, seconds=0.1)
            world.until(lambda: len([event for event in balancer.events if event["event"] == "worker_started"]) == 3)
            before = answered(balancer)
            world.until(lambda: answered(balancer) > before + 100)
        finally:
            over.set()
        outcomes = [outcome for done in clients for outcome in done.result()]
        watching.result()
    assert outcomes.count(False) <= 2 * 4, "of each client what is in flight, and what meets the socket while the kernel is closing it"
    after = pids(balancer)
    assert after[0] != killed
    assert after[1] == kept
    assert balancer.metric('balance_worker_restarts_total{worker="0"}') == 1
    scrapes.append(counts(balancer))
    for earlier, later in pairwise(scrapes):
        assert {name for name, value in earlier.items() if later[name] < value} == set()
    assert len(scrapes) > 5


def test_stopped_worker_loses_no_counts(world: World) -> None:
    balancer = world.balancer(world.origin(), workers=2)
    for round_ in (1, 2, 3):
        for _request in range(20):
            assert balancer.get()[1] == b"ok"
        os.kill(pids(balancer)[0], signal.SIGTERM)
        world.until(lambda: len([event for event in balancer.events if event["event"] == "worker_started"]) == 2 + round_)  # noqa: B023 -- at once
        assert answered(balancer) == 20 * round_
    assert balancer.event("worker_ended")["code"] == 0


def balancer_with_waiting_clients(world: World, go_on: threading.Event, shutdown: str) -> tuple[Balancer, list[Stream]]:
    """A balancer with two workers, and clients whose requests are answered once `go_on` is set."""

    def script(stream: Stream) -> None:
        while stream.message()[0]:
            go_on.wait(PATIENCE)
            stream.send(OK)

    origin = world.origin(script)
    balancer = world.balancer(origin, workers=2, timeouts={"shutdown": shutdown})
    streams = [balancer.connect().send(GET) for _client in range(CLIENTS)]
    world.until(lambda: len(origin.heads) == CLIENTS)
    return balancer, streams


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whom", ["the supervisor", "everybody"])
def test_signal_stops_all_workers_gracefully(world: World, number: signal.Signals, whom: str) -> None:
    go_on = threading.Event()
    balancer, streams = balancer_with_waiting_clients(world, go_on, "15s")
    idle = balancer.connect()
    for pid in pids(balancer) if whom == "everybody" else ():
        os.kill(pid, number)
    balancer.signal(number)
    balancer.event("stopping", workers=2)
    for worker in (0, 1):
        balancer.event("stopping", worker=worker)
    assert idle.closed()
    assert balancer.admin("/ready") == (503, "the load balancer is stopping\n")
    with pytest.raises(ConnectionRefusedError):
        balancer.connect()
    go_on.set()
    assert [stream.message()[1] for stream in streams] == [b"ok"] * CLIENTS
    assert balancer.wait() == 0
    assert balancer.events[-1]["broken_connections"] == 0
    assert not [event for event in balancer.events if event["event"] in ("worker_ended", "worker_restarting")]


@pytest.mark.parametrize("how", ["timeout", "second signal"])
def test_shutdown_aborts_remaining_requests(world: World, how: str) -> None:
    go_on = threading.Event()
    balancer, streams = balancer_with_waiting_clients(world, go_on, "100ms" if how == "timeout" else "1h")
    balancer.signal()
    if how == "second signal":
        balancer.event("stopping", worker=1)
        balancer.signal()
    assert [stream.rest() for stream in streams] == [b""] * CLIENTS
    assert balancer.wait() == 0
    assert balancer.events[-1]["broken_connections"] == CLIENTS
    go_on.set()


def test_hung_worker_is_killed_at_shutdown(world: World) -> None:
    """Until then the others serve, and scrapes do not wait for it."""
    balancer = world.balancer(world.origin(), workers=2)
    for _request in range(CLIENTS):
        balancer.get()
    assert answered(balancer) == CLIENTS
    hung, alive = pids(balancer)
    os.kill(hung, signal.SIGSTOP)
    assert answered(balancer) == CLIENTS
    status = balancer.status()
    assert [worker["pid"] for worker in status["workers"] if "connections" in worker] == [alive]
    assert balancer.admin("/ready") == (200, "ready\n")
    balancer.signal()
    assert balancer.wait() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


def test_workers_stop_gracefully_without_supervisor(world: World) -> None:
    go_on = threading.Event()
    balancer, streams = balancer_with_waiting_clients(world, go_on, "15s")
    left = pids(balancer)
    balancer.exit_code = -signal.SIGKILL
    balancer.signal(signal.SIGKILL)
    for worker in (0, 1):
        balancer.event("supervisor_gone", worker=worker)
    go_on.set()
    assert [stream.message()[1] for stream in streams] == [b"ok"] * CLIENTS
    balancer.wait()  # until every process has closed standard error
    world.until(lambda: not any(map(runs, left)))


def test_failing_worker_is_restarted_ever_later(world: World, authority: Authority) -> None:
    """Without any running worker the balancer is not ready."""
    pair = authority.issue("site", "site.test")
    balancer = world.balancer(world.origin(), workers=2, tls={"listen": "127.0.0.1:0", "certificates": [pair]})
    key = Path(pair["key"])
    kept = key.read_bytes()
    key.unlink()
    for pid in pids(balancer):
        os.kill(pid, signal.SIGKILL)
    world.until(lambda: balancer.admin("/ready") == (503, "no worker is running\n"))
    assert "site.key cannot be read" in balancer.event("worker_not_started", worker=0)["cause"]
    balancer.event("worker_restarting", worker=0, seconds=0.4)
    assert balancer.metric("balance_workers") == 0
    assert (balancer.status()["ready"], balancer.admin("/health")[0]) == (False, 200)
    key.write_bytes(kept)
    world.until(lambda: balancer.admin("/ready")[0] == 200)
    assert balancer.metric('balance_worker_restarts_total{worker="0"}') >= 2


def other_owner(_world: World, port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def same_user(_world: World, port: int) -> socket.socket:
    owner = socket.socket()
    owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    owner.bind(("127.0.0.1", port))
    owner.listen()
    return owner


@pytest.mark.parametrize("owner", [other_owner, same_user])
def test_port_in_use_is_one_line(tmp_path: Path, world: World, owner: Callable[[World, int], socket.socket]) -> None:
    port = world.free_port()
    with owner(world, port):
        code, lines = serve(tmp_path, listen=f"127.0.0.1:{port}", workers=2)
    assert (code, lines) == (2, [f"127.0.0.1:{port}: cannot listen: address already in use (choose another address: listen, or BALANCE_LISTEN)"])


def test_port_of_another_balancer_is_in_use(tmp_path: Path, world: World) -> None:
    balancer = world.balancer(world.origin(), workers=2)
    code, lines = serve(tmp_path, listen=f"127.0.0.1:{balancer.port}", workers=2)
    assert (code, len(lines)) == (2, 1)
    assert "address already in use" in lines[0]


def test_failed_start_leaves_nothing_behind(tmp_path: Path, world: World) -> None:
    port = world.free_port()
    code, lines = serve(tmp_path, listen=f"127.0.0.1:{port}", admin={"listen": f"127.0.0.1:{port}"}, workers=2)
    assert (code, len(lines)) == (2, 1)
    socket.create_server(("127.0.0.1", port)).close()


def test_workers_share_unix_socket(world: World, tmp_path: Path) -> None:
    """The socket outlives each of them."""
    path = tmp_path / "front.sock"
    balancer = world.balancer(world.origin(), workers=2, listen=f"unix:{path}")

    def connect() -> Stream:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        return Stream(client)

    for number in (1, 2):
        stream = connect()
        assert stream.send(GET).message()[1] == b"ok"
        stream.close()
        os.kill(pids(balancer)[0], signal.SIGTERM)
        world.until(lambda: len([event for event in balancer.events if event["event"] == "worker_started"]) == 2 + number)  # noqa: B023 -- at once
    assert path.exists()
    balancer.stop()
    assert not path.exists()


def test_all_workers_speak_tls(world: World, authority: Authority) -> None:
    balancer = world.balancer(world.origin(), workers=2, tls={"listen": "127.0.0.1:0", "certificates": [authority.issue("site", "site.test")]})
    streams = [balancer.connect_tls(authority.client()) for _client in range(CLIENTS)]
    assert [stream.send(GET).message()[1] for stream in streams] == [b"ok"] * CLIENTS
    assert all(balancer.metric(f'balance_worker_connections{{worker="{number}"}}') for number in (0, 1))


def test_log_lines_of_workers_do_not_interleave(world: World) -> None:
    reader, writer = os.pipe()
    balancer = world.balancer(world.origin(), workers=2, stdout=writer)
    os.close(writer)
    streams = [balancer.connect() for _client in range(CLIENTS)]
    for number, stream in enumerate(streams * 4):  # 1.3 MB: much more than a pipe holds
        stream.send(b"GET /%d/%s HTTP/1.1\r\n" % (number, b"a" * 10_000) + H + b"\r\n").message()
    balancer.signal()
    with open(reader) as lines:
        targets = [json.loads(line)["target"] for line in lines]
    assert sorted(int(target.split("/")[1]) for target in targets) == list(range(CLIENTS * 4))


def test_workers_auto_is_processor_count(world: World) -> None:
    balancer = world.balancer(world.origin(), environment={"BALANCE_WORKERS": "auto"})
    assert balancer.metric("balance_workers_configured") == processors()
