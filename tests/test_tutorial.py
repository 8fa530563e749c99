"""`examples/shop`, the result of the tutorial, works, and so do its pre-commit hooks and its workflow."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from balance.testing import assert_conforms

IGNORED = (".git", "__pycache__", ".mypy_cache", ".ruff_cache")


@pytest.fixture
def environment(program: Callable[[str], str]) -> dict[str, str]:
    """Environment with a PATH to this interpreter's commands, promtool and amtool."""
    folders = (Path(sys.executable).parent, *(Path(program(name)).parent for name in ("promtool", "amtool", "curl", "git")), os.environ["PATH"])
    return {**os.environ, "PATH": os.pathsep.join(map(str, folders)), "PYTHONDONTWRITEBYTECODE": "1", "GIT_CONFIG_GLOBAL": os.devnull}


@pytest.fixture
def shop(repository: Path, tmp_path: Path) -> Path:
    """A copy of the example."""
    return shutil.copytree(repository / "examples" / "shop", tmp_path / "shop", ignore=shutil.ignore_patterns(*IGNORED))


def test_shop_is_under_a_hundred_lines(repository: Path) -> None:
    code = [line for path in (repository / "examples/shop/shop").glob("*.py") for line in path.read_text().splitlines() if line.strip()]
    assert len(code) < 100


@pytest.mark.process
def test_shop_passes_mypy_strict(shop: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "shop"], cwd=shop, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shop_counts_every_response(shop: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import io, sys
from wsgiref.util import setup_testing_defaults
from shop.app import app
for path, query in (("/basket", ""), ("/basket", ""), ("/order", ""), ("/order", "card=stolen"), ("/order", ""), ("/nowhere", "")):
    environ = {"PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)
    b"".join(app(environ, lambda status, headers: None))
environ = {"PATH_INFO": "/metrics", "QUERY_STRING": ""}
setup_testing_defaults(environ)
sys.stdout.write(b"".join(app(environ, lambda status, headers: None)).decode())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=shop, env=environment, capture_output=True, text=True, check=True)
    for line in (
        'shop_orders_total{outcome="paid"} 2.0',
        'shop_orders_total{outcome="refused"} 1.0',
        "shop_order_duration_seconds_count 3.0",
        "shop_open_baskets 0.0",
    ):
        assert f"\n{line}\n" in done.stdout
    monkeypatch.syspath_prepend(str(shop))
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)  # that of another test
    try:
        from shop.catalog import CATALOG  # type: ignore[import-not-found]

        found = assert_conforms(done.stdout, CATALOG)
        assert found.coverage == 100
        with pytest.raises(AssertionError, match="shop_open_baskets"):
            assert_conforms(done.stdout.replace("shop_open_baskets", "shop_baskets"), CATALOG)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]


def document(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


HOOKS = ("balance-gen-check", "balance-gen-lint")


@pytest.mark.parametrize(("number", "spoil"), [(0, "generated/metrics.md"), (1, "shop/runbooks/ShopOrdersSlow.md")])
def test_hooks_pass_and_find_missing_files(repository: Path, shop: Path, environment: dict[str, str], number: int, spoil: str) -> None:
    offered, used = document(repository / ".pre-commit-hooks.yaml")[number], document(shop / ".pre-commit-config.yaml")["repos"][0]["hooks"][number]
    assert offered["id"] == used["id"] == HOOKS[number]
    assert {"id", "name", "entry", "language"} <= offered.keys()
    assert offered["pass_filenames"] is False
    command = [*shlex.split(offered["entry"]), *used["args"]]

    def code() -> int:
        return subprocess.run(command, cwd=shop, env=environment, capture_output=True, check=False).returncode

    assert code() == 0
    (shop / spoil).unlink()
    assert code() == 1


def test_workflow_passes_and_finds_breaking_change(shop: Path, environment: dict[str, str]) -> None:
    workflow = document(shop / ".github/workflows/monitoring.yml")
    runs = [step["run"] for step in workflow["jobs"]["monitoring"]["steps"] if "balance-gen" in step.get("run", "")]
    assert [run.split()[1] for run in runs] == ["check", "lint", "diff"]
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    for command in ([*git, "init", "-q"], [*git, "add", "."], [*git, "commit", "-qm", "shop"]):
        subprocess.run(command, cwd=shop, env=environment, check=True)
    github = {**environment, "BASE": "HEAD", "GITHUB_STEP_SUMMARY": str(shop / "summary.md")}

    def codes() -> list[int]:
        return [subprocess.run(["bash", "-e", "-c", run], cwd=shop, env=github, capture_output=True, check=False).returncode for run in runs]

    assert codes() == [0, 0, 0]
    assert (shop / "summary.md").read_text() == "### Monitoring: nothing has changed\n"
    catalog = shop / "shop" / "catalog.py"
    catalog.write_text(catalog.read_text().replace('("paid", "refused")', '("refused", "settled")'))
    assert codes() == [1, 0, 1]
    assert "label 'outcome' lost the value paid" in (shop / "summary.md").read_text()
