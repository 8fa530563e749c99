"""Reloading and draining with several workers: all or none, including workers that start later."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from .conftest import Stream
from .test_reload import backends, named, reload, rewrite, unix
from .test_workers import CLIENTS, GET, pids

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, World


def answers(streams: list[Stream]) -> set[bytes]:
    return {stream.send(GET).message()[1] for stream in streams}


def restart(world: World, balancer: Balancer, number: int) -> None:
    """Kill one worker and wait for its replacement."""
    started = len([event for event in balancer.events if event["event"] == "worker_started"])
    os.kill(pids(balancer)[number], signal.SIGKILL)
    world.until(lambda: len([event for event in balancer.events if event["event"] == "worker_started"]) > started)


@pytest.fixture
def two(world: World, tmp_path: Path) -> Balancer:
    """Two workers, two backends, and an admin server on a Unix socket, which permits changes."""
    return world.balancer(world.origin(named("a")), world.origin(named("b")), workers=2, admin={"listen": f"unix:{tmp_path}/admin.sock"})


def test_reload_reaches_all_and_later_workers(world: World) -> None:
    old, new = world.origin(named("old")), world.origin(named("new"))
    balancer = world.balancer(old, workers=2)
    streams = [balancer.connect() for _client in range(CLIENTS)]
    assert answers(streams) == {b"old"}
    rewrite(balancer, backends=backends(b=new))
    reload(balancer)
    assert answers(streams) == {b"new"}
    assert [backend["name"] for backend in balancer.status()["backends"]] == ["b"]
    assert 'backend="a"' not in balancer.admin("/metrics")[1]
    restart(world, balancer, 0)
    assert {balancer.get()[1] for _client in range(CLIENTS)} == {b"new"}
    assert 'backend="a"' not in balancer.admin("/metrics")[1]


def test_bad_config_changes_no_worker(two: Balancer) -> None:
    good = two.config.read_text()
    two.config.write_text("listen: nowhere\n")
    two.allow("config_not_reloaded")
    code, answer = unix(two, "POST", "/-/reload")
    assert code == 422
    assert any("nowhere" in problem for problem in answer["problems"])
    assert {two.get()[1] for _client in range(CLIENTS)} == {b"a", b"b"}
    two.config.write_text(good)
    assert unix(two, "POST", "/-/reload") == (200, {"reloaded": True, "problems": []})
    assert not [event for event in two.events if event["event"] == "worker_ended"]


def test_reload_refused_by_one_worker_changes_none(world: World) -> None:
    balancer = world.balancer(world.origin(named("old")), workers=2)
    hung, _other = pids(balancer)
    os.kill(hung, signal.SIGSTOP)
    rewrite(balancer, backends=backends(b=world.origin(named("new"))))
    balancer.allow("config_not_reloaded")
    try:
        reload(balancer)
    finally:
        os.kill(hung, signal.SIGCONT)
    assert balancer.event("config_not_reloaded")["problems"][0].startswith("worker 0: does not answer")
    assert {balancer.get()[1] for _client in range(CLIENTS)} == {b"old"}
    assert balancer.metric("balance_config_last_reload_successful") == 0
    reload(balancer)
    assert {balancer.get()[1] for _client in range(CLIENTS)} == {b"new"}
    assert balancer.metric("balance_config_last_reload_successful") == 1


def test_all_workers_move_to_another_address(world: World) -> None:
    balancer = world.balancer(world.origin(), workers=2)
    streams = [balancer.connect() for _client in range(CLIENTS)]
    assert answers(streams) == {b"ok"}
    port = world.free_port()
    rewrite(balancer, listen=f"127.0.0.1:{port}")
    reload(balancer)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", balancer.port))
    balancer.port = port
    assert answers(streams) == {b"ok"}
    restart(world, balancer, 1)
    moved = [balancer.connect() for _client in range(CLIENTS)]
    assert answers(moved) == {b"ok"}
    each = [balancer.metric(f'balance_worker_connections{{worker="{number}"}}') for number in (0, 1)]
    assert all(each)


def test_refused_addresses_leave_nothing_behind(world: World, tmp_path: Path) -> None:
    """An address in use, or a Unix socket, which cannot be added while running."""
    balancer = world.balancer(world.origin(), workers=2)
    same = yaml.safe_load(balancer.config.read_text())["listen"]
    path, port = tmp_path / "late.sock", world.free_port()
    balancer.allow("config_not_reloaded")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        rewrite(balancer, listen=[same, f"127.0.0.1:{port}", f"127.0.0.1:{taken.getsockname()[1]}"])
        reload(balancer)
    rewrite(balancer, listen=[same, f"127.0.0.1:{port}", f"unix:{path}"])
    reload(balancer)
    refused = [event["problems"] for event in balancer.events if event["event"] == "config_not_reloaded"]
    assert "cannot listen" in refused[0][0]
    assert refused[1] == [f"unix:{path}: a Unix socket cannot be added to several workers by a reload (restart)"]
    assert not path.exists()
    socket.create_server(("127.0.0.1", port)).close()
    assert balancer.get()[1] == b"ok"


def test_drain_reaches_all_and_later_workers(world: World, two: Balancer) -> None:
    assert unix(two, "POST", "/-/backends/a/drain") == (200, {"backend": "a", "drained": True})
    assert {two.get()[1] for _client in range(CLIENTS)} == {b"b"}
    assert [backend["drained"] for backend in unix(two, "GET", "/status")[1]["backends"]] == [True, False]
    started = [event["pid"] for event in two.events if event["event"] == "worker_started"]
    os.kill(started[0], signal.SIGKILL)
    world.until(lambda: len([event for event in two.events if event["event"] == "worker_started"]) == 3)
    assert {two.get()[1] for _client in range(CLIENTS)} == {b"b"}
    assert unix(two, "POST", "/-/backends/z/drain") == (404, {"error": "unknown backend 'z'", "cure": "choices: a, b", "choices": ["a", "b"]})
    assert unix(two, "POST", "/-/backends/a/enable")[0] == 200
    assert {two.get()[1] for _client in range(CLIENTS)} == {b"a", b"b"}
