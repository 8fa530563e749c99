"""The examples in docs/dashboards.md work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from balance.commands.cli import main
from balance.lint.run import CHECKS


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "dashboards.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[list[str]]:
    return [line.partition("#")[0].split()[2:] for line in block.splitlines() if line.startswith("$ balance-gen ")]


@pytest.mark.process
def test_example_dashboard_is_short_and_clean(page: str, tmp_path: Path) -> None:
    """It takes at most twenty lines, and lint finds nothing."""
    (example,) = blocks(page, "python")
    assert len([line for line in example.splitlines() if line and not line.startswith("#")]) <= 20
    (tmp_path / "bakery.py").write_text(example)
    _, own = blocks(page, "console")
    for words in commands(own):
        run = subprocess.run([sys.executable, "-m", "balance.commands.cli", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        if words[0] == "dashboards":
            titles = [panel["title"] for panel in json.loads(run.stdout)["panels"]]
            assert titles == ["Customers", "Longest Waits", "Bakery Wait", "All Waits", "Baking", "Bakery Loaves", "Bakery Ovens Hot"]
        else:
            assert run.stderr.startswith(f"{len(CHECKS) - 1} checks, 0 errors, 0 warnings")


def test_dashboard_table_is_complete(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["dashboards", "--list"])
    listed = [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == listed
