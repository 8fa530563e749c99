from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import _jsonnet
import promql_parser
import pytest
import yaml

from balance.errors import RenderError
from balance.generate import build, collect
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import AlertSettings, Settings
from balance.promql.selectors import Matcher
from balance.promql.text import Scope, text
from balance.render import rules
from balance.render.grafana import render

SETTINGS = Settings(job="balance")
Json = dict[str, Any]


def alerts(bundle: Bundle, settings: Settings) -> dict[str, Json]:
    groups = yaml.safe_load(rules.rule_file(rules.evaluate(bundle, settings), "alerts"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def vendored(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixin as a user of jsonnet has it: a folder on the library path."""
    top = tmp_path_factory.mktemp("vendor")
    for artifact in build.mixin(bundle, SETTINGS):
        file = top / artifact.path
        file.parent.mkdir(exist_ok=True)
        file.write_text(artifact.text)
    return top


def evaluate(vendored: Path, program: str) -> Json:
    result: Json = json.loads(_jsonnet.evaluate_snippet("user", program, jpathdir=[str(vendored)]))
    return result


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, rate_window=120), replace(SETTINGS, keep_labels=("cluster",))])
def test_recorded_series_in_rules_exist(settings: Settings) -> None:
    evaluated = rules.evaluate(*collect.collect(settings))
    every = [rule for kind in ("rules", "alerts") for group in evaluated[kind]["groups"] for rule in group["rules"]]
    read = {name for rule in every for name in re.findall(r"\bjob:\w+:\w+", rule["expr"])}
    assert len(read) > 10
    assert read <= {rule.get("record") for rule in every}


def test_settings_reach_threshold_selector_wait_and_severity(bundle: Bundle) -> None:
    settings = Settings(
        job="edge",
        matchers=(Matcher("cluster", "=", "eu"),),
        thresholds={"error_ratio": 0.02},
        alerts={"BalanceHighErrorRate": AlertSettings(wait=0, keep_firing=60, severity="warning")},
    )
    chosen = alerts(*collect.collect(settings))["BalanceHighErrorRate"]
    assert chosen["expr"].partition(" and ")[0].endswith("> 0.02")
    assert chosen["expr"].count('job="edge",cluster="eu"}') == 3
    assert (chosen["for"], chosen["keep_firing_for"], chosen["labels"]) == ("0s", "1m", {"severity": "warning"})
    assert '"0.02" | humanizePercentage' in chosen["annotations"]["description"]


def test_runtime_chooses_memory_metric(bundle: Bundle) -> None:
    settings = Settings(job="balance", runtime="go")
    assert "go_memstats_alloc_bytes" in alerts(collect.collect(settings)[0], settings)["BalanceHighMemoryUsage"]["expr"]
    assert "process_resident_memory_bytes" in alerts(bundle, SETTINGS)["BalanceHighMemoryUsage"]["expr"]


def test_vendored_mixin_gives_same_rules(bundle: Bundle, vendored: Path) -> None:
    mixin = evaluate(vendored, "(import 'mixin/mixin.libsonnet').prometheusAlerts")
    assert {rule["alert"]: rule for group in mixin["groups"] for rule in group["rules"]} == alerts(bundle, SETTINGS)


def test_mixin_overrides_thresholds_and_selector(vendored: Path) -> None:
    program = """
    local mixin = (import 'mixin/mixin.libsonnet') + {
      _config+:: { selector: 'job="edge",cluster="eu"', thresholds+: { error_ratio: 0.05, memory: 1e9, retry_ratio: '0.20' } },
    };
    mixin.prometheusAlerts + { dashboards: std.objectFields(mixin.grafanaDashboards) }
    """
    result = evaluate(vendored, program)
    rules_by_name = {rule["alert"]: rule for group in result["groups"] for rule in group["rules"]}
    assert rules_by_name["BalanceHighErrorRate"]["expr"].partition(" and ")[0].endswith("> 0.05"), "as a person writes it, not 0.050000000000000003"
    assert rules_by_name["BalanceHighMemoryUsage"]["expr"] == 'process_resident_memory_bytes{job="edge",cluster="eu"} > 1000000000'
    assert rules_by_name["BalanceHighRetryRate"]["expr"].partition(" and ")[0].endswith("> 0.20")
    assert rules_by_name["BalanceDown"]["expr"] == 'up{job="edge",cluster="eu"} == 0 or absent(up{job="edge",cluster="eu"})'
    assert result["dashboards"] == ["backend.json", "balance.json", "slo.json", "workers.json"]


def test_kept_labels_accompany_job(bundle: Bundle, vendored: Path) -> None:
    settings = Settings(job="balance", keep_labels=("cluster", "namespace"))
    ours = alerts(bundle, settings)
    for rule in ours.values():
        expr = rule["expr"].replace("or on (job) absent", "")
        assert re.findall(r"(?:by|on) \((?!cluster, namespace, )[^)]*\bjob\b", expr) == []
        promql_parser.parse(rule["expr"])
    assert "unless on (cluster, namespace, instance, job)" in ours["BalanceAllBackendsDown"]["expr"]
    program = "((import 'mixin/mixin.libsonnet') + { _config+:: { keep_labels: ['cluster', 'namespace'] } }).prometheusAlerts"
    theirs = evaluate(vendored, program)
    assert {rule["alert"]: rule for group in theirs["groups"] for rule in group["rules"]} == ours


def test_annotations_link_to_runbook_and_panel(bundle: Bundle, vendored: Path) -> None:
    """The panel plots the very expression of the condition."""
    program = "((import 'mixin/mixin.libsonnet') + { _config+:: { runbook_base: 'https://wiki/r', grafana_url: 'https://g' } }).prometheusAlerts"
    theirs = {rule["alert"]: rule["annotations"] for group in evaluate(vendored, program)["groups"] for rule in group["rules"]}
    ours = alerts(bundle, Settings(job="balance", runbook_base="https://wiki/r", grafana_url="https://g"))
    panels = {
        panel["id"]: (dashboard.uid, [target["expr"] for target in panel.get("targets", ())])
        for dashboard in bundle.dashboards
        for top in json.loads(render(dashboard, SETTINGS))["panels"]
        for panel in (top, *top.get("panels", ()))
    }
    for alert in bundle.alerts:
        annotations = ours[alert.name]["annotations"]
        assert annotations == theirs[alert.name]
        assert annotations["runbook_url"] == f"https://wiki/r/{alert.name}.md"
        uid, panel = re.fullmatch(r"https://g/d/([a-z-]+)\?viewPanel=(\d+)", annotations["dashboard_url"]).groups()  # type: ignore[union-attr]
        plotted = text(alert.condition.expr, Scope('job=~"$job",instance=~"$instance"', "$__rate_interval", recorded='job=~"$job"'))
        assert panels[int(panel)][0] == uid
        assert plotted in panels[int(panel)][1], alert.name


def test_rules_with_empty_selector_parse(vendored: Path) -> None:
    result = evaluate(vendored, "((import 'mixin/mixin.libsonnet') + { _config+:: { selector: '' } }).prometheusAlerts")
    for group in result["groups"]:
        for rule in group["rules"]:
            promql_parser.parse(rule["expr"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eror_ratio: 0.01", "unknown thresholds: eror_ratio; known: "),
        ("error_ratio: 'much'", "parse error"),
        ("error_ratio: '[1]'", "no number: [1]"),
    ],
)
def test_mixin_refuses_bad_threshold(vendored: Path, override: str, message: str) -> None:
    program = f"((import 'mixin/mixin.libsonnet') + {{ _config+:: {{ thresholds+: {{ {override} }} }} }}).prometheusAlerts"
    with pytest.raises(RuntimeError, match=re.escape(message)):
        evaluate(vendored, program)


@pytest.mark.parametrize("number", [0.05, 0.1, 0.99, 0.9, 14.4, 0.000001, 3, 0, 1.5, 12345.678, -0.25, 1e9])
def test_mixin_writes_short_numbers(vendored: Path, number: float) -> None:
    written = evaluate(vendored, f"{{ text: (import 'mixin/config.libsonnet')._number({number!r}) }}")["text"]
    assert "e" not in written
    assert float(written) == number
    assert len(written) <= 10


@pytest.mark.parametrize("number", [1e-7, 1e-10, 1e-12, 123456789.5, 123456789012.345, 0.1234567891234, 2.5e20])
def test_mixin_keeps_value_of_long_numbers(vendored: Path, number: float) -> None:
    assert float(evaluate(vendored, f"{{ text: (import 'mixin/config.libsonnet')._number({number!r}) }}")["text"]) == number


def test_mixin_error_is_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "library", lambda name: "{ prometheusRules: {}, prometheusAlerts: error 'broken' }")
    with pytest.raises(RenderError) as refusal:
        rules.evaluate(bundle, SETTINGS)
    assert "broken" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_rate_window_setting_reaches_rules(bundle: Bundle) -> None:
    """It is in queries, in names of recording rules and in annotations; objectives keep their own windows."""
    evaluated = rules.evaluate(bundle, replace(SETTINGS, rate_window=60))
    text = rules.rule_file(evaluated, "rules", "alerts", only="balance")
    assert "[1m]" in text
    assert not re.search(r"\[5m\]|five minutes|Over 5m", text)
    recorded = [rule["record"] for group in rules.groups(evaluated, "rules", only="balance") for rule in group["rules"]]
    assert recorded == ["job:http_requests:rate1m", "job:http_request_errors:ratio_rate1m", "job:http_request_duration_seconds:p99_1m"]
    objectives = [rules.rule_file(found, "rules", "alerts", only="availability") for found in (evaluated, rules.evaluate(bundle, SETTINGS))]
    assert objectives[0] == objectives[1], "the windows of an objective are its own"


def test_settings_reach_keep_firing_for() -> None:
    chosen = {"BalanceCircuitBreakerOpen": AlertSettings(keep_firing=0), "BalanceDown": AlertSettings(keep_firing=60)}
    made = alerts(*collect.collect(Settings(alerts=chosen)))
    assert "keep_firing_for" not in made["BalanceCircuitBreakerOpen"]
    assert made["BalanceDown"]["keep_firing_for"] == "1m"
