"""Every command of the README and of the pages under docs/ is run as written, or listed as one that cannot be run in the tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.session import REASON_HOLDS, RUN_ELSEWHERE, SKIPPED, Session, follow, read
from tests.e2e.conftest import Origin, balancing, eventually, fetch, free_port, running
from tests.live.test_adopt import SHOP

pytestmark = pytest.mark.process

PAGES = ("README.md", *sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md")))
SESSIONS = {page: session for page in PAGES if (session := read((REPOSITORY / page).read_text())).steps}
SERVICE, BALANCER = "127.0.0.1:8000", "127.0.0.1:9090/metrics"
"""Addresses at which pages assume a running service and a running balancer."""
PROMETHEUS = "--prometheus http://127.0.0.1:9090"
"""How pages give a Prometheus; the port alone would be the balancer's."""

AFTERWARDS = {
    "README.md": ("promtool check config prometheus.yml",),
    "docs/alerting.md": ("promtool check rules rules.json", """grep -qF 'job=\\"edge\\",cluster=\\"eu\\"' rules.json"""),
}  # fmt: skip
"""Commands that must succeed at the end of a page."""
LEADS_TO = {"docs/tutorial.md": "examples/shop"}
"""The folder that a page must reproduce, file by file."""


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without caches."""
    left = {".git", "__pycache__", ".mypy_cache", ".ruff_cache"}
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not left & {*path.parts}}


@pytest.fixture(scope="module")
def environment(program: Callable[[str], str]) -> dict[str, str]:
    """Environment with a PATH to this interpreter's commands and the real programs."""
    names = ("promtool", "amtool", "vmalert", "jsonnet", "curl", "git")
    folders = dict.fromkeys([str(Path(sys.executable).parent), *(str(Path(program(name)).parent) for name in names), os.environ["PATH"]])
    git = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "you", "GIT_AUTHOR_EMAIL": "you@example.com"}
    return {**os.environ, **git, "PATH": os.pathsep.join(folders), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def addresses(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Run a Prometheus, a service with metrics, a balancer, and origins for one that a page starts; addresses on the pages to real ones."""

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(SHOP.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    scraped = f"127.0.0.1:{service.server_address[1]}"
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
    )
    command = [
        program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"
    ]  # fmt: skip
    origins = (Origin(), Origin())
    config = folder / "balance.yaml"
    config.write_text(f"listen: 127.0.0.1:0\nadmin: {{listen: 127.0.0.1:0}}\nbackends: [{{name: a, address: 127.0.0.1:{origins[0].port}}}]\n")
    with running(command, folder / "log"), balancing(config) as (_, admin):
        eventually("Prometheus has scraped", lambda: b'"1"' in fetch(port, "/api/v1/query?query=up")[1])
        yield {
            PROMETHEUS: f"--prometheus http://127.0.0.1:{port}", BALANCER: f"127.0.0.1:{admin}/metrics", SERVICE: scraped,
            **{f"127.0.0.1:900{number}": f"127.0.0.1:{origin.port}" for number, origin in enumerate(origins, 1)},
        }  # fmt: skip
    for origin in origins:
        origin.stop()
    service.shutdown()
    service.server_close()


def prepare(page: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Create what the reader of this page already has."""

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

    if page.startswith("docs/how-to/") and "```diff\n" in (REPOSITORY / page).read_text():
        shutil.copytree(REPOSITORY / "examples" / "shop", folder, ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"), dirs_exist_ok=True)
    if page in ("README.md", "docs/audit.md"):  # files that people wrote
        (folder / "dashboards").mkdir()
        (folder / "dashboards" / "up.json").write_text(json.dumps({"title": "Up", "panels": [{"title": "Up", "targets": [{"expr": "up"}]}]}))
    if page == "docs/audit.md":
        (folder / "rules").mkdir()
        (folder / "rules" / "up.yaml").write_text("groups: [{name: up, rules: [{alert: Down, expr: up == 0}]}]")
        (folder / "metrics").write_text(SHOP)
        with (folder / "shop.py").open("w") as shop:
            subprocess.run(["balance-gen", "adopt", "metrics"], cwd=folder, env=environment, check=True, stdout=shop)
    if page == "docs/changes.md":  # a history
        for command in ("balance-gen write", "git init -q", "git add .", "git -c user.name=a -c user.email=a@example.com commit -qm all",
                        "git tag v1.2", "git tag v1.3", "git update-ref refs/remotes/origin/main HEAD", "cp -r generated old", "cp -r generated new",
                        "cp generated/prometheus/rules/alerts.yaml old.yaml", "cp old.yaml new.yaml"):  # fmt: skip
            run(*command.split())
    if page == "docs/deployment.md":
        shutil.copytree(REPOSITORY / "deploy", folder / "deploy")
    if page == "docs/alerting.md":
        shutil.copytree(REPOSITORY / "generated" / "mixin", folder / "vendor" / "balance" / "mixin")
        (folder / "kubernetes").mkdir()


@pytest.mark.parametrize("page", SESSIONS)
def test_page_commands_print_what_is_shown(page: str, tmp_path: Path, environment: dict[str, str], addresses: Mapping[str, str]) -> None:
    """Run the commands of a page in order; each prints what the page shows."""
    folder = tmp_path / "here"
    folder.mkdir()
    prepare(page, folder, environment)
    commands = [step.command for step in SESSIONS[page].steps]
    own = {BALANCER} if {"balance serve -c balance.yaml"} & {*commands} else {SERVICE} if any(" 8000 " in command for command in commands) else set()
    follow(SESSIONS[page], folder, tmp_path / "scratch", environment, {shown: real for shown, real in addresses.items() if shown not in own})
    for command in AFTERWARDS.get(page, ()):
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    if page in LEADS_TO:
        assert tree(folder) == tree(REPOSITORY / LEADS_TO[page])


def parts(sessions: Mapping[str, Session]) -> list[str]:
    return [part for session in sessions.values() for step in session.steps for part in step.parts]


def test_skipped_commands_are_on_a_page_and_cannot_run(program: Callable[[str], str]) -> None:
    """The lists of commands that are not run here name only commands on a page, and each reason is true."""
    assert {*SKIPPED, *RUN_ELSEWHERE} <= {*parts(SESSIONS)}
    assert [part for part, reason in SKIPPED.items() if not REASON_HOLDS[reason](part)] == []
    for place in RUN_ELSEWHERE.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (REPOSITORY / file).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_in_console_blocks(page: str) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", (REPOSITORY / page).read_text(), re.DOTALL | re.MULTILINE)
    assert [language for language, _ in blocks if language in ("sh", "bash", "shell")] == [], "commands are in blocks of console"
    assert [text for language, text in blocks if language == "console" and not text.startswith("$ ")] == []


def test_number_of_commands_run() -> None:
    found = parts(SESSIONS)
    cannot, elsewhere = ([part for part in found if part in listed] for listed in (SKIPPED, RUN_ELSEWHERE))
    here = len(found) - len(cannot) - len(elsewhere)
    print(f"{here + len(elsewhere)} of {len(found) - len(cannot)} commands run ({len(elsewhere)} by other tests), {len(cannot)} cannot be run here")
    assert here > 140
    assert len(cannot) == len(SKIPPED), "one that cannot be run is on two pages, or was forgotten"
