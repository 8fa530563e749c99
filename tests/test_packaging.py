"""The wheel, in a fresh environment and an empty directory, does what the work tree does."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(repository)]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (built,) = out.glob("balance_monitoring-*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the console scripts of an environment that holds the wheel; its dependencies are those installed here."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    (site,) = environment.glob("lib/python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{here}\n")
    return environment / "bin"


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"balance", "dashboards_py", "rules_src"}
    assert "rules_src/mixin.libsonnet" in names
    assert {"balance/py.typed", "balance/preview/page.html", "balance/preview/style.css", "balance/preview/live.js"} <= set(names)
    assert [name for name in names if name.endswith("/LICENSE")]


def test_the_wheel_reproduces_generated_byte_for_byte_from_an_empty_directory(commands: Path, repository: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([commands / "balance-gen", "write", "--out", "out"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    made = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    committed = {path.relative_to(repository / "generated"): path.read_bytes() for path in (repository / "generated").rglob("*") if path.is_file()}
    assert made == committed


def test_the_installed_package_is_the_one_that_runs(commands: Path, tmp_path: Path) -> None:
    program = "import balance, dashboards_py, rules_src; print(balance.__file__, dashboards_py.__file__, rules_src.__file__)"
    run = subprocess.run([commands / "python", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert all(path.startswith(str(commands.parent)) for path in run.stdout.split())


@pytest.mark.parametrize("command", ["balance", "balance-gen"])
def test_both_commands_run_from_the_wheel(commands: Path, command: str, tmp_path: Path) -> None:
    run = subprocess.run([commands / command, "--version"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert run.stdout.startswith(f"{command} 0.")
