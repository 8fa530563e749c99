"""The examples in README.md and docs/load-balancer.md work and show the real defaults."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Authority


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


@pytest.fixture(scope="module")
def manual(repository: Path) -> str:
    return (repository / "docs" / "load-balancer.md").read_text()


def block(readme: str, start: str) -> str:
    """The code block that begins with this line."""
    found = re.search(rf"^```\w+\n({re.escape(start)}.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert found, start
    return found[1]


def test_example_service_generates_rules_and_dashboard(readme: str, tmp_path: Path, program: Callable[[str], str]) -> None:
    (tmp_path / "shop.py").write_text(block(readme, "# shop.py"))
    for command in ("rules", "dashboards"):
        run = subprocess.run(
            [sys.executable, "-m", "balance.commands.cli", command, "--source", "shop:bundle"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        (tmp_path / command).write_text(run.stdout)
    assert 'job=\\"shop\\"' not in (tmp_path / "dashboards").read_text(), "a dashboard lets people choose the job"
    assert 'job="shop"' in (tmp_path / "rules").read_text()
    checked = subprocess.run([program("promtool"), "check", "rules", "--lint-fatal", tmp_path / "rules"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_configuration_shows_defaults(readme: str) -> None:
    from balance.lb.config import parse

    written = block(readme, "listen: 127.0.0.1:8080            #")
    needed = "listen: 127.0.0.1:8080\nbackends: [{name: a, address: 127.0.0.1:9001}]\n"
    assert parse(written, "README.md", {}) == parse(needed, "needed", {})


def test_tls_example_is_valid(manual: str, tmp_path: Path, authority: Authority) -> None:
    from balance.lb.config import parse

    for name in ("site", "client"):
        for path in authority.issue(name, f"{name}.test").values():
            shutil.copy(path, tmp_path)
    shutil.copy(authority.ca, tmp_path / "ca.pem")
    config = parse(block(manual, "tls:\n"), str(tmp_path / "balance.yaml"), {})
    assert config.tls
    assert config.backends[0].tls
    plain = parse(
        "tls:\n  listen: :1\n  certificates: [{certificate: site.pem, key: site.key}]\nbackends: [{name: a, address: 'a:1'}]\n",
        str(tmp_path / "x"),
        {},
    )
    assert plain.tls
    assert (config.tls.min_version, config.tls.client_auth) == (plain.tls.min_version, plain.tls.client_auth), "defaults are as written"


NEEDED = "listen: 127.0.0.1:8080\nbackends: [{name: a, address: 127.0.0.1:9001}]\n"
DEFAULTS = {
    "load_balancer:\n": "",
    "health_check:\n": "health_check: {type: http}\noutlier_detection: on\n",
    "failing_status:": "",
}


@pytest.mark.parametrize("start", DEFAULTS)
def test_pool_examples_show_defaults(manual: str, start: str) -> None:
    from balance.lb.config import parse

    assert parse(NEEDED + block(manual, start), "load-balancer.md", {}) == parse(NEEDED + DEFAULTS[start], "needed", {})


def test_pool_and_route_examples_are_valid(manual: str) -> None:
    from balance.lb.config import parse
    from balance.lb.policy.route import Router

    config = parse("listen: :80\n" + block(manual, "pools:\n") + block(manual, "routes:\n"), "load-balancer.md", {})
    assert [(pool.name, pool.health_check.path if pool.health_check else "") for pool in config.pools] == [("app", "/health"), ("search", "/health")]
    assert [(route.name, route.pool) for route in config.routes] == [("beta", "search"), ("rest", "app")]
    router = Router(config.routes)
    for target, headers, name in ((b"/api/x", [b"X-Beta: 1"], "beta"), (b"/apiary", [b"X-Beta: 1"], "rest"), (b"/api", [], "rest")):
        route = router.find("GET", b"www.example.org:8080", target, headers)
        assert getattr(route, "name", route) == name


def test_discovery_example_shows_defaults(manual: str) -> None:
    import textwrap

    from balance.lb.config import parse

    pool = "listen: :80\npools:\n- name: api\n"
    written = textwrap.indent(block(manual, "discover:\n"), "  ")
    assert parse(pool + written, "load-balancer.md", {}) == parse(pool + '  discover: {dns: "api.internal:8080"}\n', "needed", {})


def test_algorithm_table_is_complete(manual: str) -> None:
    from balance.config.kinds import Choice
    from balance.lb.config.pools import LOAD_BALANCER

    kind = LOAD_BALANCER.fields[0].kind
    assert isinstance(kind, Choice)
    table = manual.partition("| algorithm |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == kind.values


def test_forwarding_example_shows_defaults(manual: str) -> None:
    from balance.lb.config import parse

    needed = "listen: 127.0.0.1:8080\nbackends: [{name: a, address: 127.0.0.1:9001}]\n"
    written = block(manual, "forwarding:\n")
    assert parse(needed + written, "load-balancer.md", {}) == parse(needed, "needed", {})


def test_alert_table_is_complete(readme: str) -> None:
    import rules_src
    from balance.monitoring.settings import Settings

    table = re.findall(r"^\| (Balance\w+) \| (\w+) \|", readme, re.MULTILINE)
    assert table == [(alert.name, alert.severity) for alert in rules_src.source(Settings()).alerts]
