"""The same rules in other programs' hands: jsonnet with a vendored mixin, vmalert, Mimir, and Grafana's provisioning."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from balance.commands.cli import main
from balance.monitoring.settings import RULERS

Program = Callable[[str], str]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("ruler", ["prometheus", "thanos", "vmalert"])
def test_most_rulers_take_the_same_file(ruler: str, capsys: pytest.CaptureFixture[str], program: Program) -> None:
    text = printed(capsys, "rules", "--ruler", ruler)
    assert text == printed(capsys, "rules")
    Path("rules.yaml").write_text(text)
    assert run(program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml").returncode == 0


def test_mimir_rules_have_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    plain, mimir = (yaml.safe_load(printed(capsys, "rules", "--ruler", ruler)) for ruler in ("prometheus", "mimir"))
    assert mimir == {"namespace": "balance", **plain}


def test_old_vmalert_gets_no_keep_firing_for(capsys: pytest.CaptureFixture[str], program: Program) -> None:
    plain, older = (printed(capsys, "rules", "--ruler", ruler) for ruler in ("vmalert", "vmalert-1.79"))
    Path("plain.yaml").write_text(plain)
    Path("older.yaml").write_text(older)
    lines = [line for line in plain.splitlines() if "keep_firing_for" not in line]
    assert older.splitlines() == lines
    dry_run = (program("vmalert"), "-dryRun")
    taken = run(*dry_run, "-rule=older.yaml")
    assert taken.returncode == 0, taken.stderr
    refused = run(*dry_run, "-rule=plain.yaml")
    if refused.returncode:  # from 1.92 on it knows the key
        assert "unknown fields in rule: keep_firing_for" in refused.stderr


def test_vmalert_refuses_broken_rule(capsys: pytest.CaptureFixture[str], program: Program) -> None:
    Path("broken.yaml").write_text(printed(capsys, "rules", "--ruler", "vmalert-1.79").replace("{job=", "{job", 1))
    assert run(program("vmalert"), "-dryRun", "-rule=broken.yaml").returncode != 0


def test_ruler_setting_reaches_written_files() -> None:
    assert main(["write", "--out", "out", "--set", "ruler=mimir"]) == 0
    for name in ("alerts", "recording"):
        assert yaml.safe_load(Path(f"out/prometheus/rules/{name}.yaml").read_text())["namespace"] == "balance"
    assert set(RULERS) == {"prometheus", "thanos", "mimir", "vmalert", "vmalert-1.79"}


def test_jsonnet_program_loads_vendored_mixin(capsys: pytest.CaptureFixture[str], program: Program) -> None:
    assert main(["mixin", "--out", "vendor/balance"]) == 0
    manifest = json.loads(Path("vendor/balance/mixin/jsonnetfile.json").read_text())
    assert (manifest["version"], manifest["dependencies"]) == (1, [])
    Path("mine.jsonnet").write_text(
        "local mixin = (import 'balance/mixin/mixin.libsonnet')\n"
        "  + { _config+:: { selector: 'job=\"edge\",cluster=\"eu\"', keep_labels: ['cluster'], thresholds+: { error_ratio: 0.02 } } };\n"
        "{ 'rules.json': { groups: mixin.prometheusRules.groups + mixin.prometheusAlerts.groups } }\n"
    )
    made = run(program("jsonnet"), "-J", "vendor", "-m", ".", "mine.jsonnet")
    assert made.returncode == 0, made.stderr
    settings = ("--set", 'selector=job="edge",cluster="eu"', "--set", "keep_labels=cluster", "--set", "thresholds.error_ratio=0.02")
    assert json.loads(Path("rules.json").read_text()) == yaml.safe_load(printed(capsys, "rules", *settings))
    assert run(program("promtool"), "check", "rules", "rules.json").returncode == 0


def test_provisioning_defaults() -> None:
    assert main(["provisioning", "--out", "."]) == 0
    seed: dict[str, Any] = {
        "name": "Balance",
        "orgId": 1,
        "folder": "Load Balancers",
        "type": "file",
        "options": {"path": "/var/lib/grafana/dashboards"},
    }
    assert yaml.safe_load(Path("provisioning/dashboards/balance.yaml").read_text()) == {"apiVersion": 1, "providers": [seed]}
    source = yaml.safe_load(Path("provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert (source["type"], source["isDefault"], source["jsonData"]["timeInterval"]) == ("prometheus", True, "15s")


def test_provisioning_follows_the_settings() -> None:
    Path("s.yaml").write_text(
        "prometheus: {scrape_interval: 30s}\n"
        "provisioning: {provider: Edge, folder: Edges, path: /boards, organisation: 2, datasource: Mimir, url: 'https://mimir/prometheus'}\n"
    )
    assert main(["provisioning", "--out", ".", "--settings", "s.yaml"]) == 0
    provider = yaml.safe_load(Path("provisioning/dashboards/balance.yaml").read_text())["providers"][0]
    assert (provider["name"], provider["folder"], provider["orgId"], provider["options"]) == ("Edge", "Edges", 2, {"path": "/boards"})
    source = yaml.safe_load(Path("provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert (source["name"], source["url"], source["orgId"], source["jsonData"]["timeInterval"]) == ("Mimir", "https://mimir/prometheus", 2, "30s")
