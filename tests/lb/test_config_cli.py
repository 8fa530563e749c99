"""`check-config` and `schema`: the effective configuration, or one line per problem."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from balance.lb.config import json_schema
from tests.lb.configs import SMALL

if TYPE_CHECKING:
    from pathlib import Path

LARGE = """\
listen: [127.0.0.1:8080, ":8081"]
workers: auto
health_check: {path: /up}
pools:
  - name: app
    backends:
      - {name: a, address: 127.0.0.1:9001, weight: 3}
      - {name: spare, address: "unix:/run/spare", backup: true, tls: {server_name: a.test}}
    load_balancer: {algorithm: least-requests, sticky: {cookie: lb, secret: secret}}
  - name: api
    discover: {dns: "api.internal:8080"}
    load_balancer: {algorithm: consistent-hash, hash_key: "header:X-User"}
    outlier_detection: on
    retry: off
routes:
  - name: beta
    match: {host: [example.org, "*.example.org"], path: /v2/, method: [GET, HEAD], header: {X-Beta: "1"}}
    pool: api
    rewrite: {strip: true}
    rate_limit: {rate: 100/s, burst: 200}
  - {name: rest, pool: app, response_headers: {remove: Server}}
"""
SHOWN = """\
{file}: correct

listen   127.0.0.1:8080
listen   :8081
admin    127.0.0.1:9090
workers  auto

pool app: least-requests, sticky by cookie lb, health check by GET /up every 10s, no outlier detection, circuit breaker, retries
  backend  address          weight  connections
  a        127.0.0.1:9001   3       1000
  spare    unix:/run/spare  1       1000         backup, TLS

pool api: consistent-hash by header:X-User, health check by GET /up every 10s, outlier detection, circuit breaker, no retries
  backends from dns api.internal:8080, updated every 30s

routes (the first match wins):
  #  name  host                       method    path  header     pool  changes
  1  beta  example.org *.example.org  GET HEAD  /v2   x-beta: 1  api   path to /, 100/s per client, burst 200
  2  rest  any                        any       /     any        app   response headers
"""


def balance(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    done = subprocess.run([sys.executable, "-m", "balance.lb.cli", *arguments], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A configuration file that uses a bit of everything."""
    file = tmp_path / "balance.yaml"
    file.write_text(LARGE)
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    return file


@pytest.mark.process
def test_check_config_shows_effective_config(large: Path) -> None:
    assert balance("check-config", str(large)) == (0, SHOWN.format(file=large), "")


def test_json_schema_accepts_large_config() -> None:
    jsonschema.validate(yaml.safe_load(LARGE), json_schema())


@pytest.mark.process
def test_check_config_json(large: Path) -> None:
    code, output, _errors = balance("check-config", str(large), "--format", "json")
    found = json.loads(output)
    app, api = found["pools"]
    assert code == 0
    assert found["listen"] == ["127.0.0.1:8080", ":8081"]
    assert found["timeouts"]["connect"] == 5.0
    assert app["backends"][0] == {"name": "a", "address": "127.0.0.1:9001", "weight": 3, "max_connections": 1000, "tls": None, "backup": False}
    assert app["load_balancer"]["sticky"] == {"cookie": "lb", "secret": str(large.parent / "secret"), "max_age": 0.0}, "the file, not what is in it"
    assert (api["retry"], api["discover"]["dns"]) == (None, "api.internal:8080")
    assert [route["name"] for route in found["routes"]] == ["beta", "rest"]
    assert found["routes"][0]["match"]["headers"] == [["x-beta", "1"]]


@pytest.mark.process
def test_check_config_expands_short_form(tmp_path: Path) -> None:
    file = tmp_path / "balance.yaml"
    file.write_text(SMALL)
    _code, output, _errors = balance("check-config", str(file))
    assert "pool default: round-robin, health check by connection every 10s, no outlier detection, circuit breaker, retries\n" in output
    assert output.endswith("  1  default  any   any     /     any     default\n")


@pytest.mark.process
@pytest.mark.parametrize("command", [["check-config"], ["serve", "-c"]], ids=["check-config", "serve"])
def test_bad_file_prints_problems_and_exits_2(tmp_path: Path, command: list[str]) -> None:
    """One line per problem."""
    file = tmp_path / "balance.yaml"
    file.write_text("listen: 1\nbackends: 2\n")
    code, output, errors = balance(*command, str(file))
    assert (code, output) == (2, "")
    assert [line.partition(" (")[0] for line in errors.splitlines()] == [
        f"{file}:1: listen: invalid address '1'",
        f"{file}:2: backends: must be a list with at least one entry",
    ]


UNREADABLE = {"missing": "no such file or directory", "a directory": "is a directory", "no text": "is not UTF-8 text"}


@pytest.mark.process
@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_file_is_one_line_and_exit_2(tmp_path: Path, case: str) -> None:
    path = tmp_path / "balance.yaml"
    if case == "a directory":
        path.mkdir()
    elif case == "no text":
        path.write_bytes(b"\xff\xfe")
    code, output, errors = balance("serve", "-c", str(path))
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"{path}: ")
    assert UNREADABLE[case] in errors


@pytest.mark.process
def test_schema_prints_json_schema() -> None:
    code, output, _errors = balance("schema")
    assert code == 0
    assert json.loads(output) == json_schema()


@pytest.mark.process
@pytest.mark.parametrize("arguments", [[], ["serve"], ["unknown"], ["serve", "-c"]])
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str]) -> None:
    code, _output, errors = balance(*arguments)
    assert code == 2
    assert errors.startswith("balance")
    assert errors.count("\n") == 1


@pytest.mark.process
def test_help_shows_example() -> None:
    code, output, _errors = balance("--help")
    assert code == 0
    assert "backends:" in output


@pytest.mark.process
def test_serve_does_not_import_generators(tmp_path: Path) -> None:
    """grafanalib, jsonnet and jinja2 stay out of the load balancer's process."""
    program = "import sys, balance.lb.app, balance.lb.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path).stdout
    assert not {"grafanalib", "_jsonnet", "jinja2"} & set(output.split())
