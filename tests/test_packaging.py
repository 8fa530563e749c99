"""The wheel, in a fresh environment and an empty directory, works like the source tree; lock files are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest


def given(name: str) -> Path | None:
    """The path of what `make release-check` has built, instead of building it again."""
    path = os.environ.get(f"BALANCE_RELEASE_{name}")
    return Path(path) if path else None


def build(target: str, pattern: str, repository: Path, out: Path) -> Path:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)], cwd=repository, check=True, capture_output=True)
    (built,) = out.glob(pattern)
    return built


@pytest.fixture(scope="module")
def wheel(processes: None, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return given("WHEEL") or build("wheel", "*.whl", repository, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(processes: None, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return given("SDIST") or build("sdist", "*.tar.gz", repository, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(file.read(name).decode())


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the console scripts of an environment that holds the wheel; its dependencies are those installed here."""
    if ready := given("ENVIRONMENT"):
        return ready / "bin"
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


def test_wheel_has_packages_and_data_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"balance", "dashboards_py", "rules_src"}
    assert "balance/render/mixin/mixin.libsonnet" in names
    assert {"balance/py.typed", "balance/preview/page.html", "balance/preview/style.css", "balance/preview/live.js"} <= set(names)
    assert [name for name in names if name.endswith("/LICENSE")]


def test_wheel_reproduces_generated(commands: Path, repository: Path, tmp_path: Path) -> None:
    """`balance-gen write` from the wheel, in an empty directory, writes `generated/` byte for byte."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([commands / "balance-gen", "write", "--out", "out"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    made = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    committed = {path.relative_to(repository / "generated"): path.read_bytes() for path in (repository / "generated").rglob("*") if path.is_file()}
    assert made == committed


def test_installed_package_is_imported(commands: Path, tmp_path: Path) -> None:
    program = "import balance, dashboards_py, rules_src; print(balance.__file__, dashboards_py.__file__, rules_src.__file__)"
    run = subprocess.run([commands / "python", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert all(path.startswith(str(commands.parent)) for path in run.stdout.split())


@pytest.mark.parametrize("command", ["balance", "balance-gen"])
def test_commands_run_from_wheel(commands: Path, command: str, tmp_path: Path) -> None:
    run = subprocess.run([commands / command, "--version"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert run.stdout.startswith(f"{command} 0.")


def test_metadata(metadata: Message, repository: Path) -> None:
    newest = next(line for line in (repository / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert (metadata["Name"], metadata["Version"]) == ("balance-monitoring", newest.split()[1])
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert "Apache License" in (repository / "LICENSE").read_text()
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (repository / "README.md").read_text()


def test_runtime_requirements_are_locked(metadata: Message, repository: Path) -> None:
    """The lock file of the image has every run-time requirement, in the version that the tests run with."""
    needed = {re.split(r"[^\w-]", line)[0] for line in metadata.get_all("Requires-Dist", ())}
    locked = dict(re.findall(r"^([\w-]+)==(\S+)", (repository / "requirements.lock").read_text(), re.MULTILINE))
    tested = dict(re.findall(r"^([\w-]+)==(\S+)", (repository / "requirements-dev.lock").read_text(), re.MULTILINE))
    assert needed <= locked.keys()
    assert locked.items() <= tested.items(), "the image runs what the tests run with"


def test_sdist_builds_same_wheel_and_has_tests(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = build("wheel", "*.whl", source, tmp_path / "again")
    assert again.name == wheel.name
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert {name: one.read(name) for name in one.namelist()} == {name: two.read(name) for name in two.namelist()}
    for needed in (
        "tests/conftest.py",
        "generated/GENERATED.md",
        "deploy/Containerfile",
        "docs/deployment.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "LICENSE",
    ):
        assert (source / needed).exists(), needed


def test_build_requirements_are_locked(repository: Path) -> None:
    declared = tomllib.loads((repository / "pyproject.toml").read_text())
    assert set(declared["build-system"]["requires"]) <= set(declared["dependency-groups"]["build"])
    tested = re.findall(r"^[\w.-]+==\S+", (repository / "requirements-dev.lock").read_text(), re.MULTILINE)
    built = re.findall(r"^[\w.-]+==\S+", (repository / "requirements-build.lock").read_text(), re.MULTILINE)
    assert set(built) <= set(tested), "make lock UPGRADE="


@pytest.mark.parametrize(
    ("file", "groups"),
    [
        ("requirements.lock", ()),
        ("requirements-build.lock", ("build",)),
        ("requirements-dev.lock", ("build", "dev")),
        ("requirements-release.lock", ("release",)),
    ],
)
def test_lock_files_are_complete_without_addresses(file: str, groups: tuple[str, ...], repository: Path) -> None:
    declared = tomllib.loads((repository / "pyproject.toml").read_text())
    needs = declared["project"]["dependencies"] if file in ("requirements.lock", "requirements-dev.lock") else []
    needs = [*needs, *(need for group in groups for need in declared["dependency-groups"][group] if isinstance(need, str))]
    locked = (repository / file).read_text()
    names = {match[0].lower() for need in needs if (match := re.match(r"[\w.-]+", need))}
    assert len(names) > 1
    assert names <= set(re.findall(r"^([\w.-]+)==", locked, re.MULTILINE)), "make lock UPGRADE="
    assert "://" not in locked


def test_npm_packages_are_locked_by_hash(repository: Path) -> None:
    locked = (repository / "tests/preview/package-lock.json").read_text()
    assert locked.count('"integrity": "sha512-') > 50
    assert "://" not in locked, "npm pkg: take `resolved` and `funding` out"
