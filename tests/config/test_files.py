"""Properties of all configuration files: every problem with its position, duplicate keys, YAML merges, JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from balance.config.schema import object_schema
from balance.errors import SettingsError
from balance.generate import collect
from balance.generate.settings import SETTINGS, load, read, settings_schema
from balance.lb.config import CONFIG, json_schema
from tests.lb import configs

EXAMPLE = """\
job: edge
selector: cluster="eu",namespace=~"edge-.*"
keep_labels: [cluster, namespace]
rate_window: 1h30m
thresholds: {error_ratio: 0.02}
objectives: {availability: 0.9995}
alerts:
  BalanceBackendDown: {for: 5m, severity: critical}
  BalanceHighMemoryUsage: {enabled: false}
prometheus: {targets: "10.0.0.1:9090", alertmanagers: []}
alertmanager:
  receivers:
    page: {pagerduty: {service_key_file: pagerduty}, slack: off}
  routes: {warning: {mute: [nights], group_wait: 0s}}
  mute_times: {nights: {hours: [{days: [monday:wednesday, sunday], times: ["22:00-24:00"]}], location: Europe/Berlin}}
kubernetes: {labels: {release: prometheus}, max_replicas: 12}
"""


def reported(text: str, folder: Path, *assignments: str, environment: dict[str, str] | None = None) -> list[str]:
    """All problems of a settings file, after the sources are loaded."""
    file = folder / "settings.yaml"
    file.write_text(text)
    settings, problems = read(str(file), assignments, environment)
    with pytest.raises(SettingsError) as caught:
        collect.collect(settings, given=problems)
    return [str(problem).replace(str(file), "settings.yaml") for problem in caught.value.problems]


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    text = """\
alrts: {}
thresholds:
  eror_ratio: 0.02
  error_ratio: 7
alerts:
  BalanceDow:
    for: soon
  BalanceDown: {wait: 5m}
job: edge
job: core
kubernetes: {most_replicas: 3, labels: {a: 1}}
objectives: {speed: 0.99}
alertmanager:
  routes:
    warning:
      receiver: informs
"""
    assert reported(text, tmp_path, "prometheus.scrape_interval=100ms", environment={"BALANCE_GEN_THRESHOLDS_LATENCY_P99": "60"}) == [
        "settings.yaml:1: alrts: unknown setting (did you mean 'alerts'?)",
        "settings.yaml:10: job: is given twice (first in line 9: remove one)",
        "settings.yaml:7: alerts.BalanceDow.for: invalid duration 'soon' (write it like 100ms, 10s or 1h30m)",
        "settings.yaml:8: alerts.BalanceDown.wait: unknown setting (choices: enabled, for, keep_firing_for, severity)",
        "--set: prometheus.scrape_interval: invalid duration '100ms' (must be a whole number of seconds)",
        "settings.yaml:11: kubernetes.most_replicas: was renamed (write max_replicas)",
        "settings.yaml:11: kubernetes.labels.a: must be a string (put it in quotes)",
        "settings.yaml:3: thresholds.eror_ratio: unknown threshold (did you mean 'error_ratio'?)",
        "settings.yaml:4: thresholds.error_ratio: 7 is out of range: must be above 0 and at most 1 (ratio) (default: 0.05)",
        "BALANCE_GEN_THRESHOLDS_LATENCY_P99: thresholds.latency_p99: 60 is out of range: must be above 0 and at most 30 (seconds) (default: 1)",
        "settings.yaml:12: objectives.speed: unknown objective (choices: availability, latency)",
        "settings.yaml:6: alerts.BalanceDow: unknown alert (did you mean 'BalanceDown'?)",
        "settings.yaml:16: alertmanager.routes.warning.receiver: 'informs' is not declared (did you mean 'inform'?)",
    ]


def test_consequences_of_a_problem_are_not_reported(tmp_path: Path) -> None:
    assert reported("alertmanager: {receivers: {new: {email: {to: a@b.test, from: c@d.test, smarthost: mail}}}}\n", tmp_path) == [
        "settings.yaml:1: alertmanager.receivers.new.email.smarthost: invalid address 'mail' (a port is missing: write it like smtp.example.com:587 or [::1]:8080)",
    ]


def test_unknown_alerts_and_keys_are_reported_together(tmp_path: Path) -> None:
    assert reported("alrts: {}\nthresholds: {eror_ratio: 0.02}\nalerts:\n  BalanceDow: {}\n", tmp_path) == [
        "settings.yaml:1: alrts: unknown setting (did you mean 'alerts'?)",
        "settings.yaml:2: thresholds.eror_ratio: unknown threshold (did you mean 'error_ratio'?)",
        "settings.yaml:4: alerts.BalanceDow: unknown alert (did you mean 'BalanceDown'?)",
    ]


def test_key_path_alone_without_a_file() -> None:
    with pytest.raises(SettingsError) as caught:
        collect.collect(load(None, ["thresholds.eror_ratio=0.02"]))
    assert str(caught.value) == "thresholds.eror_ratio: unknown threshold (did you mean 'error_ratio'?)"


def test_valid_values_survive_invalid_ones(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("job: edge\nruntime: rust\nalerts: {A: {for: 1m}, B: {for: x}}\nthresholds: {a: 1, b: much}\n")
    settings, problems = read(str(tmp_path / "s.yaml"), [])
    assert (settings.job, settings.runtime, list(settings.alerts), settings.thresholds) == ("edge", "python", ["A", "B"], {"a": 1})
    assert len(problems.found) == 3


@pytest.mark.parametrize("text", ["{job: a, job: b}", "thresholds: {a: 1, a: 2}", "alerts: {A: {for: 1m, for: 2m}}", "prometheus: {targets: [a, a]}"])
def test_duplicates_are_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"is given twice \(first in line 1: remove one\)"):
        load(str(tmp_path / "s.yaml"), [])


def test_own_keys_override_yaml_merges(tmp_path: Path) -> None:
    text = "alerts:\n  A: &base {for: 1m, severity: critical}\n  B: {<<: *base, for: 2m}\n  C: {<<: [*base, {enabled: false}]}\n"
    (tmp_path / "s.yaml").write_text(text)
    found = load(str(tmp_path / "s.yaml"), ["alerts.A.for=9m"]).alerts
    assert [(alert.wait, alert.severity, alert.enabled) for alert in found.values()] == [
        (540, "critical", True),
        (120, "critical", True),
        (60, "critical", False),
    ]
    assert configs.read(f"{configs.SMALL}limits: &a {{max_queue: 7}}\n").limits.max_queue == 7


@pytest.mark.parametrize("text", ["alerts: &a {A: {<<: *a}}", "alerts: &a {<<: &b {<<: *a}}", "alerts: &a {B: *a}", "thresholds: &a {b: *a}"])
def test_recursive_aliases_terminate(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    read(str(tmp_path / "s.yaml"), [])


def test_overriding_an_alias_keeps_its_anchor() -> None:
    text = f"{configs.SMALL}health_check: &same {{interval: 1s}}\nretry: off\nlog: {{}}\n"
    pools = "pools:\n- {name: a, backends: [{name: x, address: 'x:1'}], health_check: *same}\n- {name: b, backends: [{name: y, address: 'y:1'}]}\n"
    found = configs.read(text.partition("backends")[0] + text.partition("9001}\n")[2] + pools, BALANCE_HEALTH_CHECK_INTERVAL="2s")
    assert [pool.health_check and pool.health_check.interval for pool in found.pools] == [1.0, 2.0]


SCHEMAS: dict[str, tuple[dict[str, Any], str]] = {"balance.yaml": (json_schema(), configs.SMALL), "settings.yaml": (settings_schema(), EXAMPLE)}


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_schema_accepts_the_example(name: str) -> None:
    schema, example = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(example), schema)


def test_reader_accepts_the_example(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(EXAMPLE)
    collect.collect(load(str(tmp_path / "s.yaml"), []))


WRONG = [
    "alrts: {}",
    "rate_window: 5",
    "rate_window: 30m1h",
    "thresholds: {error_ratio: much}",
    "alerts: {A: {wait: 5m}}",
    "alerts: {A: {severity: page}}",
    "alerts: {A: {enabled: maybe}}",
    "prometheus: {targets: []}",
    "kubernetes: {most_replicas: 3}",
    "kubernetes: {replicas: 0}",
    "kubernetes: {labels: {a: 1}}",
    "alertmanager: {receivers: {page: {slack: {api_url: x}}}}",
    "alertmanager: {routes: {info: {}}}",
    "provisioning: {url: 'prometheus:9090'}",
    "job: 5",
]


@pytest.mark.parametrize("text", WRONG)
def test_json_schema_rejects_what_the_reader_rejects(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SettingsError):
        load(str(tmp_path / "s.yaml"), [])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), settings_schema())


@pytest.mark.parametrize("section", [CONFIG, SETTINGS], ids=["balance.yaml", "settings.yaml"])
def test_every_key_has_a_description(section: Any) -> None:
    def check(schema: dict[str, Any]) -> None:
        for name, value in schema.get("properties", {}).items():
            assert value["description"], name
            for part in (value, value.get("items", {}), value.get("additionalProperties") or {}, *value.get("anyOf", ())):
                if isinstance(part, dict):
                    check(part)

    check(object_schema(section))
