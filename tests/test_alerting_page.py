"""The examples in docs/alerting.md work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from balance.commands.cli import main


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "alerting.md").read_text()


def blocks(page: str, language: str, start: str) -> list[str]:
    found = [text for text in re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if text.startswith(start)]
    assert found, start
    return found


def test_settings_on_alerting_page_are_valid(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = blocks(page, "yaml", "# settings.yaml")
    assert len(shown) == 3
    for settings in shown:
        Path("settings.yaml").write_text(settings)
        assert main(["kubernetes", "--settings", "settings.yaml", "--out", "."]) == 0
        rules = yaml.safe_load(Path("kubernetes/rules.yaml").read_text())
        assert rules["kind"] == "PrometheusRule"
