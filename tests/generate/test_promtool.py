"""`balance-gen test`: no alert without a test, no test that cannot fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from balance.commands import cli
from balance.generate import build, promtool
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import AlertSettings, PrometheusSettings, Settings
from balance.promql.selectors import Matcher

SETTINGS = Settings(job="balance")


@pytest.fixture(autouse=True)
def judges(program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("promtool", "amtool"):
        monkeypatch.setenv("PATH", str(Path(program(name)).parent), prepend=":")


@pytest.fixture(scope="module")
def made(bundle: Bundle) -> dict[str, str]:
    artifacts = [*build.rule_files(bundle, SETTINGS), *build.ruletests(bundle, SETTINGS), *build.prometheus(bundle, SETTINGS)]
    return {artifact.path: artifact.text for artifact in artifacts}


def test_every_alert_is_tested_and_passes(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["test"]) == 0
    *lines, coverage = capsys.readouterr().out.splitlines()
    assert coverage == f"alerts tested: {len(bundle.alerts)} / {len(bundle.alerts)}"
    assert [line.split("\t")[:2] for line in lines] == [["ok", alert.name] for alert in bundle.alerts]


def test_json_report_has_a_summary(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["test", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == []
    assert report["summary"].items() >= {"alerts": len(bundle.alerts), "tested": len(bundle.alerts)}.items()


def test_failed_test_is_a_finding(made: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    alerts = "prometheus/rules/alerts.yaml"
    report = promtool.check_files(
        {**made, alerts: made[alerts].replace("> 536870912", "> 536870913000")}.items(), ["BalanceHighMemoryUsage", "BalanceDown"]
    )
    assert [(finding.check, finding.subject) for finding in report.all_findings] == [("test-failed", "BalanceHighMemoryUsage")]
    assert "alertname: BalanceHighMemoryUsage, time: " in report.all_findings[0].what
    monkeypatch.setattr(promtool, "check_bundle", lambda bundle, settings: report)
    assert cli.main(["test"]) == 1
    assert "FAILED\tBalanceHighMemoryUsage\t" in capsys.readouterr().out


def test_alert_missing_from_rules_is_a_finding(made: dict[str, str]) -> None:
    alerts = "prometheus/rules/alerts.yaml"
    report = promtool.check_files({**made, alerts: made[alerts].replace("alert: BalanceDown", "alert: BalanceDawn")}.items(), ["BalanceDown"])
    assert {finding.check for finding in report.all_findings} == {"test-unknown-alert", "test-failed"}


def test_vacuous_test_is_a_finding(made: dict[str, str]) -> None:
    path = "prometheus/tests/BalanceDown.yaml"
    empty = re.sub(r"    exp_alerts:\n(    - .*\n|      .*\n)+", "    exp_alerts: []\n", made[path])
    report = promtool.check_files({**made, path: empty}.items(), ["BalanceDown"])
    assert {finding.check for finding in report.all_findings} == {"test-vacuous", "test-failed"}
    assert report.tested == 0


def test_test_of_another_alert_is_a_finding(made: dict[str, str]) -> None:
    path = "prometheus/tests/BalanceDown.yaml"
    report = promtool.check_files({**made, path: made[path].replace("alertname: BalanceDown\n", "alertname: BalanceDawn\n")}.items(), ["BalanceDown"])
    assert "test-unknown-alert" in {finding.check for finding in report.all_findings}


@pytest.mark.parametrize(
    ("path", "old", "new", "check"),
    [
        ("prometheus/prometheus.yml", "scrape_interval: 15s", "scrape_interval: often", "promtool-config"),
        ("prometheus/rules/recording.yaml", "sum by (job)", "sum by job", "promtool-rules"),
    ],
)
def test_rejected_file_is_a_finding(path: str, old: str, new: str, check: str, made: dict[str, str]) -> None:
    assert check in {finding.check for finding in promtool.check_files({**made, path: made[path].replace(old, new)}.items(), []).findings}


@pytest.mark.parametrize("settings", [{"alertmanagers": ()}, {"rule_files": ("/nowhere/*.yaml", "/nowhere/a.yaml")}])
def test_configuration_of_another_machine_passes(settings: dict[str, tuple[str, ...]], bundle: Bundle, made: dict[str, str]) -> None:
    (artifact,) = build.prometheus(bundle, replace(SETTINGS, prometheus=PrometheusSettings(**settings)))  # type: ignore[arg-type]
    assert promtool.check_files({**made, artifact.path: artifact.text}.items(), []).findings == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ("http://10.0.0.5:9090/metrics",)}, "is not a valid hostname"),
        ({"rule_files": ("rules/*/a.yaml",)}, "invalid rule file path"),
        ({"alertmanagers": ("http://127.0.0.1:9093",)}, "is not a valid hostname"),
    ],
)
def test_rejected_settings_are_a_finding(settings: dict[str, tuple[str, ...]], message: str, bundle: Bundle, made: dict[str, str]) -> None:
    (artifact,) = build.prometheus(bundle, replace(SETTINGS, prometheus=PrometheusSettings(**settings)))  # type: ignore[arg-type]
    (finding,) = promtool.check_files({**made, artifact.path: artifact.text}.items(), []).findings
    assert finding.check == "promtool-config"
    assert message in finding.what


def test_promtool_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["test"]) == 2
    assert (
        capsys.readouterr().err
        == "balance-gen: promtool is not installed (install Prometheus (in Debian: prometheus), or put promtool on the PATH)\n"
    )


@pytest.mark.parametrize(
    "settings",
    [
        Settings(job="edge", runtime="go", thresholds={"error_ratio": 0.02, "min_requests": 5000, "retry_ratio": 1e-6, "latency_p99": 0.5}),
        Settings(job="balance", keep_labels=("cluster", "namespace"), thresholds={"min_requests": 0, "memory": 123456789}),
        Settings(
            job="balance",
            matchers=(Matcher("cluster", "=", "eu"), Matcher("namespace", "=~", "a|b")),
            keep_labels=("cluster",),
            rate_window=120,
            alerts={
                "BalanceDown": AlertSettings(wait=0, severity="warning"),
                "BalanceHighErrorRate": AlertSettings(wait=3600, keep_firing=300),
                "BalanceBackendDown": AlertSettings(enabled=False),
            },
        ),
        Settings(job="balance", thresholds={"certificate_soon": 1, "worker_restarts": 1000, "event_loop_lag": 0.001, "error_ratio": 1 / 3}),
    ],
    ids=["other values", "labels to keep", "other waits and windows", "extremes"],
)
def test_generated_tests_follow_settings(settings: Settings) -> None:
    from balance.generate import collect

    bundle, settings = collect.collect(settings)
    report = promtool.check_bundle(bundle, settings)
    assert report.all_findings == ()
    assert report.tested == len(bundle.alerts)
