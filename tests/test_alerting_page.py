"""What the page about alerting shows works as it is written there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from balance.gen.cli import main


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "alerting.md").read_text()


def blocks(page: str, language: str, start: str) -> list[str]:
    found = [text for text in re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if text.startswith(start)]
    assert found, start
    return found


def test_its_settings_are_accepted(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = blocks(page, "yaml", "# settings.yaml")
    assert len(shown) == 3
    for settings in shown:
        Path("settings.yaml").write_text(settings)
        assert main(["kubernetes", "--settings", "settings.yaml", "--out", "."]) == 0
        rules = yaml.safe_load(Path("kubernetes/rules.yaml").read_text())
        assert rules["kind"] == "PrometheusRule"


def test_its_mixin_makes_rules(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[[str], str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["mixin", "--out", "vendor/balance"]) == 0
    Path("mine.jsonnet").write_text(blocks(page, "jsonnet", "local mixin")[0])
    (command,) = (line for block in blocks(page, "console", "$ ") for line in block.splitlines() if line.startswith("$ jsonnet "))
    subprocess.run([program("jsonnet"), *command.split()[2:]], check=True, capture_output=True)
    subprocess.run([program("promtool"), "check", "rules", "rules.json"], check=True, capture_output=True)
    assert 'job=\\"edge\\",cluster=\\"eu\\"' in Path("rules.json").read_text()


def test_its_commands_of_balance_gen_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text(blocks(page, "yaml", "# settings.yaml\nkubernetes:")[0])
    lines = [line for block in blocks(page, "console", "$ ") for line in block.splitlines()]
    commands = [re.split(r" && | > ", line.removeprefix("$ balance-gen "))[0].split() for line in lines if line.startswith("$ balance-gen ")]
    commands = [command for command in commands if command[0] != "test-alert"]  # tests/e2e/test_alertmanager.py runs it
    assert len(commands) >= 5
    for command in commands:
        assert main(command) == 0, command
    assert capsys.readouterr().out.count("alert: BalanceDown") == 2
