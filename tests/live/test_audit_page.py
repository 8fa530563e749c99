"""What the page about verify, audit and adopt shows works as it is written there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "audit.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@pytest.mark.process
def test_service_tests_of_the_page_pass_and_notice_drift(page: str, tmp_path: Path) -> None:
    names = [block.splitlines()[0].removeprefix("# ") for block in blocks(page, "python")]
    assert names == ["till.py", "conftest.py", "test_till.py"]
    for name, block in zip(names, blocks(page, "python"), strict=True):
        (tmp_path / name).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    till = tmp_path / "till.py"
    till.write_text(till.read_text().replace("generate_latest(METRICS.registry)", 'generate_latest(METRICS.registry).replace(b"card", b"gold")'))
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "shop_orders_total has undeclared values of 'payment': 'gold'" in run.stdout
