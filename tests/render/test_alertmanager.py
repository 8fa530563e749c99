"""amtool as the judge of the generated configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from balance.errors import BalanceError
from balance.generate import build, collect
from balance.generate.amtool import check_bundle, check_file
from balance.generate.settings import load
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import apply_settings
from balance.monitoring.settings import AlertSettings, Settings

SETTINGS = Settings(job="balance")


@pytest.fixture
def amtool(program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> str:
    found = program("amtool")
    monkeypatch.setenv("PATH", f"{Path(found).parent}{os.pathsep}{os.environ['PATH']}")
    return found


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, alerts={"BalanceBackendDown": AlertSettings(severity="critical")}),
        replace(SETTINGS, keep_labels=("cluster",)),
        load(None, ["job=edge", "alertmanager.routes.warning={receiver: page, mute: [off-hours]}"]),
        load(None, ["job=edge", "alertmanager.receivers.page={pagerduty: {service_key_file: pagerduty}, webhook: {url: 'http://hook.test'}}"]),
    ],
    ids=["as declared", "another severity", "labels to keep", "muted", "old key"],
)
def test_amtool_accepts_configuration_and_routes(settings: Settings, amtool: str) -> None:
    assert check_bundle(*collect.collect(settings)) == []


def test_misrouted_alert_is_found(bundle: Bundle, tmp_path: Path, amtool: str) -> None:
    assert bundle.routing
    for artifact in build.alertmanager(bundle, SETTINGS):
        (tmp_path / artifact.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / artifact.path).write_text(artifact.text.replace('severity="critical"', 'severity="criticall"'))
    file = tmp_path / "alertmanager" / "alertmanager.yml"
    found = check_file(file, bundle.alerts, bundle.routing, SETTINGS)
    critical = [alert.name for alert in bundle.alerts if alert.severity == "critical"]
    assert sorted({finding.subject for finding in found}) == sorted(critical)
    assert "is routed to inform instead of page" in found[0].what

    file.write_text(file.read_text().replace("receiver: page", "receiver: pag"))
    (refused,) = check_file(file, bundle.alerts, bundle.routing, SETTINGS)
    assert 'undefined receiver "pag"' in refused.what


def test_missing_amtool_names_the_cure(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BalanceError, match="amtool is not installed"):
        check_bundle(bundle, SETTINGS)


def test_generated_files_hold_no_secret(repository: Path) -> None:
    made = yaml.safe_load((repository / "generated" / "alertmanager" / "alertmanager.yml").read_text())
    kinds = [integration for receiver in made["receivers"] for key, found in receiver.items() if key.endswith("_configs") for integration in found]
    keys = {key for integration in kinds for key in integration if "key" in key or "password" in key or "api_url" in key}
    assert keys == {"routing_key_file", "api_url_file"}


def test_no_routing_no_configuration(bundle: Bundle) -> None:
    assert build.alertmanager(replace(bundle, routing=None), SETTINGS) == []
    assert check_bundle(replace(bundle, routing=None), SETTINGS) == []


def test_disabled_alert_is_in_no_inhibition(bundle: Bundle, amtool: str) -> None:
    assert bundle.routing
    for gone in ("BalanceDown", "BalanceBackendDown", "BalanceHighRetryRate"):
        kept = tuple(alert for alert in bundle.alerts if alert.name != gone)
        fewer = replace(bundle, alerts=kept, routing=bundle.routing.for_alerts(alert.name for alert in kept))
        assert gone not in build.alertmanager(fewer, SETTINGS)[0].text
        assert check_bundle(fewer, SETTINGS) == []


def test_inhibitions_ignore_test_alerts(bundle: Bundle) -> None:
    """Every inhibition is written, and a test alert causes none."""
    assert bundle.routing
    made = yaml.safe_load(build.alertmanager(bundle, SETTINGS)[0].text)
    assert len(made["inhibit_rules"]) == len(apply_settings(bundle.routing, SETTINGS).inhibitions)
    for rule in made["inhibit_rules"]:
        assert 'synthetic=""' in rule["source_matchers"], "a test of the channel silences nothing"


def test_kept_labels_separate_alerts(bundle: Bundle) -> None:
    made = yaml.safe_load(build.alertmanager(bundle, replace(SETTINGS, keep_labels=("cluster", "namespace")))[0].text)
    assert made["route"]["group_by"] == ["alertname", "job", "cluster", "namespace"]
    assert all(rule["equal"][-2:] == ["cluster", "namespace"] for rule in made["inhibit_rules"])


DATA = """{"receiver": "page", "status": "firing", "externalURL": "http://am", "groupLabels": {"alertname": "X"},
 "commonLabels": {"alertname": "X", "severity": "critical"}, "commonAnnotations": {},
 "alerts": [{"status": "firing", "labels": {"alertname": "X", "severity": "critical"}, "annotations": {"summary": "a < b & c"}}]}"""


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("title", "text", "[FIRING:1] X"),
        ("slack.text", "text", "*critical, firing*: a &lt; b &amp; c"),
        ("slack.color", "text", "danger"),
        ("email.text", "text", "X (critical, firing): a < b & c"),
        ("email.html", "html", "<h3>a &lt; b &amp; c</h3>"),
        ("pagerduty.severity", "text", "critical"),
        ("pagerduty.firing", "text", "X (critical, firing): a < b & c"),
        ("link", "text", "http://am"),
    ],
)
def test_amtool_renders_messages(name: str, kind: str, wanted: str, repository: Path, tmp_path: Path, program: Callable[[str], str]) -> None:
    (tmp_path / "data.json").write_text(DATA)
    command = [
        program("amtool"), "template", "render", f"--template.glob={repository}/generated/alertmanager/templates/*.tmpl",
        f'--template.text={{{{ template "balance.{name}" . }}}}', f"--template.type={kind}", f"--template.data={tmp_path}/data.json",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert wanted in run.stdout
    assert "Runbook" not in run.stdout
