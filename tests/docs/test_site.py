"""The site builds without broken links or anchors, and its reference is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from balance import api
from balance.commands.cli import command_line as balance_gen
from balance.generate.settings import SETTINGS
from balance.lb.cli import command_line as balance
from balance.lb.config.schema import CONFIG
from balance.lint.run import CHECKS
from balance.monitoring.bundle import Bundle
from tools.docs import reference


@pytest.fixture(scope="module")
def site(processes: None, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = build(repository, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def build(repository: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), *options]
    return subprocess.run(command, cwd=repository, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference.pages()


def test_site_has_every_page(site: Path, repository: Path, pages: dict[str, str]) -> None:
    wanted = {path.relative_to(repository / "docs") for path in (repository / "docs").rglob("*.md")} | {Path("reference") / path for path in pages}
    assert [path for path in wanted if not (site / path.with_name(path.name.replace("README.md", "index.md")).with_suffix(".html")).exists()] == []


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|iframe|source)[^>]*\ssrc="?(?:https?:)?//|<link[^>]*rel="?stylesheet"?[^>]*href="?(?:https?:)?//')
    assert [page.name for page in site.rglob("*.html") if fetched.search(page.read_text())] == []


def test_lists_and_tables_are_rendered(site: Path) -> None:
    for page in site.rglob("*.html"):
        prose = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        assert not re.search(r"<p>[^<]*\n(?:- |\| )", prose), page.name
        assert "\\|" not in "".join(re.findall(r"<td.*?</td>", page.read_text(), re.DOTALL)), page.name


@pytest.mark.process
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[there](no-such-page.md)", "no-such-page.md"),
        ("[there](tutorial.md#no-such-heading)", "no-such-heading"),
        ("Words\n- that are no list", "a list without an empty line before it"),
    ],
)
def test_broken_links_and_lost_lists_are_errors(repository: Path, tmp_path: Path, text: str, fault: str) -> None:
    for name in ("mkdocs.yml", "tools", "docs", "balance", "dashboards_py", "rules_src"):
        (tmp_path / name).symlink_to(repository / name)
    (tmp_path / "docs").unlink()
    (tmp_path / "docs").mkdir()
    for path in (repository / "docs").iterdir():
        (tmp_path / "docs" / path.name).symlink_to(path)
    (tmp_path / "docs" / "preview.md").unlink()
    (tmp_path / "docs" / "preview.md").write_text(f"# Preview\n\n{text}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert fault in done.stdout + done.stderr


def options(page: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", page))


@pytest.mark.process
@pytest.mark.parametrize(("name", "parser"), [("balance-gen", balance_gen()), ("balance", balance())])
def test_reference_has_every_command_and_option(name: str, parser: object, pages: dict[str, str]) -> None:
    page = pages[f"{name}.md"]
    program = [sys.executable, "-m", {"balance-gen": "balance.commands.cli", "balance": "balance.lb.cli"}[name]]
    whole = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True)
    commands = re.findall(r"^    ([a-z][a-z-]+)", whole.stdout, re.MULTILINE)
    assert commands
    assert re.findall(rf"^## `{name} (\S+)`$", page, re.MULTILINE) == commands
    shared = page.partition("## Options of every command")[2]
    for command in commands:
        part = page.partition(f"## `{name} {command}`")[2].partition("\n## ")[0]
        said = subprocess.run([*program, command, "--help"], capture_output=True, text=True, check=True)
        assert options(said.stdout) <= options(part) | options(shared), command


def test_reference_has_every_name_of_the_api(pages: dict[str, str]) -> None:
    page = pages["api.md"]
    assert sorted(re.findall(r"^### `(\w+)`$", page, re.MULTILINE)) == sorted(api.__all__)
    assert "alert_panel(alert: Alert, **options: Any) -> Panel" in page
    assert "- `.over(window: Window) -> CounterRange`: " in page


def test_reference_has_every_setting(pages: dict[str, str]) -> None:
    for field in SETTINGS.fields:
        assert re.search(rf"^\| `{field.key}[`.]", pages["settings.md"], re.MULTILINE), field.key


def test_reference_has_every_configuration_key(pages: dict[str, str]) -> None:
    page = pages["configuration.md"]
    for path, section in reference.sections(CONFIG):
        part = page.partition(f"{{ #{path} }}\n" if path else "# Configuration")[2].partition("\n## ")[0]
        rows = {row[0]: row[1] for row in re.findall(r"^\| `([a-z0-9_]+)` \| (.*?) \|", part, re.MULTILINE)}
        assert rows == {field.key: "*needed*" if field.default is None else f"`{field.default}`" if field.default else "" for field in section.fields}


def test_reference_has_every_metric_alert_and_check(pages: dict[str, str], bundle: Bundle) -> None:
    for metric in bundle.catalog.metrics:
        assert f"### `{metric.name}`" in pages["metrics.md"]
    for alert in bundle.alerts:
        assert pages[f"runbooks/{alert.name}.md"].startswith(f"# {alert.name}\n")
        assert f"]({alert.name}.md)" in pages["runbooks/README.md"]
    for check in CHECKS.values():
        assert f"## `{check.id}`\n\n*{check.severity}" in pages["checks.md"]
        assert check.explanation in pages["checks.md"]
