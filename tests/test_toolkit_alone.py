"""The toolkit without the load balancer: a wheel without it, the demo and their content serves another project just as well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

CUSTOMER = ("balance/lb", "balance/demo", "dashboards_py", "rules_src")
SOURCE = ("--source", "shop.monitoring:bundle")

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def toolkit(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console scripts of an environment with a wheel of the toolkit alone; its dependencies are those installed here."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("LICENSE", "README.md"):
        shutil.copy(repository / name, tree)
    left_out = shutil.ignore_patterns("__pycache__", *(Path(name).name for name in CUSTOMER if name.startswith("balance/")))
    shutil.copytree(repository / "balance", tree / "balance", ignore=left_out)
    project = (repository / "pyproject.toml").read_text()
    for name in CUSTOMER[2:]:
        project = project.replace(f', "{name}"', "")
    project = "\n".join(line for line in project.splitlines() if not line.startswith("balance = "))  # its script and its source
    assert tomllib.loads(project)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["balance"]
    (tree / "pyproject.toml").write_text(project)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"], cwd=tree, check=True, capture_output=True)
    (wheel,) = (tree / "dist").glob("*.whl")
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False, symlinks=True)
    install = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (site,) = environment.glob("lib/python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    for package in Path(here).iterdir():  # all that is installed here but balance itself
        if not package.name.startswith(("balance", "_editable", "__editable__", "_balance")) and not (site / package.name).exists():
            (site / package.name).symlink_to(package)
    return environment / "bin"


@pytest.fixture
def run(toolkit: Path, repository: Path, tmp_path: Path, program: Callable[[str], str]) -> Callable[..., str]:
    """Runs `balance-gen` of that environment in a copy of the shop."""
    shop = shutil.copytree(repository / "examples" / "shop", tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join((*(str(Path(program(name)).parent) for name in ("promtool", "amtool")), os.environ["PATH"]))
    environment = {**{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}, "PATH": path}

    def balance_gen(*words: str) -> str:
        done = subprocess.run([toolkit / "balance-gen", *words, *SOURCE], cwd=shop, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return balance_gen


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_wheel_has_no_load_balancer(toolkit: Path) -> None:
    look = "import importlib.util, sys; sys.exit(any(map(importlib.util.find_spec, ['balance.lb', 'balance.demo', 'dashboards_py', 'rules_src'])))"
    subprocess.run([toolkit / "python", "-P", "-c", look], cwd=toolkit, check=True)


def test_write_lint_and_test_of_the_shop(run: Callable[..., str], repository: Path, tmp_path: Path) -> None:
    run("write", "--out", "out")
    assert files(tmp_path / "shop" / "out") == files(repository / "examples" / "shop" / "generated")
    assert run("lint") == ""
    assert "alerts tested: 2 / 2" in run("test")


def test_preview_equals_that_of_the_whole_wheel(run: Callable[..., str], tmp_path: Path) -> None:
    run("preview", "--out", "pages")
    words = [sys.executable, "-m", "balance.commands.cli", "preview", "--out", "whole", *SOURCE]
    subprocess.run(words, cwd=tmp_path / "shop", check=True, capture_output=True)
    pages = files(tmp_path / "shop" / "pages")
    assert pages == files(tmp_path / "shop" / "whole")
    assert b"shop-1" in pages["shop.html"]
    assert b"lb-1" not in pages["shop.html"]
