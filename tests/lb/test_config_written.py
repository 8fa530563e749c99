"""Writing a configuration back as YAML values round-trips, and the masked form holds no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balance.config.kinds import Duration, Size
from balance.lb.config import Config, json_schema, parse, written
from balance.lb.config.httpkinds import Rate
from tests.lb.configs import SMALL

if TYPE_CHECKING:
    from tests.conftest import Authority

FULL = """\
listen: [127.0.0.1:8080, ":8081", "unix:run/front"]
tls:
  listen: "[::1]:8443"
  certificates: [{{certificate: {certificate}, key: {key}}}]
  client_auth: {{mode: optional, ca: {ca}}}
workers: auto
admin: {{listen: "unix:run/admin", token: secret}}
pools:
  - name: app
    backends:
      - {{name: a, address: 127.0.0.1:9001, weight: 3, tls: {{ca: {ca}, certificate: {certificate}, key: {key}}}}}
      - {{name: spare, address: "unix:/run/spare", backup: true}}
    load_balancer: {{algorithm: least-requests, slow_start: 90s, sticky: {{cookie: lb, secret: secret, max_age: 1h}}}}
    health_check: {{path: "/up?key=SECRET", host: app.test, expected_status: [204, 300-301], interval: 1.5s, timeout: 250ms}}
    circuit_breaker: off
  - name: dns
    discover: {{dns: "api.internal:8080", tls: {{verify: false}}}}
    load_balancer: {{algorithm: consistent-hash, hash_key: "header:X-User", balance_factor: 1.5}}
    outlier_detection: on
    retry: off
  - {{name: srv, discover: {{srv: _http._tcp.example.org, interval: 5m}}, health_check: off}}
  - {{name: file, discover: {{file: backends.yaml}}, health_check: {{type: tcp}}}}
routes:
  - name: beta
    match: {{host: [example.org, "*.example.org"], path: /v2/, method: [GET, HEAD], header: {{X-Key: "SECRET", X-Any: ""}}}}
    pool: dns
    rewrite: {{strip: true}}
    request_headers: {{set: {{Authorization: "Bearer SECRET", X-Number: 1}}, remove: [Cookie]}}
    rate_limit: {{rate: 10/m, burst: 200, per: route}}
  - {{name: moved, match: {{path: /old}}, pool: srv, rewrite: {{replace_prefix: /new}}, rate_limit: {{rate: 7/h}}}}
  - {{name: rest, pool: app, response_headers: {{remove: Server, add: {{X-Who: "SECRET"}}}}}}
retry: {{per_try_timeout: 300ms}}
timeouts: {{shutdown: 168h}}
limits: {{max_header_size: 32KiB, max_request_size: 1MB, deny: [192.0.2.0/24, "2001:db8::/32"]}}
forwarding: {{via: lb, trusted_proxies: [10.0.0.0/8, unix]}}
log: {{traceparent: make}}
"""


@pytest.fixture
def full(tmp_path: Path, authority: Authority) -> Config:
    pair = authority.issue("written", "site.test")
    (tmp_path / "secret").write_text("SECRET-of-a-file-123\n")
    (tmp_path / "backends.yaml").write_text("[]\n")
    return parse(FULL.format(ca=authority.ca, **pair), str(tmp_path / "balance.yaml"), {})


def again(config: Config) -> Config:
    return parse(json.dumps(written(config), ensure_ascii=False), "elsewhere/balance.yaml", {})


def test_config_round_trips(full: Config) -> None:
    assert again(full) == full
    small = parse(SMALL, "balance.yaml", {})
    assert again(small) == small


def test_written_config_matches_schema(full: Config) -> None:
    for masked in (False, True):
        jsonschema.validate(written(full, masked=masked), json_schema())


def test_written_values_use_file_syntax(full: Config) -> None:
    text = json.dumps(written(full))
    parts = (
        '"workers": "auto"',
        '"slow_start": "1m30s"',
        '"max_age": "1h"',
        '"interval": "1s500ms"',
        '"rate": "10/m"',
        '"rate": "7/h"',
        '"circuit_breaker": false',
    )
    for part in (*parts, '"shutdown": "1w"', '"max_header_size": "32KiB"', '"expected_status": [204, "300-301"]', '"rewrite": {"strip": true}'):
        assert part in text


def test_masked_config_holds_no_secret(full: Config, tmp_path: Path) -> None:
    """Files are shown by path, secret values as `***`."""
    text = json.dumps(written(full, masked=True))
    assert "SECRET" in json.dumps(written(full))
    assert "SECRET" not in text
    assert f'"token": "{tmp_path}/secret"' in text
    assert '"header": {"x-key": "***", "x-any": ""}' in text
    assert '"path": "/up?***"' in text


@given(st.integers(1, 7 * 24 * 3600 * 1000) | st.sampled_from([604800000]))
def test_durations_round_trip(milliseconds: int) -> None:
    kind = Duration(may_be_off=True)
    for value in (kind.parse(f"{milliseconds}ms"), kind.parse(f"{milliseconds / 1000:.3f}s")):
        assert kind.parse(kind.written(value)) == value
    assert kind.written(0.0) is False


@given(st.integers(1, 9_999_999), st.sampled_from("smh"))
def test_rates_round_trip(events: int, unit: str) -> None:
    value = Rate().parse(f"{events}/{unit}")
    assert Rate().parse(Rate().written(value)) == value


@given(st.integers(0, 2**50))
def test_sizes_round_trip(size: int) -> None:
    assert Size().parse(str(Size().written(size))) == size
