"""Reload of the configuration: all or nothing, without a lost request."""

from __future__ import annotations

import json
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from balance.lb.config.files import FileWatch

from .conftest import PATIENCE, Stream, until

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, World

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def named(name: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())


def rewrite(balancer: Balancer, **changes: Any) -> None:
    """Change top-level keys of the configuration file; None removes one."""
    settings = {**yaml.safe_load(balancer.config.read_text()), **changes}
    balancer.config.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))


def backends(**origins: Origin) -> list[dict[str, Any]]:
    return [{"name": name, "address": f"127.0.0.1:{origin.port}"} for name, origin in origins.items()]


def reload(balancer: Balancer) -> None:
    """Send SIGHUP and wait until the reload has succeeded or failed."""
    count = len([event for event in balancer.events if event["event"].startswith("config_")])
    balancer.signal(signal.SIGHUP)
    until(lambda: len([event for event in balancer.events if event["event"].startswith("config_")]) > count, "the reload")


def unix(balancer: Balancer, method: str, path: str, *headers: str) -> tuple[int, Any]:
    """Status and JSON body of a request to the admin server on its Unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(balancer.admin_path)
    stream = Stream(sock).send("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]).encode())
    head, body = stream.message()
    stream.close()
    return int(head.split(b" ")[1]), json.loads(body)


def test_reload_switches_backends(world: World) -> None:
    old, new = world.origin(named("old")), world.origin(named("new"))
    balancer = world.balancer(old)
    stream = balancer.connect()
    assert stream.send(GET).message()[1] == b"old"
    rewrite(balancer, backends=backends(b=new))
    reload(balancer)
    assert stream.send(GET).message()[1] == b"new"
    assert balancer.get()[1] == b"new"
    assert [backend["name"] for backend in balancer.status()["backends"]] == ["b"]


def test_removed_backends_lose_their_series(world: World) -> None:
    """Counters of the remaining backends continue."""
    kept, removed = world.origin(), world.origin()
    balancer = world.balancer(kept, removed)
    for _request in range(4):
        balancer.get()
    series = 'balance_backend_requests_total{backend="a",status_class="2xx"}'
    balancer.becomes(series, 2)
    rewrite(balancer, backends=backends(a=kept))
    reload(balancer)
    balancer.get()
    balancer.becomes(series, 3)
    text = balancer.admin("/metrics")[1]
    assert 'backend="b"' not in text
    assert balancer.metric("balance_config_last_reload_successful") == 1


WRONG = {
    "invalid YAML": ("{", "invalid YAML: expected the node content, but found '<stream end>'"),
    "unknown key": ("listen: ':0'\nbackendz: []\n", "backendz: unknown setting (did you mean 'backends'?)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_config_changes_nothing_and_is_reported(world: World, case: str) -> None:
    text, cause = WRONG[case]
    balancer = world.balancer(world.origin())
    good = balancer.config.read_text()
    balancer.config.write_text(text)
    balancer.allow("config_not_reloaded")
    reload(balancer)
    assert any(cause in problem for problem in balancer.event("config_not_reloaded")["problems"])
    assert balancer.metric("balance_config_last_reload_successful") == 0
    assert balancer.get()[1] == b"ok"
    balancer.config.write_text(good)
    reload(balancer)
    assert balancer.metric("balance_config_last_reload_successful") == 1


def test_taken_address_changes_nothing(world: World) -> None:
    balancer = world.balancer(world.origin())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        rewrite(balancer, listen=[balancer.listen[0], f"127.0.0.1:{taken.getsockname()[1]}"], backends=backends(z=world.origin()))
        balancer.allow("config_not_reloaded")
        reload(balancer)
    assert "cannot listen" in balancer.event("config_not_reloaded")["problems"][0]
    assert [backend["name"] for backend in balancer.status()["backends"]] == ["a"]


def test_listen_address_moves_and_connections_stay(world: World) -> None:
    balancer = world.balancer(world.origin())
    stream = balancer.connect()
    assert stream.send(GET).message()[1] == b"ok"
    port = world.free_port()
    rewrite(balancer, listen=f"127.0.0.1:{port}")
    reload(balancer)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", balancer.port))
    assert stream.send(GET).message()[1] == b"ok"
    balancer.port = port
    assert balancer.get()[1] == b"ok"


def test_request_in_flight_keeps_its_backend(world: World) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(stream: Stream) -> None:
        stream.message()
        asked.set()
        go_on.wait(PATIENCE)
        stream.send(named("old"))

    balancer = world.balancer(world.origin(slow))
    stream = balancer.connect().send(GET)
    assert asked.wait(PATIENCE)
    rewrite(balancer, backends=backends(b=world.origin(named("new"))))
    reload(balancer)
    assert balancer.get()[1] == b"new"
    go_on.set()
    assert stream.message()[1] == b"old"
    assert stream.send(GET).message()[1] == b"new"


def test_queued_request_takes_new_backend(world: World) -> None:
    go_on = threading.Event()

    def stuck(stream: Stream) -> None:
        stream.message()
        go_on.wait(PATIENCE)

    full = world.origin(stuck)
    balancer = world.balancer(full, backends=[{"name": "a", "address": f"127.0.0.1:{full.port}", "max_connections": 1}])
    balancer.connect().send(GET)
    waiting = balancer.connect().send(GET)
    world.until(lambda: balancer.status()["requests"]["queued"] == 1)
    rewrite(balancer, backends=backends(b=world.origin(named("new"))))
    reload(balancer)
    assert waiting.message()[1] == b"new"
    go_on.set()


def test_many_reloads_under_load_lose_no_request(world: World) -> None:
    one, two = world.origin(named("1")), world.origin(named("2"))
    balancer = world.balancer(one)
    over, answers = threading.Event(), []

    def ask() -> None:
        stream = balancer.connect()
        while not over.is_set():
            answers.append(stream.send(GET).message()[1])

    clients = [threading.Thread(target=ask) for _client in range(4)]
    for client in clients:
        client.start()
    for number in range(20):
        rewrite(balancer, backends=backends(**({"a": one} if number % 2 else {"b": two})))
        reload(balancer)
    over.set()
    for client in clients:
        client.join(PATIENCE)
    assert set(answers) == {b"1", b"2"}


@pytest.fixture
def socketed(world: World, tmp_path: Path) -> Balancer:
    return world.balancer(world.origin(named("a")), world.origin(named("b")), admin={"listen": f"unix:{tmp_path}/admin.sock"})


def test_admin_reload_reports_problems(socketed: Balancer) -> None:
    assert unix(socketed, "POST", "/-/reload") == (200, {"reloaded": True, "problems": []})
    socketed.config.write_text("listen: nowhere\n")
    socketed.allow("config_not_reloaded")
    code, answer = unix(socketed, "POST", "/-/reload")
    assert code == 422
    assert any("nowhere" in problem for problem in answer["problems"])


def test_drained_backend_gets_no_requests(socketed: Balancer) -> None:
    assert unix(socketed, "POST", "/-/backends/a/drain") == (200, {"backend": "a", "drained": True})
    assert {socketed.get()[1] for _request in range(10)} == {b"b"}
    assert unix(socketed, "POST", "/-/backends/a/enable")[0] == 200
    assert {socketed.get()[1] for _request in range(10)} == {b"a", b"b"}
    assert unix(socketed, "POST", "/-/backends/z/drain") == (404, {"error": "unknown backend 'z'", "cure": "choices: a, b", "choices": ["a", "b"]})


def test_admin_actions_need_token_or_socket(world: World) -> None:
    balancer = world.balancer(world.origin())
    for path in ("/-/reload", "/-/backends/a/drain"):
        stream = Stream(socket.create_connection(("127.0.0.1", balancer.admin_port)))
        head, body = stream.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()).message()
        assert head.startswith(b"HTTP/1.1 403 ")
        assert "admin.token" in json.loads(body)["cure"]
        stream.close()
    assert balancer.get()[1] == b"ok"


# --- by watching the file ---


def swap(folder: Path, number: int, text: str) -> None:
    """Replace the mounted file as Kubernetes does for a ConfigMap: write a new folder and move the symlink to it."""
    new, link = folder / f"..{number}", folder / "..new"
    new.mkdir()
    (new / "balance.yaml").write_text(text)
    link.symlink_to(new.name)
    link.replace(folder / "..data")


def reloads(balancer: Balancer) -> list[tuple[str, str]]:
    return [(event["event"], event["by"]) for event in balancer.events if event["event"].startswith("config_")]


def wait_for_file_checks(balancer: Balancer, times: int) -> None:
    """Wait for `times` more checks of the watched files, counted by the discovery file that is checked as often as the configuration."""
    series = 'balance_discovery_updates_total{pool="clock",result="unchanged"}'
    before = balancer.metric(series)
    until(lambda: balancer.metric(series) >= before + times, "looks at files")


def watching(world: World, tmp_path: Path, *, workers: int = 1, watch: bool = True) -> Balancer:
    """A balancer that watches its configuration, with a pool whose file never changes, for `wait_for_file_checks`."""
    listing = tmp_path / "clock.yaml"
    listing.write_text("- {name: clock, address: '127.0.0.1:1'}\n")
    pools = [{"name": "main", "backends": backends(a=world.origin(named("old")))}, {"name": "clock", "discover": {"file": str(listing)}}]
    return world.balancer(backends=None, pools=pools, workers=workers, watch_config=watch)


def to(balancer: Balancer, origin: Origin) -> None:
    clock = yaml.safe_load(balancer.config.read_text())["pools"][1]
    rewrite(balancer, pools=[{"name": "main", "backends": backends(b=origin)}, clock])


@pytest.mark.parametrize("workers", [1, 2])
def test_changed_file_is_reloaded_once(world: World, tmp_path: Path, workers: int) -> None:
    balancer = watching(world, tmp_path, workers=workers)
    to(balancer, world.origin(named("new")))
    balancer.event("config_reloaded", by="file")
    assert {balancer.get()[1] for _request in range(20)} == {b"new"}
    wait_for_file_checks(balancer, 4)
    assert reloads(balancer) == [("config_reloaded", "file")]


def test_symlink_swap_is_noticed(world: World, tmp_path: Path) -> None:
    balancer = watching(world, tmp_path)
    mounted, text = balancer.config.parent, balancer.config.read_text()
    swap(mounted, 1, text)
    (mounted / "link").symlink_to("..data/balance.yaml")
    (mounted / "link").replace(balancer.config)
    wait_for_file_checks(balancer, 4)
    assert reloads(balancer) == [], "it says what it said before"
    swap(mounted, 2, text.replace("name: a\n", "name: renamed\n"))
    balancer.event("config_reloaded", by="file")
    assert balancer.status()["backends"][0]["name"] == "renamed"


def test_bad_file_reported_once_and_fixed_file_loaded(world: World, tmp_path: Path) -> None:
    balancer = watching(world, tmp_path)
    good = balancer.config.read_text()
    balancer.allow("config_not_reloaded")
    balancer.config.write_text("listen: nowhere\n")
    assert any("nowhere" in problem for problem in balancer.event("config_not_reloaded", by="file")["problems"])
    assert balancer.metric("balance_config_last_reload_successful") == 0
    wait_for_file_checks(balancer, 4)
    assert reloads(balancer) == [("config_not_reloaded", "file")]
    assert balancer.get()[1] == b"old"
    balancer.config.write_text(good)
    balancer.event("config_reloaded", by="file")
    assert balancer.metric("balance_config_last_reload_successful") == 1


def test_config_loaded_by_signal_is_not_reloaded(world: World, tmp_path: Path) -> None:
    balancer = watching(world, tmp_path)
    to(balancer, world.origin(named("new")))
    reload(balancer)
    wait_for_file_checks(balancer, 4)
    assert len(reloads(balancer)) == 1


def test_file_is_not_watched_by_default(world: World, tmp_path: Path) -> None:
    balancer = watching(world, tmp_path, watch=False)
    to(balancer, world.origin(named("new")))
    wait_for_file_checks(balancer, 4)
    assert reloads(balancer) == []
    assert balancer.get()[1] == b"old"
    rewrite(balancer, watch_config=True)
    reload(balancer)
    to(balancer, world.origin(named("newer")))
    balancer.event("config_reloaded", by="file")
    assert balancer.get()[1] == b"newer"


def test_change_counts_once_settled(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("1")
    watch, new = FileWatch([str(file)]), FileWatch([str(file)], new=True)
    assert (watch.changed(), watch.changed()) == (False, False)
    assert (new.changed(), new.changed()) == (True, False)
    for size in range(2, 5):
        file.write_text("1" * size)
        assert not watch.changed()
    assert (watch.changed(), watch.changed()) == (True, False)
    file.unlink()
    assert (watch.changed(), watch.changed(), watch.changed()) == (False, True, False)
