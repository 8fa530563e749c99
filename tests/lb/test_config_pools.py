"""Pools in the configuration: inherited and own settings, discovery, and for every error its line and cure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from balance.config.address import Address
from balance.lb.config import json_schema, parse, parse_backends
from balance.lb.config.model import BackendConfig, BackendTls, Discovery, HealthCheck, LoadBalancer, OutlierDetection, PoolConfig, Sticky
from balance.lb.errors import ConfigError
from tests.lb.configs import SMALL, problems, read

if TYPE_CHECKING:
    from pathlib import Path

A, B = "{name: a, address: 'a:80'}", "{name: b, address: 'b:80'}"


def pools(*more: str) -> str:
    """Two pools; `more` are extra lines of the first."""
    return "\n".join(
        ["listen: :80", "pools:", f"- name: one\n  backends: [{A}]", *(f"  {line}" for line in more), f"- name: two\n  backends: [{B}]\n"]
    )


def only_pool(text: str) -> Any:
    """The pool of the smallest configuration plus `text`."""
    (pool,) = read(SMALL + text + "\n").pools
    return pool


def test_short_form_is_default_pool() -> None:
    config = read(SMALL)
    assert [(pool.name, [one.name for one in pool.backends]) for pool in config.pools] == [("default", ["a"])]
    assert [(route.name, route.pool) for route in config.routes] == [("default", "default")]


def test_pools_keep_order_and_first_is_default() -> None:
    """Without routes the first pool gets every request."""
    config = read(pools())
    assert [pool.name for pool in config.pools] == ["one", "two"]
    assert [one.name for one in config.backends] == ["a", "b"]
    assert [route.pool for route in config.routes] == ["one"]


def test_pools_inherit_top_level_sections() -> None:
    one, two = read(pools() + "health_check: {path: /up}\nretry: off\nload_balancer: {algorithm: first}\noutlier_detection: on\n").pools
    for pool in (one, two):
        assert pool.health_check
        assert (pool.health_check.type, pool.health_check.path, pool.retry, pool.load_balancer.algorithm) == ("http", "/up", None, "first")
        assert pool.outlier_detection


def test_pool_section_replaces_top_level_section() -> None:
    """Sections are replaced as a whole, not merged."""
    one, two = read(pools("health_check: {interval: 1s}", "retry: off") + "health_check: {path: /up, timeout: 1s}\n").pools
    assert two.health_check
    assert one.health_check == replace(two.health_check, path="/health", interval=1.0, timeout=3.0)
    assert (one.retry, two.retry is None) == (None, False)


def test_environment_overrides_inherited_sections() -> None:
    one, two = read(pools("retry: {max_attempts: 9}"), BALANCE_RETRY_MAX_ATTEMPTS="2").pools
    assert one.retry
    assert two.retry
    assert (one.retry.max_attempts, two.retry.max_attempts) == (9, 2)


def test_variable_switches_section_on() -> None:
    (pool,) = read(SMALL, BALANCE_OUTLIER_DETECTION_ERROR_PERCENT="10").pools
    assert pool.outlier_detection == OutlierDetection(5, 10, 20, 10.0, 30.0, 300.0, 50)


CHECK = HealthCheck("http", "/health", 10.0, 3.0, 2, 3)
VALUES: list[tuple[str, str, Any]] = [
    ("load_balancer: {}", "load_balancer", LoadBalancer("round-robin")),
    ("load_balancer: {algorithm: consistent-hash}", "load_balancer.hash_key", "client"),
    ("load_balancer: {algorithm: consistent-hash, hash_key: 'cookie:id'}", "load_balancer.hash_key", "cookie:id"),
    ("load_balancer: {balance_factor: 2, panic_threshold: 0}", "load_balancer", LoadBalancer("round-robin", "client", 2.0, 0.0, 0)),
    ("load_balancer: {slow_start: 30s}", "load_balancer.slow_start", 30.0),
    ("load_balancer: {slow_start: off}", "load_balancer.slow_start", 0.0),
    ("outlier_detection: on", "outlier_detection", OutlierDetection(5, 0, 20, 10.0, 30.0, 300.0, 50)),
    ("health_check: {}", "health_check", CHECK),
    ("health_check: {method: HEAD, host: a.test}", "health_check", replace(CHECK, method="HEAD", host="a.test")),
    ("health_check: {expected_status: 204}", "health_check.expected_status", ((204, 204),)),
    ("health_check: {expected_status: [200-299, 404]}", "health_check.expected_status", ((200, 299), (404, 404))),
    ("health_check: {expected_body: '\"up\": true'}", "health_check.expected_body", '"up": true'),
    ("retry: {per_try_timeout: 2s, budget_per_second: 0}", "retry.per_try_timeout", 2.0),
    ("retry: {}", "retry.per_try_timeout", 0.0),
]


@pytest.mark.parametrize(("text", "key", "expected"), VALUES)
def test_pool_values(text: str, key: str, expected: Any) -> None:
    found = only_pool(text)
    for name in key.split("."):
        found = getattr(found, name)
    assert found == expected
    jsonschema.validate(yaml.safe_load(SMALL + text), json_schema())


def discovery(text: str) -> PoolConfig:
    return read(f"listen: :80\npools: [{{name: one, discover: {text}}}]\n").pools[0]


NOTHING = Discovery(None, "", "", 30.0, 1, 1000, None)
TRUSTING = BackendTls("", "", verify=True, certificate="", key="")
DISCOVERIES: list[tuple[str, Discovery]] = [
    ("{dns: 'api.internal:80'}", replace(NOTHING, dns=Address("api.internal", 80))),
    ("{srv: _http._tcp.api.internal, interval: 5s}", replace(NOTHING, srv="_http._tcp.api.internal", interval=5.0)),
    ("{srv: _http._tcp.api, server: '[::1]:53'}", replace(NOTHING, srv="_http._tcp.api", server=Address("::1", 53))),
    ("{dns: 'api:80', weight: 2, max_connections: 9, tls: on}", Discovery(Address("api", 80), "", "", 30.0, 2, 9, TRUSTING)),
]


@pytest.mark.parametrize(("text", "expected"), DISCOVERIES)
def test_discovery_values(text: str, expected: Discovery) -> None:
    pool = discovery(text)
    assert (pool.backends, pool.discover) == ((), expected)


def test_paths_are_relative_to_config_file(tmp_path: Path) -> None:
    (tmp_path / "backends.yaml").write_text(f"- {A}\n")
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    text = "pools: [{name: one, discover: {file: backends.yaml}, load_balancer: {sticky: {cookie: lb, secret: secret, max_age: 1h}}}]\nlisten: :80\n"
    (pool,) = parse(text, str(tmp_path / "balance.yaml"), {}).pools
    assert pool.discover == replace(NOTHING, file=str(tmp_path / "backends.yaml"))
    assert pool.load_balancer.sticky == Sticky("lb", str(tmp_path / "secret"), 3600.0)


def test_backends_file_has_config_syntax() -> None:
    expected = BackendConfig("a", Address("a", 80), 2, 1000, backup=True)
    assert parse_backends("- {name: a, address: 'a:80', weight: 2, backup: true}\n", "x.yaml") == (expected,)
    assert parse_backends('[{"name": "a", "address": "a:80", "weight": 2, "backup": true}]', "x.json") == (expected,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "x.yaml: backends: must be a list with at least one entry (begin each entry with a dash)"),
        ("- {name: a}\n", "x.yaml:1: backends[0].address: is missing (it is required: where it serves HTTP/1.1)"),
        (f"- {A}\n- {A}\n", "x.yaml:2: backends[1]: 'a' is given twice (first in line 1: remove one)"),
        ("- [", "x.yaml:1: invalid YAML: expected the node content, but found '<stream end>' (fix the syntax)"),
    ],
)
def test_bad_backends_file_reports_line_and_cure(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_backends(text, "x.yaml")
    assert str(caught.value) == expected


WRONG: dict[str, tuple[str, str]] = {
    "both forms": (f"pools: [{{name: one, backends: [{B}]}}]", "4: pools: is given beside backends (give one of them)"),
    "key of another algorithm": (
        "load_balancer: {hash_key: path}",
        "4: load_balancer.hash_key: is only for algorithm: consistent-hash (remove it, or write algorithm: consistent-hash)",
    ),
    "no hash key": (
        "load_balancer: {algorithm: consistent-hash, hash_key: 'header:a b'}",
        "4: load_balancer.hash_key: invalid value 'header:a b' (choices: client, path, header:NAME, cookie:NAME)",
    ),
    "balance factor": ("load_balancer: {balance_factor: 1}", "4: load_balancer.balance_factor: invalid number '1' (must be a number, 1.01 to 100)"),
    "slow start of nothing": (
        "load_balancer: {slow_start: 0s}",
        "4: load_balancer.slow_start: invalid duration '0s' (must be more than 0s, at most 1w, or off)",
    ),
    "no algorithm": (
        "load_balancer: {algorithm: random}",
        "4: load_balancer.algorithm: invalid value 'random' (choices: consistent-hash, first, least-requests, peak-ewma, round-robin)",
    ),
    "no secret": (
        "load_balancer: {sticky: {cookie: lb}}",
        "4: load_balancer.sticky.secret: is missing (it is required: file with the key that signs it, at least 16 bytes, the same for all load balancers of the service)",
    ),
    "secret that is not there": (
        "load_balancer: {sticky: {cookie: lb, secret: none}}",
        "4: load_balancer.sticky.secret: none cannot be read: no such file or directory (name a readable file)",
    ),
    "empty secret": ("load_balancer: {sticky: {cookie: lb, secret: ''}}", "4: load_balancer.sticky.secret: is empty (set it to the path of a file)"),
    "no cookie": (
        "load_balancer: {sticky: {cookie: 'l b', secret: s}}",
        "4: load_balancer.sticky.cookie: invalid name 'l b' (a token of 1 to 256 characters)",
    ),
    "http alone": ("health_check: {type: tcp, path: /x}", "4: health_check.path: is only for type: http (remove it, or write type: http)"),
    "no status": (
        "health_check: {expected_status: [200, 399-200]}",
        "4: health_check.expected_status[1]: invalid status '399-200' (write it like 204 or 200-399, from 200 to 599)",
    ),
    "early status": (
        "health_check: {expected_status: 100}",
        "4: health_check.expected_status: invalid status '100' (write it like 204 or 200-399, from 200 to 599)",
    ),
    "body of HEAD": (
        "health_check: {method: HEAD, expected_body: x}",
        "4: health_check.expected_body: has no effect with method HEAD, whose responses have no body (set method to GET, or remove expected_body)",
    ),
    "no host": ("health_check: {host: 'a b'}", "4: health_check.host: invalid host 'a b' (write it like example.org or example.org:8080)"),
    "unsafe method": ("health_check: {method: POST}", "4: health_check.method: invalid value 'POST' (choices: GET, HEAD, OPTIONS)"),
    "long first ejection": (
        "outlier_detection: {base_ejection: 10m}",
        "4: outlier_detection.base_ejection: is longer than max_ejection (the first ejection must not exceed the longest)",
    ),
    "nobody may go": (
        "outlier_detection: {max_ejected_percent: 0}",
        "4: outlier_detection.max_ejected_percent: invalid number '0' (must be a whole number, 1 to 100)",
    ),
    "a key of a pool": (
        "discover: {dns: 'a:80'}",
        "4: discover: unknown setting (choices: listen, workers, admin, load_balancer, limits and 14 more)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_section_reports_line_and_cure(case: str) -> None:
    text, expected = WRONG[case]
    assert problems(SMALL + text + "\n") == [f"balance.yaml:{expected}"]


WRONG_POOLS: dict[str, tuple[str, str]] = {
    "empty": ("pools: []", "2: pools: must be a list with at least one entry (begin each entry with a dash)"),
    "no backends": ("pools: [{name: one}]", "2: pools[0].backends: is missing (give backends or discover)"),
    "no name": (f"pools: [{{backends: [{A}]}}]", "2: pools[0].name: is missing (it is required: name in routes, metrics and logs)"),
    "twice": (
        f"pools:\n- {{name: one, backends: [{A}]}}\n- {{name: one, backends: [{B}]}}",
        "4: pools[1]: 'one' is given twice (first in line 3: remove one)",
    ),
    "backend of two pools": (
        f"pools:\n- {{name: one, backends: [{A}]}}\n- {{name: two, backends: [{B}, {A}]}}",
        "4: pools[1].backends[1].name: 'a' is already in pool 'one' (names must be unique)",
    ),
    "nothing to discover": ("pools: [{name: one, discover: {interval: 1s}}]", "2: pools[0].discover.dns: is missing (give dns or srv or file)"),
    "empty source": ("pools: [{name: one, discover: {dns: ''}}]", "2: pools[0].discover: has no source (set dns, srv or file)"),
    "two sources": ("pools: [{name: one, discover: {dns: 'a:80', file: x}}]", "2: pools[0].discover.file: is given beside dns (give one of them)"),
    "no port to discover": (
        "pools: [{name: one, discover: {dns: a}}]",
        "2: pools[0].discover.dns: invalid address 'a' (a port is missing: write it like api.example.org:8080 or [::1]:8080)",
    ),
    "name of a DNS server": (
        "pools: [{name: one, discover: {dns: 'a:80', server: 'ns:53'}}]",
        "2: pools[0].discover.server: invalid IP address 'ns' (write it like 127.0.0.1:53 or [::1]:53)",
    ),
    "DNS server for a file": (
        "pools: [{name: one, discover: {file: pyproject.toml, server: '127.0.0.1:53'}}]",
        "2: pools[0].discover.server: is given beside file (remove it)",
    ),
    "socket to discover": (
        "pools: [{name: one, discover: {dns: 'unix:x'}}]",
        "2: pools[0].discover.dns: invalid address 'unix:x' (write it like api.example.org:8080 or [::1]:8080)",
    ),
    "no service": (
        "pools: [{name: one, discover: {srv: a.b}}]",
        "2: pools[0].discover.srv: invalid service 'a.b' (write it like _http._tcp.example.org)",
    ),
    "no file": (
        "pools: [{name: one, discover: {file: none}}]",
        "2: pools[0].discover.file: none cannot be read: no such file or directory (name a readable file)",
    ),
    "a key of the top level": (
        f"pools: [{{name: one, backends: [{A}], limits: {{}}}}]",
        "2: pools[0].limits: unknown setting (choices: failing_status, discover, circuit_breaker, outlier_detection, health_check and 4 more)",
    ),
}


@pytest.mark.parametrize("case", WRONG_POOLS)
def test_bad_pool_reports_line_and_cure(case: str) -> None:
    text, expected = WRONG_POOLS[case]
    assert problems(f"listen: :80\n{text}\n") == [f"balance.yaml:{expected}"]


@pytest.mark.parametrize("case", ["empty", "no backends", "no name", "nothing to discover", "no service", "a key of the top level"])
def test_json_schema_rejects_invalid_pools(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(f"listen: ':80'\n{WRONG_POOLS[case][0]}"), json_schema())


def test_json_schema_wants_backends_or_pools() -> None:
    both, neither = SMALL + WRONG["both forms"][0], "listen: ':80'"
    for text in (both, neither):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text), json_schema())


def test_short_secret_is_reported(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789abcde\n")
    with pytest.raises(ConfigError, match="is too short: 15 bytes"):
        parse(SMALL + "admin: {token: secret}\n", str(tmp_path / "balance.yaml"), {})
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    assert parse(SMALL + "admin: {token: secret}\n", str(tmp_path / "balance.yaml"), {}).admin.token == str(tmp_path / "secret")


def test_problems_of_all_levels_reported_together() -> None:
    found = problems(pools("load_balancer: {hash_key: path}", "retry: {max_attempts: 0}") + "routes: [{name: r, pool: nowhere}]\nworkers: x\n")
    assert [line.partition(" (")[0] for line in found] == [
        "balance.yaml:10: workers: invalid number of workers 'x'",
        "balance.yaml:5: pools[0].load_balancer.hash_key: is only for algorithm: consistent-hash",
        "balance.yaml:6: pools[0].retry.max_attempts: invalid number '0'",
    ]
    found = problems(pools() + "routes: [{name: r, pool: nowhere}]\nworkers: x\n")
    assert [line.partition(" (")[0] for line in found] == [
        "balance.yaml:8: workers: invalid number of workers 'x'",
        "balance.yaml:7: routes[0].pool: unknown pool 'nowhere'",
    ]


def test_too_many_backends_are_reported() -> None:
    rows = "".join(f"  - {{name: b{number}, address: 'a:80'}}\n" for number in range(1001))
    with pytest.raises(ConfigError, match="backends: has 1001 backends \\(at most 1000 in all\\)"):
        parse(f"listen: :80\nbackends:\n{rows}", "x.yaml", {})
