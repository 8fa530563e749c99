"""Every alert by its cause: the real balancer fails, Prometheus notices, Alertmanager tells whom it should, and says when it is over.

One Prometheus and one Alertmanager, both as generated, watch a balancer for each cause; all causes take place at once. Intervals, waits
and the window of rates are scaled down by settings.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from balance.commands.cli import main
from balance.lb.catalog import metrics as m
from balance.monitoring.bundle import Bundle

from .conftest import Inbox, Origin, alerting, eventually, fetch, free_port, running

pytestmark = pytest.mark.process
WAIT_SECONDS = 2
WINDOW_SECONDS = 5
FEWEST_REQUESTS = 10
"""In the window of rates, for a ratio to mean something."""
HELD = 600
"""Connections with half a head of almost the allowed size, to make a process grow."""
ROOM = 8 * 1024 * 1024
"""Bytes that a process may grow by."""
MOST_CLIENTS = 30
ACCEPTED = m.CONNECTIONS_ACCEPTED.name
RECEIVER = {"critical": "/page", "warning": "/inform"}
"""Where the webhook of each severity's receiver posts."""
Json = dict[str, Any]


class Scene:
    """A balancer with two backends, the job `name`, and traffic to `target` by `clients` at once."""

    def __init__(self, name: str, folder: Path, **config: Any) -> None:
        self.name, self.folder = name, folder
        self.origins = [Origin(), Origin()]
        self.listen = self.admin = 0
        self.target, self.clients = "/", 1
        self.open: list[socket.socket] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._leaving = threading.Event()
        folder.mkdir()
        backends = [{"name": name, "address": f"127.0.0.1:{origin.port}"} for name, origin in zip(("one", "two"), self.origins, strict=True)]
        check = {"type": "http", "path": "/health", "interval": "200ms", "timeout": "1s", "healthy_threshold": 2, "unhealthy_threshold": 2}
        self.config = {
            "backends": backends, "health_check": check, "circuit_breaker": {"open_for": "1s"}, "log": {"access": False}, **config,
        }  # fmt: skip

    def start(self) -> None:
        """Start it, on the ports that it had before if it was running before."""
        config, log = self.folder / "balance.yaml", self.folder / "balance.log"
        config.write_text(json.dumps({"listen": f"127.0.0.1:{self.listen}", "admin": {"listen": f"127.0.0.1:{self.admin}"}, **self.config}))
        with log.open("wb") as output:
            process = self.process = subprocess.Popen(
                [sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(config)], stdout=output, stderr=output
            )
        event = eventually(f"the balancer of {self.name} starts", lambda: started(log) or process.poll() is not None)
        assert isinstance(event, dict), log.read_text()
        self.listen, self.admin = (int(event[name].rpartition(":")[2]) for name in ("listen", "admin"))

    def kill(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def resident(self) -> float:
        lines = fetch(self.admin, "/metrics")[1].decode().splitlines()
        return float(next(line for line in lines if line.startswith("process_resident_memory_bytes")).split()[1])

    def connect(self, first: bytes) -> None:
        connection = socket.create_connection(("127.0.0.1", self.listen))
        connection.sendall(first)
        self.open.append(connection)

    def disconnect(self) -> None:
        while self.open:
            self.open.pop().close()

    def traffic(self, number: int) -> None:
        """Requests of one client, until the scene closes; a client of a higher number than there are to be now rests."""
        while not self._leaving.wait(0.03):
            if number < self.clients:
                with contextlib.suppress(OSError, HTTPException):
                    fetch(self.listen, self.target)

    def close(self) -> None:
        self._leaving.set()
        self.disconnect()
        self.kill()
        for origin in self.origins:
            with contextlib.suppress(OSError):
                origin.stop()


Act = Callable[[Scene], object]


class Cause:
    """What makes an alert fire, and what ends it."""

    def __init__(self, alert: str, begin: Act, end: Act, **config: Any) -> None:
        self.alert, self.begin, self.end, self.config = alert, begin, end, config


def asking(target: str, clients: int = 1) -> Act:
    def act(scene: Scene) -> None:
        scene.target, scene.clients = target, clients

    return act


def stopping(*indices: int) -> Act:
    def act(scene: Scene) -> None:
        for index in indices:
            scene.origins[index].stop()

    return act


def starting(*indices: int) -> Act:
    def act(scene: Scene) -> None:
        for index in indices:
            scene.origins[index].start()

    return act


def keeping(count: int, first: bytes) -> Act:
    def act(scene: Scene) -> None:
        for _ in range(count):
            scene.connect(first)

    return act


def restart(scene: Scene) -> None:
    scene.disconnect()
    scene.kill()
    scene.start()


CAUSES = (
    Cause("BalanceHighErrorRate", asking("/status/500"), asking("/")),
    Cause("BalanceHighLatency", asking("/slow/1.2", MOST_CLIENTS), asking("/")),
    Cause("BalanceBackendDown", stopping(1), starting(1)),
    Cause("BalanceAllBackendsDown", stopping(0, 1), starting(0, 1)),
    Cause("BalanceHighConnections", keeping(18, b""), Scene.disconnect, limits={"max_connections": 20}, timeouts={"request_header": "60s"}),
    Cause("BalanceHighMemoryUsage", keeping(HELD, b"GET / HTTP/1.1\r\nX: " + b"x" * 30_000), restart, timeouts={"request_header": "60s"}),
    Cause("BalanceCircuitBreakerOpen", asking("/status/503"), asking("/")),
    Cause("BalanceHighRetryRate", stopping(1), starting(1), health_check=False, circuit_breaker=False, retry={"budget_per_second": 1000}),
    Cause("BalanceDown", Scene.kill, Scene.start),
)  # fmt: skip


class Chain:
    """What runs, and what became of each cause."""

    def __init__(self, scenes: dict[str, Scene], inbox: Inbox, prometheus: int, alertmanager: int) -> None:
        self.scenes, self.inbox, self.prometheus, self.alertmanager = scenes, inbox, prometheus, alertmanager
        self.inhibited: set[tuple[str, str]] = set()
        """Job and name of alerts that Alertmanager held back."""
        self.told_meanwhile: set[tuple[str, str]] = set()
        """Path and name of what was told while all backends were dead."""

    def told(self, status: str, alert: str, job: str = "") -> list[tuple[str, dict[str, str]]]:
        wanted = {"alertname": alert, "job": job or alert}
        return [(path, labels) for path, labels in self.inbox.alerts(status) if wanted.items() <= labels.items()]

    def query(self, promql: str) -> list[Json]:
        result: list[Json] = json.loads(fetch(self.prometheus, f"/api/v1/query?query={quote(promql)}")[1])["data"]["result"]
        return result

    def firing(self, **labels: str) -> list[Json]:
        matchers = "".join(f',{name}="{value}"' for name, value in labels.items())
        return self.query(f'ALERTS{{alertstate="firing"{matchers}}}')

    def play(self, cause: Cause) -> float:
        """Begin the cause, see its alert told, end it, see that told. Returns how many seconds it took."""
        scene, begin = self.scenes[cause.alert], time.monotonic()
        cause.begin(scene)
        eventually(f"{cause.alert} is told", lambda: self.told("firing", cause.alert))
        if cause.alert == "BalanceAllBackendsDown":
            eventually("the backends fire too", lambda: len(self.firing(alertname="BalanceBackendDown", job=cause.alert)) == 2)
            eventually("Alertmanager holds them back", self.held_back)
            time.sleep(4 * WAIT_SECONDS)  # longer than the group of a warning waits: what is not told by now is not told
            self.told_meanwhile = {(path, labels["alertname"]) for path, labels in self.inbox.alerts("firing") if labels["job"] == cause.alert}
        cause.end(scene)
        eventually(f"the end of {cause.alert} is told", lambda: self.told("resolved", cause.alert))
        return time.monotonic() - begin

    def held_back(self) -> bool:
        """Whether the page about all backends silences those about each."""
        shown = json.loads(fetch(self.alertmanager, "/api/v2/alerts?inhibited=true")[1])
        self.inhibited |= {(alert["labels"]["job"], alert["labels"]["alertname"]) for alert in shown if alert["status"]["inhibitedBy"]}
        return ("BalanceAllBackendsDown", "BalanceBackendDown") in self.inhibited


def started(log: Path) -> Json | None:
    """What the balancer logged when it had started."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    event = next((line for line in lines if line.get("event") == "started"), None)
    return event and {name: value[0] if isinstance(value, list) else value for name, value in event.items()}


def settings(scene: Scene, inbox: Inbox, alertmanager: int, bundle: Bundle) -> Path:
    """A settings file that scales everything down, for the job of this scene."""
    waits = {
        alert.name: {"for": f"{min(alert.wait, WAIT_SECONDS)}s", "keep_firing_for": f"{min(alert.keep_firing, WAIT_SECONDS)}s"}
        for alert in bundle.alerts
    }
    receivers = {
        "page": {"pagerduty": False, "slack": False, "webhook": {"url": f"{inbox.url}/page"}},
        "inform": {"slack": False, "email": False, "webhook": {"url": f"{inbox.url}/inform"}},
    }
    thresholds = {"min_requests": FEWEST_REQUESTS, **({"memory": scene.resident() + ROOM} if scene.name == "BalanceHighMemoryUsage" else {})}
    chosen = {
        "job": scene.name, "rate_window": f"{WINDOW_SECONDS}s", "alerts": waits, "thresholds": thresholds,
        "prometheus": {
            "scrape_interval": "1s", "evaluation_interval": "1s", "targets": [f"127.0.0.1:{scene.admin}"],
            "rule_files": [str(scene.folder / "generated" / "prometheus" / "rules" / "*.yaml")],
            "alertmanagers": [f"127.0.0.1:{alertmanager}"],
        },
        "alertmanager": {
            "receivers": receivers,
            "routes": {"critical": {"group_wait": "0s", "group_interval": "1s"}, "warning": {"group_wait": f"{3 * WAIT_SECONDS}s", "group_interval": "1s"}},
        },
    }  # fmt: skip
    file = scene.folder / "settings.yaml"
    file.write_text(json.dumps(chosen))
    return file


@contextlib.contextmanager
def chained(top: Path, program: Callable[[str], str], bundle: Bundle) -> Iterator[Chain]:
    """All of it running, quiet, with traffic."""
    inbox = Inbox()
    scenes = {cause.alert: Scene(cause.alert, top / cause.alert, **cause.config) for cause in CAUSES}
    with contextlib.ExitStack() as stack:
        stack.callback(inbox.close)
        for scene in scenes.values():
            stack.callback(scene.close)
        with ThreadPoolExecutor(len(scenes)) as threads:
            list(threads.map(Scene.start, scenes.values()))
        first = next(iter(scenes.values()))
        assert main(["alertmanager", "--out", str(top), "--settings", str(settings(first, inbox, 0, bundle))]) == 0
        alertmanager = stack.enter_context(alerting(program("prometheus-alertmanager"), top / "alertmanager" / "alertmanager.yml"))
        for scene in scenes.values():
            chosen, generated = str(settings(scene, inbox, alertmanager, bundle)), scene.folder / "generated"
            assert main(["prometheus", "--out", str(generated), "--settings", chosen]) == 0
            assert main(["rules", "--out", str(generated / "prometheus" / "rules"), "--settings", chosen]) == 0
        whole, *others = [yaml.safe_load((scene.folder / "generated/prometheus/prometheus.yml").read_text()) for scene in scenes.values()]
        for part in ("scrape_configs", "rule_files"):
            whole[part] += [one for other in others for one in other[part]]
        (top / "prometheus.yml").write_text(yaml.safe_dump(whole))
        prometheus = free_port()
        command = [
            program("prometheus"), f"--config.file={top / 'prometheus.yml'}", f"--storage.tsdb.path={top / 'data'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ]  # fmt: skip
        stack.enter_context(running(command, top / "prometheus.log"))
        made = Chain(scenes, inbox, prometheus, alertmanager)
        for scene in scenes.values():
            for number in range(MOST_CLIENTS if scene.name == "BalanceHighLatency" else 1):
                threading.Thread(target=scene.traffic, args=(number,), daemon=True).start()
        eventually("Prometheus knows Alertmanager", lambda: b"api/v2/alerts" in fetch(prometheus, "/api/v1/alertmanagers")[1])
        rate = f"rate({ACCEPTED}[{WINDOW_SECONDS}s]) > 0"
        eventually("all jobs are scraped and have traffic", lambda: len(made.query(rate)) == len(scenes))
        assert made.firing() == []
        yield made


def test_every_alert_fires_notifies_and_resolves(tmp_path: Path, program: Callable[[str], str], bundle: Bundle) -> None:
    """Every alert fires by its cause, reaches its receiver and resolves; no other alert is left."""
    severities = {alert.name: alert.severity for alert in bundle.alerts}
    with chained(tmp_path, program, bundle) as chain:
        with ThreadPoolExecutor(len(CAUSES)) as threads:
            took = dict(zip(chain.scenes, threads.map(chain.play, CAUSES), strict=True))
        print("seconds by cause:", {name: round(seconds, 1) for name, seconds in took.items()})

        for cause in CAUSES:
            severity = severities[cause.alert]
            for status in ("firing", "resolved"):
                told = {(path, labels["severity"]) for path, labels in chain.told(status, cause.alert)}
                assert told == {(RECEIVER[severity], severity)}, (cause.alert, status)
        assert {labels["backend"] for _path, labels in chain.told("firing", "BalanceBackendDown")} == {"two"}

        # With everything dead, only pages got through.
        assert ("BalanceAllBackendsDown", "BalanceBackendDown") in chain.inhibited
        assert ("/page", "BalanceAllBackendsDown") in chain.told_meanwhile
        assert {path for path, _name in chain.told_meanwhile} == {"/page"}, chain.told_meanwhile

        eventually("no alert fires", lambda: not chain.firing())
        eventually("Alertmanager has none", lambda: json.loads(fetch(chain.alertmanager, "/api/v2/alerts")[1]) == [])

        def jobs_and_names(status: str) -> set[tuple[str, str]]:
            return {(labels["job"], labels["alertname"]) for _path, labels in chain.inbox.alerts(status)}

        eventually("whatever was told was told to be over", lambda: jobs_and_names("firing") == jobs_and_names("resolved"))
