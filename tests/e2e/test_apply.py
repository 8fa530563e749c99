"""`balance-gen apply` with a real Prometheus and Alertmanager, and with what Grafana's documentation says that it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from balance.commands.cli import main

from .conftest import alerting, eventually, fetch, free_port, running
from .grafana_api import TOKEN, Grafana

pytestmark = pytest.mark.process


class Systems:
    """A Prometheus that loads rules/*.yaml and takes orders, one that takes none, an Alertmanager, and Grafana."""

    def __init__(self, folder: Path, program: Callable[[str], str], stack: ExitStack) -> None:
        self.rules, self.manager_files, self.token = folder / "rules", folder / "manager", folder / "token"
        self.token.write_text(TOKEN)
        (folder / "prometheus.yml").write_text("rule_files: ['rules/*.yaml']\n")
        self.manager_files.mkdir()
        (self.manager_files / "alertmanager.yml").write_text("route: {receiver: mine}\nreceivers: [{name: mine}]\n")
        self.urls = []
        for option in ("--web.enable-lifecycle", "--log.level=warn"):
            port = free_port()
            data = f"--storage.tsdb.path={folder}/{port}"
            command = [program("prometheus"), f"--config.file={folder}/prometheus.yml", data, f"--web.listen-address=127.0.0.1:{port}", option]
            stack.enter_context(running(command, folder / f"{port}.log"))
            eventually("Prometheus is ready", lambda port=port: fetch(port, "/-/ready")[0] == 200)  # type: ignore[misc]
            self.urls.append(f"http://127.0.0.1:{port}")
        self.prometheus, self.deaf = self.urls
        manager = alerting(program("prometheus-alertmanager"), self.manager_files / "alertmanager.yml")
        self.manager = f"http://127.0.0.1:{stack.enter_context(manager)}"
        self.grafana = Grafana(self.prometheus)
        stack.callback(self.grafana.close)

    def arguments(self) -> list[str]:
        files = ["--rules", str(self.rules), "--prometheus", self.prometheus, "--alertmanager-files", str(self.manager_files)]
        return [*files, "--alertmanager", self.manager, *self.boards()]

    def boards(self) -> list[str]:
        return ["--grafana", self.grafana.url, "--grafana-token-file", str(self.token)]

    def loaded(self) -> int:
        """How many rules Prometheus has."""
        groups = json.loads(fetch(int(self.prometheus.rpartition(":")[2]), "/api/v1/rules")[1])["data"]["groups"]
        return sum(len(group["rules"]) for group in groups)


@pytest.fixture
def systems(tmp_path: Path, program: Callable[[str], str]) -> Iterator[Systems]:
    with ExitStack() as stack:
        yield Systems(tmp_path, program, stack)


def apply(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["apply", *arguments])
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err
    return code, printed.out, printed.err


def state(systems: Systems) -> dict[str, Any]:
    files = {str(path): path.read_text() for folder in (systems.rules, systems.manager_files) for path in folder.rglob("*.*") if path.is_file()}
    return {"files": files, "rules": systems.loaded(), "boards": sorted(systems.grafana.dashboards), "saves": systems.grafana.saves}


def test_dry_run_then_apply_then_nothing_to_do(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(systems)
    code, out, _ = apply(capsys, *systems.arguments(), "--dry-run")
    assert code == 1
    assert state(systems) == before
    planned = re.findall(r"^would (.*)$", out, re.MULTILINE)
    assert [words.split()[0] for words in planned] == ["write"] * 6 + ["reload"] * 2 + ["upload"] * 4
    assert "+  - alert: BalanceDown\n" in out
    assert "-route: {receiver: mine}\n" in out

    code, _, err = apply(capsys, *systems.arguments())
    assert code == 0, err
    done = [words.split()[0] for words in err.splitlines()]
    assert done == ["created"] * 4 + ["changed", "created"] + ["reloaded"] * 2 + ["uploaded"] * 4
    assert systems.loaded() == 49
    assert b"receiver: page" in fetch(int(systems.manager.rpartition(":")[2]), "/api/v2/status")[1]
    assert sorted(systems.grafana.dashboards) == ["balance", "balance-backend", "balance-slo", "balance-workers"]
    (folder,) = systems.grafana.folders
    assert {board["meta"]["folderUid"] for board in systems.grafana.dashboards.values()} == {folder}

    after = state(systems)
    code, out, err = apply(capsys, *systems.arguments())
    assert (code, out, err) == (0, "", "everything is up to date\n")
    assert apply(capsys, *systems.arguments(), "--dry-run") == (0, "", "everything is up to date\n")
    assert state(systems) == after


def test_apply_updates_only_changes(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    """Dashboards stay in the folder to which people moved them."""
    assert apply(capsys, *systems.arguments())[0] == 0
    systems.grafana.folders["elsewhere"] = "Elsewhere"
    systems.grafana.dashboards["balance"]["meta"]["folderUid"] = "elsewhere"
    code, _, err = apply(capsys, *systems.arguments(), "--set", "thresholds.error_ratio=0.03")
    assert code == 0
    assert err.splitlines() == [
        f"changed {systems.rules}/alerts.yaml",
        f"reloaded {systems.prometheus}",
        f"changed dashboard balance in {systems.grafana.url}",
    ]
    assert systems.grafana.dashboards["balance"]["meta"]["folderUid"] == "elsewhere"
    assert systems.grafana.dashboards["balance"]["dashboard"]["version"] == 2


def test_interrupted_apply_can_be_continued(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    """It reports what is done, and the next run does the rest."""
    systems.grafana.most_saves = 1
    code, _, err = apply(capsys, *systems.arguments())
    assert code == 2
    problem, told = err.splitlines()[-2:]
    assert "rejected the token: 403 You'll need additional permissions" in problem
    assert told.startswith(f"balance-gen: apply: stopped: done: created {systems.rules}/alerts.yaml; ")
    assert "uploaded dashboard balance to" in told.partition("not done: ")[0]
    assert told.partition("not done: ")[2].count("upload dashboard") == 3
    systems.grafana.most_saves = 1000
    code, _, err = apply(capsys, *systems.arguments())
    assert code == 0
    assert [words.split()[0] for words in err.splitlines()] == ["uploaded"] * 3


def test_nothing_is_written_if_a_system_is_down(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(systems)
    for option in ("--prometheus", "--alertmanager", "--grafana"):
        code, _, err = apply(capsys, *systems.arguments(), option, f"http://127.0.0.1:{free_port()}")
        assert code == 2
        assert "cannot be reached: Connection refused" in err
        assert err.count("\n") == 1
        assert state(systems) == before


def test_prometheus_without_lifecycle_api(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = apply(capsys, "--rules", str(systems.rules), "--prometheus", systems.deaf)
    assert code == 1
    assert f"NOT reloaded: reloading is disabled at {systems.deaf}: send its process SIGHUP" in err


def test_rules_outside_rule_files_are_reported(systems: Systems, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = apply(capsys, "--rules", str(tmp_path / "nowhere"), "--prometheus", systems.prometheus)
    assert code == 1
    assert "but it does NOT have the generated rules (BalanceDown, " in err
    assert err.endswith("): check its rule_files\n")


def test_rejected_configuration_is_reported(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    systems.rules.mkdir()
    (systems.rules / "broken.yaml").write_text("groups: 1\n")
    code, _, err = apply(capsys, "--rules", str(systems.rules), "--prometheus", systems.prometheus)
    assert code == 2
    assert "failed to reload: 500 failed to reload config" in err
    assert "not done: reload " in err


def test_provisioned_dashboards_are_kept(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply(capsys, *systems.boards())[0] == 0
    systems.grafana.dashboards["balance"]["meta"]["provisioned"] = True
    assert apply(capsys, *systems.boards()) == (0, "", "everything is up to date\n")
    systems.grafana.dashboards["balance"]["dashboard"]["title"] = "Old"
    code, _, err = apply(capsys, *systems.boards())
    assert code == 2
    assert "cannot change balance, which Grafana reads from files" in err


def test_generated_files_of_another_run_are_kept(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply(capsys, "--rules", str(systems.rules))[0] == 0
    (systems.rules / "renamed.yaml").write_bytes((systems.rules / "latency.yaml").read_bytes())
    (systems.rules / "mine.yaml").write_text("groups: []\n")
    code, _, err = apply(capsys, "--rules", str(systems.rules))
    assert code == 0
    assert f"kept: {systems.rules}/renamed.yaml was generated by another run" in err
    assert "mine.yaml" not in err
    assert (systems.rules / "renamed.yaml").exists()


def test_nothing_to_apply(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = apply(capsys)
    assert code == 2
    assert "nothing to apply (give --rules DIR" in err
