"""The benchmarks measure what they claim: open-loop schedules hold for slow servers, bad responses are errors, configurations are complete."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import rules_src
from balance.lb.config import parse as parse_config
from balance.lint.check import Inputs
from balance.lint.run import run as lint
from balance.monitoring.settings import Settings
from tools.bench import many, openloop
from tools.bench.load import parse
from tools.bench.peers import BALANCE, BODY, LOGGING, ORIGIN, PEERS, Peer
from tools.bench.stage import filled
from tools.bench.table import Goal, summary

GOOD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
WORDS = dict.fromkeys(("directory", "name", "config", "origin", "port", "tls_port", "admin", "certificate", "key", "both"), "1")


@contextlib.contextmanager
def server(answer: bytes, released: threading.Event) -> Iterator[int]:
    """Gives this answer to every request, once released; an empty one closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    threads = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536) and released.wait(60) and answer:
                connection.sendall(answer)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        released.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(60)
        for thread in threads:
            thread.join(60)


@pytest.mark.process
def test_latency_counts_from_due_time() -> None:
    """A request delayed by a stalled server counts from when it was due, not from when it was sent."""
    released = threading.Event()
    with server(GOOD, released) as port:
        threading.Timer(0.5, released.set).start()
        found = openloop.main(port, 1000, 0.5)
    # Nothing is answered before half a second, so request n waits at least 0.5 s - n ms, also those beyond the 64 that could be sent at once.
    assert found.p50 > 0.2
    assert found.p99 > 0.4


@pytest.mark.process
@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (GOOD.replace(b"200 OK", b"503 No"), "not a success"),
        (b"", "a connection was closed"),
    ],
)
def test_bad_responses_are_errors(answer: bytes, complaint: str) -> None:
    released = threading.Event()
    released.set()
    with server(answer, released) as port, pytest.raises(RuntimeError, match=complaint):
        openloop.main(port, 1000, 0.1)


def test_wrk_output_is_parsed() -> None:
    assert parse("a", "  151234 requests in 5.01s, 20.00MB read\nRequests/sec:  30186.42\nTransfer/sec:  4.0MB\n") == (151234, 30186.42)


@pytest.mark.parametrize(
    "text",
    [
        "9 requests in 5.01s\n  Non-2xx or 3xx responses: 1\nRequests/sec: 2.0\n",
        "9 requests in 5.01s\n  Socket errors: connect 0, read 1, write 0, timeout 0\nRequests/sec: 2.0\n",
        "0 requests in 5.01s\nRequests/sec: 0.00\n",
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        "",
    ],
)
def test_wrk_errors_are_errors(text: str) -> None:
    with pytest.raises(RuntimeError, match="a: wrk was not answered properly"):
        parse("a", text)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("peer", [ORIGIN, LOGGING, *PEERS], ids=lambda peer: peer.name)
def test_configurations_are_filled_in(peer: Peer, tls: bool) -> None:
    words = {**WORDS, **peer.words, "tls": peer.tls if tls else ""}
    for text in (peer.config, peer.command, *peer.environment.values()):
        assert "%" not in filled(text, words)
    assert bool(re.search(r"tls_port", peer.config + peer.command + peer.tls)) == (peer is not ORIGIN)


@pytest.mark.parametrize("peer", [BALANCE, LOGGING], ids=lambda peer: peer.name)
def test_balance_configuration_is_valid(peer: Peer) -> None:
    config = parse_config(filled(peer.config, {**WORDS, **peer.words, "tls": ""}), "bench", {})
    assert config.log.access == (peer is LOGGING)


@pytest.mark.parametrize(
    ("goal", "met"),
    [(Goal("a", 2, 2, at_least=True), True), (Goal("a", 2, 1.9, at_least=True), False), (Goal("a", 2, 2), True), (Goal("a", 2, 2.1), False)],
)
def test_goals(goal: Goal, met: bool) -> None:
    assert goal.met is met
    assert summary([goal]).splitlines()[-1].endswith("| yes |" if met else "| no |")


def test_many_services_are_complete_and_clean() -> None:
    settings = Settings(job="many")
    bundle = many.services(settings)
    panels = sum(len(dashboard.panels) for dashboard in bundle.dashboards)
    assert (len(bundle.catalog.metrics), len(bundle.alerts), panels) == (1000, 1000, 2000)
    assert lint(Inputs(bundle, settings)) == ([], 1000)


@pytest.mark.process
def test_sdk_script_builds_the_same_dashboard(repository: Path) -> None:
    """The SDK's script builds as many panels, queries, variables and annotations as `balance-gen dashboards` prints."""

    def counts(text: str) -> Counter[str]:
        board = json.loads(text)
        panels = [inner for panel in board["panels"] for inner in (panel, *(panel.get("panels") or ()))]
        queries = (target["expr"] for panel in panels for target in panel.get("targets") or ())
        others = (len(board["templating"]["list"]), len(board["annotations"]["list"]))
        return Counter([*(panel["type"] for panel in panels), *queries, *map(str, others)])

    ours = repository / "generated" / "dashboards" / "balance.json"
    script = [sys.executable, "-m", "tools.bench.foundation", str(ours)]
    theirs = counts(subprocess.run(script, cwd=repository, capture_output=True, text=True, check=True).stdout)
    assert theirs == counts(ours.read_text())
    assert theirs["timeseries"] > 40


def test_twice_doubles_every_alert() -> None:
    settings = Settings()
    assert len(many.twice(settings).alerts) == 2 * len(rules_src.source(settings).alerts)
