"""The demo runs for real, on free ports, answers soon, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from balance.lb.catalog import metrics as m

from .running import FREE, demo, eventually, fetched, processes_of, running

pytestmark = pytest.mark.process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_serves_and_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as (process, places):
        assert fetched(places["balancer"]).startswith("hello from backend-")
        eventually("there is traffic", lambda: f'{m.HTTP_REQUESTS.name}{{method="GET",status="200"}} 0.0' not in fetched(places["admin port"]))
        assert "<h3>Request Rate</h3>" in fetched(places["page"])
        assert processes_of(str(tmp_path))
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr
        assert "Traceback" not in process.stderr.read()
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    for place in ("page", "balancer", "admin port"):
        with pytest.raises(OSError):
            fetched(places[place])


def test_demo_stops_with_active_faults(tmp_path: Path) -> None:
    with running(tmp_path) as (process, places):
        for fault in ("flood", "memory", "slowness", "backend"):
            press(places["page"], fault)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr
        assert "Traceback" not in process.stderr.read()
    assert processes_of(str(tmp_path)) == []


def press(page: str, fault: str) -> None:
    request = urllib.request.Request(f"{page}faults/{fault}", b"on=1", {"Origin": page.rstrip("/")})
    with urllib.request.urlopen(request, timeout=15) as answer:
        assert answer.status == 200


def test_demo_with_prometheus_and_alertmanager(tmp_path: Path, program: Callable[[str], str]) -> None:
    path = ":".join(str(Path(program(name)).parent) for name in ("prometheus", "prometheus-alertmanager"))
    files = tmp_path / "files"
    with running(tmp_path, "--grafana-provisioning", str(files), path=path) as (process, places):
        eventually("Prometheus answers", lambda: "by Prometheus and Alertmanager</small>" in fetched(places["page"]))
        asked = f"{places['Prometheus']}api/v1/rules?type=alert"
        rules = eventually("it has the rules", lambda: json.loads(fetched(asked))["data"]["groups"])
        assert {rule["duration"] for group in rules for rule in group["rules"]} <= {0, 1, 2, 3}
        press(places["page"], "backend")
        eventually("the alert fires", lambda: '<tr data-alert="BalanceBackendDown" data-state="firing"' in fetched(places["page"]))
        eventually("Alertmanager tells it", lambda: "BalanceBackendDown (backend-2) inform: firing" in fetched(places["page"]))
        assert "BalanceDown</th>" not in fetched(places["page"])
        datasource = (files / "provisioning" / "datasources" / "prometheus.yaml").read_text()
        assert f"url: {places['Prometheus'].rstrip('/')}" in datasource
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert processes_of(str(tmp_path)) == []
    assert [file.name for file in tmp_path.iterdir()] == ["files"]


def test_grafana_files_without_prometheus(tmp_path: Path, program: Callable[[str], str]) -> None:
    files = tmp_path / "files"
    with running(tmp_path, "--embedded", "--grafana-provisioning", str(files)) as (process, places):
        assert re.search(r"prometheus --config.file=\S+/prometheus/prometheus.yml --web.listen-address=(\S+)", places["for Grafana"])
        checked = subprocess.run([program("promtool"), "check", "config", str(files / "prometheus" / "prometheus.yml")], check=False)
        assert checked.returncode == 0
        dashboards = {json.loads(file.read_text())["uid"] for file in (files / "dashboards").glob("*.json")}
        assert "balance" in dashboards
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_demo_stops_after_duration() -> None:
    done = subprocess.run([*demo(*FREE), "--duration", "200ms"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "Ends after 0.2 s." in done.stdout


@pytest.mark.parametrize(
    ("option", "cure"),
    [
        ("--port", "choose other ports: --port, --admin-port"),
        ("--admin-port", "choose other ports: --port, --admin-port"),
        ("--page-port", "choose another port: --page-port"),
    ],
)
def test_port_in_use_names_the_option(option: str, cure: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*demo(*FREE), option, str(port)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"127.0.0.1:{port}: cannot listen: address already in use ({cure})\n"


def test_invalid_duration_is_one_line() -> None:
    done = subprocess.run(demo("--duration", "soon"), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, "--duration: invalid duration 'soon' (write it like 100ms, 10s or 1h30m)\n")


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run([*demo(*FREE), "--grafana-provisioning", str(tmp_path / "file")], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert re.fullmatch(r"\S+file\S*: \S.*\)", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
