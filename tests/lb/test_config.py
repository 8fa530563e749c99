"""The configuration reader: values and defaults, and for every error its line and cure."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network
from typing import Any

import jsonschema
import pytest
import yaml

from balance.config.address import Address
from balance.lb.config import json_schema
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


def test_defaults_match_full_example() -> None:
    full, small = read(FULL), read(SMALL)
    for part in ("workers", "admin", "timeouts", "limits", "log", "routes"):
        assert getattr(small, part) == getattr(full, part), part
    (few,), (many,) = small.pools, full.pools
    assert many.health_check
    tcp = dataclasses.replace(many.health_check, type="tcp")
    assert few == dataclasses.replace(many, backends=many.backends[:1], health_check=tcp)


def test_address_forms() -> None:
    assert read(FULL).listen == (Address("127.0.0.1", 8080), Address("", 8081), Address("::1", 8082), Address(path="/tmp/x"))
    assert [str(address) for address in read(FULL).listen] == ["127.0.0.1:8080", ":8081", "[::1]:8082", "unix:/tmp/x"]


@pytest.mark.parametrize("part", ["health_check", "circuit_breaker", "retry", "outlier_detection"])
def test_section_can_be_switched_off(part: str) -> None:
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
def test_values_with_units(text: str, key: str, expected: Any) -> None:
    found: Any = read(SMALL + text + "\n")
    for name in key.split("."):
        found = getattr(found, name)
    assert found == expected


WRONG: dict[str, tuple[str, str]] = {
    "unknown key": ("limitz: {}", "4: limitz: unknown setting (did you mean 'limits'?)"),
    "unknown key below": ("limits: {max_conections: 3}", "4: limits.max_conections: unknown setting (did you mean 'max_connections'?)"),
    "duplicate key": ("log: {}\nlog: {}", "5: log: is given twice (first in line 4: remove one)"),
    "no duration": ("timeouts: {connect: 5}", "4: timeouts.connect: invalid duration '5' (write it like 100ms, 10s or 1h30m)"),
    "zero duration": ("timeouts: {connect: 0s}", "4: timeouts.connect: invalid duration '0s' (must be more than 0s, at most 1w)"),
    "negative duration": ("timeouts: {connect: -1s}", "4: timeouts.connect: invalid duration '-1s' (write it like 100ms, 10s or 1h30m)"),
    "no size": ("limits: {max_header_size: 1XB}", "4: limits.max_header_size: invalid size '1XB' (write it like 512, 32KiB or 1MB)"),
    "size out of range": ("limits: {max_header_size: 10}", "4: limits.max_header_size: invalid size '10' (must be 1KiB to 1MiB)"),
    "no number": ("limits: {max_connections: many}", "4: limits.max_connections: invalid number 'many' (must be a whole number, 1 to 1000000)"),
    "number out of range": ("limits: {max_connections: 0}", "4: limits.max_connections: invalid number '0' (must be a whole number, 1 to 1000000)"),
    "no choice": ("log: {level: loud}", "4: log.level: invalid value 'loud' (choices: debug, error, info, warning)"),
    "no workers": ("workers: 0", "4: workers: invalid number of workers '0' (must be auto, or 1 to 64)"),
    "too many workers": ("workers: 65", "4: workers: invalid number of workers '65' (must be auto, or 1 to 64)"),
    "half a worker": ("workers: 0.5", "4: workers: invalid number of workers '0.5' (must be auto, or 1 to 64)"),
    "no token file": ("admin: {token: none}", "4: admin.token: none cannot be read: no such file or directory (name a readable file)"),
    "empty section": ("retry:", "4: retry: must be a mapping of keys (indent its keys below it, or write off)"),
    "list for a section": ("log: [a]", "4: log: must be a mapping of keys (indent its keys below it)"),
    "mapping for a value": ("log: {level: {a: b}}", "4: log.level: must be a single value (neither a list nor a mapping)"),
    "off where it cannot be": ("timeouts: off", "4: timeouts: must be a mapping of keys (indent its keys below it)"),
    "contradiction": ("retry: {backoff_base: 9s}", "4: retry.backoff_base: is longer than backoff_max (the first pause must not exceed the longest)"),
    "bad path": ("health_check: {path: health}", "4: health_check.path: invalid path 'health' (an absolute path, printable ASCII without spaces)"),
    "no network": (
        "forwarding: {trusted_proxies: 10.0.0.1/8}",
        "4: forwarding.trusted_proxies: invalid network '10.0.0.1/8' (10.0.0.1/8 has host bits set: write it like 10.0.0.0/8, 2001:db8::/32, 192.0.2.1 or unix)",
    ),
    "no pseudonym": ("forwarding: {via: a b}", "4: forwarding.via: invalid name 'a b' (a token of 1 to 64 characters)"),
    "no YAML": ("a: [", "5: invalid YAML: expected the node content, but found '<stream end>' (fix the syntax)"),
    "two documents": ("---\nlisten: x", "4: invalid YAML: expected a single document in the stream, but found another document (fix the syntax)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_key_reports_line_and_cure(case: str) -> None:
    text, expected = WRONG[case]
    assert problems(SMALL + text + "\n") == [f"balance.yaml:{expected}"]


BACKENDS: dict[str, tuple[str, str]] = {
    "no list": ("backends: a", "2: backends: must be a list with at least one entry (begin each entry with a dash)"),
    "empty list": ("backends: []", "2: backends: must be a list with at least one entry (begin each entry with a dash)"),
    "no address": ("backends: [{name: a}]", "2: backends[0].address: is missing (it is required: where it serves HTTP/1.1)"),
    "no port": (
        "backends: [{name: a, address: host}]",
        "2: backends[0].address: invalid address 'host' (a port is missing: write it like 10.0.0.1:8080, [::1]:8080 or unix:path)",
    ),
    "port 0": ("backends: [{name: a, address: 'host:0'}]", "2: backends[0].address: invalid port '0' (must be 1 to 65535)"),
    "port too high": ("backends: [{name: a, address: 'host:65536'}]", "2: backends[0].address: invalid port '65536' (must be 1 to 65535)"),
    "no host": (
        "backends: [{name: a, address: ':80'}]",
        "2: backends[0].address: invalid address ':80' (a host is missing: write it like 10.0.0.1:8080, [::1]:8080 or unix:path)",
    ),
    "URL": (
        "backends: [{name: a, address: 'http://a:80'}]",
        "2: backends[0].address: invalid host 'http://a' (write it like 10.0.0.1:8080, [::1]:8080 or unix:path)",
    ),
    "bad IPv4": (
        "backends: [{name: a, address: '127.0.0.256:80'}]",
        "2: backends[0].address: invalid IP address '127.0.0.256' (write it like 10.0.0.1:8080, [::1]:8080 or unix:path)",
    ),
    "bad IPv6": (
        "backends: [{name: a, address: '[::g]:80'}]",
        "2: backends[0].address: invalid IP address '[::g]' (write it like 10.0.0.1:8080, [::1]:8080 or unix:path)",
    ),
    "bad name": (
        "backends: [{name: 'a b', address: 'a:80'}]",
        "2: backends[0].name: invalid name 'a b' (1 to 63 letters, digits, dots, dashes or underscores)",
    ),
    "same name": (
        "backends:\n- {name: a, address: 'a:80'}\n- {name: a, address: 'b:80'}",
        "4: backends[1]: 'a' is given twice (first in line 3: remove one)",
    ),
    "weight 0": (
        "backends: [{name: a, address: 'a:80', weight: 0}]",
        "2: backends[0].weight: invalid number '0' (must be a whole number, 1 to 1000)",
    ),
}


@pytest.mark.parametrize("case", BACKENDS)
def test_bad_backend_reports_line_and_cure(case: str) -> None:
    text, expected = BACKENDS[case]
    assert problems(f"listen: :80\n{text}\n") == [f"balance.yaml:{expected}"]


def test_all_problems_reported_at_once() -> None:
    found = problems("lisen: 80\nbackends:\n- {name: a, adress: b, weight: x}\nlog: {level: x, format: y}\n")
    assert [line.partition(" (")[0] for line in found] == [
        "balance.yaml:1: lisen: unknown setting",
        "balance.yaml:1: listen: is missing",
        "balance.yaml:3: backends[0].adress: unknown setting",
        "balance.yaml:3: backends[0].address: is missing",
        "balance.yaml:3: backends[0].weight: invalid number 'x'",
        "balance.yaml:4: log.level: invalid value 'x'",
        "balance.yaml:4: log.format: invalid value 'y'",
    ]


def test_missing_keys_are_reported() -> None:
    assert problems("log: {}\n") == [
        "balance.yaml:1: listen: is missing (give listen or tls)",
        "balance.yaml:1: backends: is missing (give backends or pools)",
    ]


def test_empty_file_names_required_keys() -> None:
    assert problems("# nothing\n") == ["balance.yaml: is empty (add at least listen and backends)"]


def test_deep_nesting_is_reported() -> None:
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
def test_environment_overrides_file(name: str, value: str, key: str, expected: Any) -> None:
    found: Any = read(SMALL, **{name: value})
    for part in key.split("."):
        found = getattr(found, part)
    assert found == expected


WRONG_ENVIRONMENT = [
    ("BALANCE_LOG_LEVEL", "loud", "BALANCE_LOG_LEVEL: log.level: invalid value 'loud' (choices: debug, error, info, warning)"),
    ("BALANCE_LOGLEVEL", "info", "BALANCE_LOGLEVEL: unknown variable (did you mean BALANCE_LOG_LEVEL?)"),
    ("BALANCE_X", "info", "BALANCE_X: unknown variable (unset it: the prefix BALANCE_ is reserved)"),
    ("BALANCE_BACKENDS", "a", "BALANCE_BACKENDS: unknown variable (unset it: the prefix BALANCE_ is reserved)"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_ENVIRONMENT)
def test_bad_variable_is_reported(name: str, value: str, expected: str) -> None:
    assert problems(SMALL, **{name: value}) == [expected]


def test_variable_for_disabled_section_is_reported() -> None:
    assert problems(SMALL + "retry: off\n", BALANCE_RETRY_MAX_ATTEMPTS="2") == [
        "BALANCE_RETRY_MAX_ATTEMPTS: is set, but the file says retry: off (unset it, or remove the off)"
    ]


def test_kubernetes_service_variables_are_ignored() -> None:
    """Kubernetes sets BALANCE_SERVICE_HOST and the like for a service called balance."""
    read(SMALL, BALANCE_SERVICE_HOST="10.0.0.1", BALANCE_SERVICE_PORT_HTTP="80", BALANCE_PORT="tcp://10.0.0.1:80", BALANCE_PORT_80_TCP_ADDR="x")


@pytest.mark.parametrize("text", [SMALL, FULL, SMALL + "health_check: off\n"])
def test_json_schema_accepts_valid_config(text: str) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize("case", ["unknown key", "no duration", "no choice", "number out of range", "list for a section", "too many workers"])
def test_json_schema_rejects_invalid_config(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(SMALL + WRONG[case][0]), json_schema())
