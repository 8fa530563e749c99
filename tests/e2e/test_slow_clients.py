"""Slow clients, by slowhttptest: each is ended in time, nobody else notices, and nothing of them is left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Origin, balancing, eventually, fetch

CLIENTS = 200
SLOW = {
    "heads": ["-H", "-i", "5"],
    "bodies": ["-B", "-i", "5", "-s", "8192"],
}


@pytest.fixture
def origin() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.stop()


@pytest.mark.process
@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_are_disconnected(kind: str, origin: Origin, program: Callable[[str], str], tmp_path: Path) -> None:
    config = tmp_path / "balance.yaml"
    config.write_text(
        json.dumps(
            {
                "listen": "127.0.0.1:0",
                "admin": {"listen": "127.0.0.1:0"},
                "backends": [{"name": "a", "address": f"127.0.0.1:{origin.port}"}],
                "health_check": False,
                "timeouts": {"request_header": "2s", "body_idle": "2s", "keep_alive": "1s"},
            }
        )
    )

    with balancing(config) as (port, admin):

        def scraped(name: str, label: str = "") -> float:
            lines = fetch(admin, "/metrics")[1].decode().splitlines()
            return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and label in line)

        def state() -> tuple[int, int, int]:
            """Connections of clients, requests, connections to the backend that are not idle."""
            status = json.loads(fetch(admin, "/status")[1])
            backend = status["backends"][0]["connections"]
            return status["connections"]["active"], status["requests"]["in_flight"], backend["open"] - backend["idle"]

        assert fetch(port, "/")[0] == 200
        tasks = scraped("python_asyncio_tasks")
        command = [program("slowhttptest"), "-c", str(CLIENTS), *SLOW[kind], "-r", "200", "-l", "30", "-p", "10", "-u", f"http://127.0.0.1:{port}/"]
        answers: list[int] = []
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=tmp_path) as attack:
            eventually("all slow clients are there", lambda: state()[0] >= CLIENTS // 2)
            while attack.poll() is None:
                answers.append(fetch(port, "/")[0])
        assert set(answers) == {200}
        eventually("all of them are told that they are too slow", lambda: scraped("balance_http_requests_total{", 'status="408"') == CLIENTS)
        eventually("no connection or request of theirs is left", lambda: state() == (0, 0, 0))
        assert scraped("python_asyncio_tasks") == tasks
