"""The configuration: what a good one means, and everything that is wrong with a bad one, each with place and cure."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network
from typing import Any

import jsonschema
import pytest
import yaml

from balance.lb.config import Address, json_schema
from tests.lb.configs import SMALL, problems, read

FULL = """\
listen: [127.0.0.1:8080, ":8081", "[::1]:8082", "unix:/tmp/x"]
workers: 1
admin: {listen: 127.0.0.1:9090}
backends:
  - {name: a, address: 127.0.0.1:9001, weight: 1, max_connections: 1000}
  - {name: b, address: "unix:/tmp/b"}
load_balancer: {algorithm: round-robin}
health_check: {type: http, path: /health, interval: 10s, timeout: 3s, healthy_threshold: 2, unhealthy_threshold: 3}
circuit_breaker: {failure_threshold: 5, success_threshold: 2, open_for: 60s}
retry: {max_attempts: 3, backoff_base: 100ms, backoff_max: 5s, budget_percent: 20}
timeouts: {request_header: 10s, connect: 5s, first_byte: 30s, response_idle: 30s, body_idle: 30s, keep_alive: 60s, queue: 5s, tunnel: 1h}
limits: {max_connections: 10000, max_header_size: 32KiB, max_request_size: 0}
log: {level: info, format: json, access: true}
"""


def test_defaults_are_what_the_full_example_spells_out() -> None:
    full, small = read(FULL), read(SMALL)
    for part in ("workers", "admin", "timeouts", "limits", "log", "routes"):
        assert getattr(small, part) == getattr(full, part), part
    (few,), (many,) = small.pools, full.pools
    assert many.health_check
    tcp = dataclasses.replace(many.health_check, type="tcp")
    assert few == dataclasses.replace(many, backends=many.backends[:1], health_check=tcp)


def test_addresses_are_read_in_all_their_forms() -> None:
    assert read(FULL).listen == (Address("127.0.0.1", 8080), Address("", 8081), Address("::1", 8082), Address(path="/tmp/x"))
    assert [str(address) for address in read(FULL).listen] == ["127.0.0.1:8080", ":8081", "[::1]:8082", "unix:/tmp/x"]


@pytest.mark.parametrize("part", ["health_check", "circuit_breaker", "retry", "outlier_detection"])
def test_a_part_can_be_switched_off(part: str) -> None:
    assert getattr(read(SMALL + f"{part}: off\n").pools[0], part) is None


VALUES: list[tuple[str, str, Any]] = [
    ("timeouts: {connect: 1500ms}", "timeouts.connect", 1.5),
    ("timeouts: {connect: 2m}", "timeouts.connect", 120.0),
    ("timeouts: {connect: 1.5s}", "timeouts.connect", 1.5),
    ("limits: {max_header_size: 2000}", "limits.max_header_size", 2000),
    ("limits: {max_header_size: 2KB}", "limits.max_header_size", 2000),
    ("limits: {max_request_size: 3MiB}", "limits.max_request_size", 3 * 2**20),
    ("log: {access: off}", "log.access", False),
    ("forwarding: {forwarded: on}", "forwarding.trusted_proxies", ()),
    ("forwarding: {trusted_proxies: []}", "forwarding.trusted_proxies", ()),
    ("forwarding: {trusted_proxies: 10.0.0.0/8}", "forwarding.trusted_proxies", (IPv4Network("10.0.0.0/8"),)),
    ("forwarding: {trusted_proxies: [192.0.2.1, unix]}", "forwarding.trusted_proxies", (IPv4Network("192.0.2.1/32"), "unix")),
    ("workers: auto", "workers", 0),
    ("workers: 64", "workers", 64),
    ("limits: {deny: [192.0.2.0/24, unix]}", "limits.deny", (IPv4Network("192.0.2.0/24"), "unix")),
    ("limits: {max_queue: 0, max_connections_per_client: 9}", "limits.max_queue", 0),
]


@pytest.mark.parametrize(("text", "key", "expected"), VALUES)
def test_values_take_units(text: str, key: str, expected: Any) -> None:
    found: Any = read(SMALL + text + "\n")
    for name in key.split("."):
        found = getattr(found, name)
    assert found == expected


WRONG: dict[str, tuple[str, str]] = {
    "unknown key": ("limitz: {}", "balance.yaml:4: limitz: unknown key (did you mean 'limits'?"),
    "unknown key below": ("limits: {max_conections: 3}", "balance.yaml:4: limits.max_conections: unknown key (did you mean 'max_connections'?"),
    "duplicate key": ("log: {}\nlog: {}", "balance.yaml:5: log: is given twice (first in line 4: remove one)"),
    "no duration": ("timeouts: {connect: 5}", "balance.yaml:4: timeouts.connect: '5' is no duration (write it as 100ms, 10s, 1m or 1h)"),
    "zero duration": ("timeouts: {connect: 0s}", "balance.yaml:4: timeouts.connect: '0s' is out of range (more than 0, at most 168h)"),
    "negative duration": ("timeouts: {connect: -1s}", "balance.yaml:4: timeouts.connect: '-1s' is no duration"),
    "no size": ("limits: {max_header_size: 1XB}", "balance.yaml:4: limits.max_header_size: '1XB' is no size"),
    "size out of range": ("limits: {max_header_size: 10}", "balance.yaml:4: limits.max_header_size: '10' is out of range"),
    "no number": ("limits: {max_connections: many}", "balance.yaml:4: limits.max_connections: 'many' is no whole number"),
    "number out of range": ("limits: {max_connections: 0}", "balance.yaml:4: limits.max_connections: 0 is out of range (1 to 1000000)"),
    "no choice": ("log: {level: loud}", "balance.yaml:4: log.level: 'loud' is not supported (choices: debug, error, info, warning)"),
    "no workers": ("workers: 0", "balance.yaml:4: workers: '0' is no number of workers (auto, or 1 to 64)"),
    "too many workers": ("workers: 65", "balance.yaml:4: workers: '65' is no number of workers (auto, or 1 to 64)"),
    "half a worker": ("workers: 0.5", "balance.yaml:4: workers: '0.5' is no number of workers (auto, or 1 to 64)"),
    "no token file": ("admin: {token: none}", "balance.yaml:4: admin.token: none cannot be read: no such file or directory (name a readable file)"),
    "empty section": ("retry:", "balance.yaml:4: retry: must be a mapping of keys (indent its keys below it, or write off)"),
    "list for a section": ("log: [a]", "balance.yaml:4: log: must be a mapping of keys"),
    "mapping for a value": ("log: {level: {a: b}}", "balance.yaml:4: log.level: must be a single value"),
    "off where it cannot be": ("timeouts: off", "balance.yaml:4: timeouts: must be a mapping of keys"),
    "contradiction": ("retry: {backoff_base: 9s}", "balance.yaml:4: retry.backoff_base: is longer than backoff_max"),
    "bad path": ("health_check: {path: health}", "balance.yaml:4: health_check.path: 'health' is not allowed (an absolute path"),
    "no network": (
        "forwarding: {trusted_proxies: 10.0.0.1/8}",
        "balance.yaml:4: forwarding.trusted_proxies: '10.0.0.1/8' is no network: 10.0.0.1/8 has host bits set",
    ),
    "no pseudonym": ("forwarding: {via: a b}", "balance.yaml:4: forwarding.via: 'a b' is not allowed (a token of 1 to 64 characters)"),
    "no YAML": ("a: [", "balance.yaml:5: is no YAML"),
    "two documents": ("---\nlisten: x", "balance.yaml:4: is no YAML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_key_is_refused_with_place_and_cure(case: str) -> None:
    text, expected = WRONG[case]
    found = problems(SMALL + text + "\n")
    assert len(found) == 1
    assert found[0].startswith(expected)


BACKENDS: dict[str, tuple[str, str]] = {
    "no list": ("backends: a", "balance.yaml:2: backends: must be a list with at least one entry (begin each entry with a dash)"),
    "empty list": ("backends: []", "balance.yaml:2: backends: must be a list with at least one entry"),
    "no address": ("backends: [{name: a}]", "balance.yaml:2: backends[0].address: is missing (it is required: where it answers HTTP/1.1)"),
    "no port": ("backends: [{name: a, address: host}]", "balance.yaml:2: backends[0].address: 'host' has no port (write it as"),
    "port 0": ("backends: [{name: a, address: 'host:0'}]", "balance.yaml:2: backends[0].address: '0' is no port (1 to 65535)"),
    "port too high": ("backends: [{name: a, address: 'host:65536'}]", "balance.yaml:2: backends[0].address: '65536' is no port"),
    "no host": ("backends: [{name: a, address: ':80'}]", "balance.yaml:2: backends[0].address: ':80' has no valid host"),
    "URL": ("backends: [{name: a, address: 'http://a:80'}]", "balance.yaml:2: backends[0].address: 'http://a:80' has no valid host"),
    "bad IPv4": ("backends: [{name: a, address: '127.0.0.256:80'}]", "balance.yaml:2: backends[0].address: '127.0.0.256' is no IPv4 address"),
    "bad IPv6": ("backends: [{name: a, address: '[::g]:80'}]", "balance.yaml:2: backends[0].address: '[::g]' is no IPv6 address"),
    "bad name": ("backends: [{name: 'a b', address: 'a:80'}]", "balance.yaml:2: backends[0].name: 'a b' is not allowed (1 to 63 letters"),
    "same name": (
        "backends:\n- {name: a, address: 'a:80'}\n- {name: a, address: 'b:80'}",
        "balance.yaml:4: backends[1]: 'a' is already in line 3 (each may be there once)",
    ),
    "weight 0": ("backends: [{name: a, address: 'a:80', weight: 0}]", "balance.yaml:2: backends[0].weight: 0 is out of range (1 to 1000)"),
}


@pytest.mark.parametrize("case", BACKENDS)
def test_a_wrong_backend_is_refused_with_place_and_cure(case: str) -> None:
    text, expected = BACKENDS[case]
    found = problems(f"listen: :80\n{text}\n")
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_all_problems_are_told_at_once() -> None:
    found = problems("lisen: 80\nbackends:\n- {name: a, adress: b, weight: x}\nlog: {level: x, format: y}\n")
    assert [line.partition(" (")[0] for line in found] == [
        "balance.yaml:1: lisen: unknown key",
        "balance.yaml:1: listen: is missing",
        "balance.yaml:3: backends[0].adress: unknown key",
        "balance.yaml:3: backends[0].address: is missing",
        "balance.yaml:3: backends[0].weight: 'x' is no whole number",
        "balance.yaml:4: log.level: 'x' is not supported",
        "balance.yaml:4: log.format: 'y' is not supported",
    ]


def test_what_is_missing_is_told() -> None:
    assert problems("log: {}\n") == [
        "balance.yaml:1: listen: is missing (give listen or tls)",
        "balance.yaml:1: backends: is missing (give backends or pools)",
    ]


def test_an_empty_file_says_what_is_needed() -> None:
    assert problems("# nothing\n") == ["balance.yaml: is empty (at least listen and backends are needed)"]


def test_too_deep_nesting_is_an_error_like_any_other() -> None:
    assert problems("[" * 5000)[0].startswith("balance.yaml: is nested too deeply")


OVERRIDES = [
    ("BALANCE_LISTEN", ":99", "listen", (Address("", 99),)),
    ("BALANCE_LOG_LEVEL", "debug", "log.level", "debug"),
    ("BALANCE_ADMIN_LISTEN", ":98", "admin.listen", Address("", 98)),
    ("BALANCE_LIMITS_MAX_CONNECTIONS", "7", "limits.max_connections", 7),
    ("BALANCE_TIMEOUTS_REQUEST_HEADER", "7s", "timeouts.request_header", 7.0),
    ("BALANCE_WORKERS", "auto", "workers", 0),
]


@pytest.mark.parametrize(("name", "value", "key", "expected"), OVERRIDES)
def test_the_environment_overrides_the_file(name: str, value: str, key: str, expected: Any) -> None:
    found: Any = read(SMALL, **{name: value})
    for part in key.split("."):
        found = getattr(found, part)
    assert found == expected


WRONG_ENVIRONMENT = [
    ("BALANCE_LOG_LEVEL", "loud", "BALANCE_LOG_LEVEL: 'loud' is not supported (choices: debug, error, info, warning)"),
    ("BALANCE_LOGLEVEL", "info", "BALANCE_LOGLEVEL: overrides no configuration key (did you mean BALANCE_LOG_LEVEL?)"),
    ("BALANCE_X", "info", "BALANCE_X: overrides no configuration key (unset it: names beginning with BALANCE_ are ours)"),
    ("BALANCE_BACKENDS", "a", "BALANCE_BACKENDS: overrides no configuration key"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_ENVIRONMENT)
def test_a_wrong_variable_is_refused(name: str, value: str, expected: str) -> None:
    found = problems(SMALL, **{name: value})
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_a_variable_for_what_the_file_switches_off_is_refused() -> None:
    assert problems(SMALL + "retry: off\n", BALANCE_RETRY_MAX_ATTEMPTS="2") == [
        "BALANCE_RETRY_MAX_ATTEMPTS: is set, but the file says retry: off (unset it, or remove the off)"
    ]


def test_what_kubernetes_sets_for_a_service_called_balance_is_left_alone() -> None:
    read(SMALL, BALANCE_SERVICE_HOST="10.0.0.1", BALANCE_SERVICE_PORT_HTTP="80", BALANCE_PORT="tcp://10.0.0.1:80", BALANCE_PORT_80_TCP_ADDR="x")


@pytest.mark.parametrize("text", [SMALL, FULL, SMALL + "health_check: off\n"])
def test_the_json_schema_accepts_what_the_reader_accepts(text: str) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize("case", ["unknown key", "no duration", "no choice", "number out of range", "list for a section", "too many workers"])
def test_the_json_schema_refuses_what_the_reader_refuses(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(SMALL + WRONG[case][0]), json_schema())
