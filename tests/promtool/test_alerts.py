"""The alerts of the seed in promtool, by causes written by hand: the generated tests, which come from the conditions, must not be alone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.render.rules import evaluate, rule_file

SETTINGS = Settings(job="balance")
UP = {'up{job="balance",instance="a"}': "1x30", 'balance_build_info{job="balance",instance="a",version="1",python="3"}': "1x30"}
HEALTHY = {
    'balance_backend_healthy{job="balance",instance="a",backend="one"}': "1x30",
    'balance_backend_healthy{job="balance",instance="a",backend="two"}': "1x30",
}
GOOD_REQUESTS = {'balance_http_requests_total{job="balance",instance="a",method="GET",status="200"}': "0+95x30"}
FAILED = 'balance_http_requests_total{job="balance",instance="a",method="GET",status="502"}'
ATTEMPTS = {'balance_backend_requests_total{job="balance",instance="a",backend="one",status_class="2xx"}': "0+100x30"}
RETRIES = 'balance_backend_retries_total{job="balance",instance="a",backend="two"}'
LIMIT = {'balance_connections_limit{job="balance",instance="a"}': "1000x30"}
OPEN = 'balance_circuit_breaker_state{job="balance",instance="a",backend="one",state="open"}'
MEMORY = 'process_resident_memory_bytes{job="balance",instance="a"}'
ALL_WELL = {**UP, **HEALTHY, **GOOD_REQUESTS, **ATTEMPTS, **LIMIT}


def durations(fast: int, slow: int) -> dict[str, str]:
    """Per minute, `fast` requests within 0.5 s and `slow` ones that take more than 1 s and up to 1.5 s."""
    name = 'balance_http_request_duration_seconds_bucket{{job="balance",instance="a",method="GET",status_class="2xx",le="{}"}}'
    upto = {"0.5": fast, "1.0": fast, "1.5": fast + slow, "+Inf": fast + slow}
    return {name.format(bound): f"0+{count}x30" for bound, count in upto.items()}


A = {"instance": "a"}
JOB: dict[str, str] = {}
Row = tuple[str, str, dict[str, str], list[dict[str, str]]]
ROWS: list[Row] = [
    ("all is well", "", ALL_WELL, []),
    ("a scrape fails", "BalanceDown", {**ALL_WELL, 'up{job="balance",instance="a"}': "0x30"}, [A]),
    ("Prometheus knows no instance", "BalanceDown", {}, [JOB]),
    ("another job is up, ours is not known", "BalanceDown", {'up{job="other",instance="a"}': "1x30"}, [JOB]),
    ("one of two instances is down", "BalanceDown", {**ALL_WELL, 'up{job="balance",instance="b"}': "0x30"}, [{"instance": "b"}]),
    ("every backend is unhealthy", "BalanceAllBackendsDown", {**ALL_WELL, **dict.fromkeys(HEALTHY, "0x30")}, [A]),
    ("one of two backends is healthy", "BalanceAllBackendsDown", {**ALL_WELL, next(iter(HEALTHY)): "0x30"}, []),
    ("the instance is up and shows no backend", "BalanceAllBackendsDown", UP, [A]),
    ("nobody shows a backend, no instance is known", "BalanceAllBackendsDown", {}, [JOB]),
    (
        "one of two instances lost its backends",
        "BalanceAllBackendsDown",
        {**ALL_WELL, 'up{job="balance",instance="b"}': "1x30"},
        [{"instance": "b"}],
    ),
    ("one backend is unhealthy", "BalanceBackendDown", {**ALL_WELL, next(iter(HEALTHY)): "0x30"}, [{**A, "backend": "one"}]),
    ("more than 5 % fail", "BalanceHighErrorRate", {**ALL_WELL, FAILED: "0+6x30"}, [JOB]),
    ("a status fails that no registry has", "BalanceHighErrorRate", {**ALL_WELL, FAILED.replace("502", "520"): "0+6x30"}, [JOB]),
    ("exactly 5 % fail", "BalanceHighErrorRate", {**ALL_WELL, FAILED: "0+5x30"}, []),
    ("there is no traffic", "BalanceHighErrorRate", {**UP, **HEALTHY, **dict.fromkeys(GOOD_REQUESTS, "7x30")}, []),
    ("two in a hundred are slow", "BalanceHighLatency", {**ALL_WELL, **durations(980, 20)}, [JOB]),
    ("one in two hundred is slow", "BalanceHighLatency", {**ALL_WELL, **durations(995, 5)}, []),
    ("81 % of the connections are open", "BalanceHighConnections", {**ALL_WELL, 'balance_active_connections{job="balance",instance="a"}': "810x30"}, [A]),
    ("80 % of the connections are open", "BalanceHighConnections", {**ALL_WELL, 'balance_active_connections{job="balance",instance="a"}': "800x30"}, []),
    ("memory is above 512 MiB", "BalanceHighMemoryUsage", {**ALL_WELL, MEMORY: "536870913x30"}, [A]),
    ("memory is 512 MiB", "BalanceHighMemoryUsage", {**ALL_WELL, MEMORY: "536870912x30"}, []),
    ("a breaker is open", "BalanceCircuitBreakerOpen", {**ALL_WELL, OPEN: "1x30"}, [{**A, "backend": "one", "state": "open"}]),
    (
        "a breaker opens again after every probe",
        "BalanceCircuitBreakerOpen",
        {**ALL_WELL, OPEN: "1 0 0 " * 10},
        [{**A, "backend": "one", "state": "open"}],
    ),
    ("no breaker is open", "BalanceCircuitBreakerOpen", {**ALL_WELL, OPEN: "0x30"}, []),
    ("11 in 100 attempts are retries", "BalanceHighRetryRate", {**ALL_WELL, RETRIES: "0+11x30"}, [JOB]),
    ("10 in 100 attempts are retries", "BalanceHighRetryRate", {**ALL_WELL, RETRIES: "0+10x30"}, []),
]  # fmt: skip


@pytest.fixture(scope="module")
def rules(bundle: Bundle) -> str:
    """The rule file with the default settings."""
    return rule_file(evaluate(bundle, SETTINGS), "rules", "alerts")


@pytest.mark.parametrize(("name", "alert", "given", "firing"), ROWS, ids=[row[0] for row in ROWS])
def test_alert_fires_as_expected(
    name: str,
    alert: str,
    given: dict[str, str],
    firing: list[dict[str, str]],
    bundle: Bundle,
    rules: str,
    tmp_path: Path,
    program: Callable[[str], str],
) -> None:
    severity = {alert.name: alert.severity for alert in bundle.alerts}
    selector = f'alertname="{alert}",' if alert else ""
    samples = [
        {"labels": _labels({"alertname": alert, "alertstate": "firing", "job": "balance", "severity": severity[alert], **labels}), "value": 1}
        for labels in firing
    ]
    case = {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in given.items()],
        "promql_expr_test": [{"expr": f'ALERTS{{{selector}alertstate="firing"}}', "eval_time": "29m", "exp_samples": samples}],
    }
    (tmp_path / "rules.yaml").write_text(rules)
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}))
    run = subprocess.run([program("promtool"), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _labels(labels: dict[str, str]) -> str:
    return f"ALERTS{{{','.join(f'{name}={value!r}' for name, value in labels.items())}}}".replace("'", '"')


def test_promtool_accepts_rules(bundle: Bundle, tmp_path: Path, program: Callable[[str], str]) -> None:
    for runtime in ("python", "go"):
        file = tmp_path / f"{runtime}.yaml"
        file.write_text(rule_file(evaluate(bundle, Settings(job="balance", runtime=runtime)), "rules", "alerts"))
        run = subprocess.run([program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", file], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"{len(bundle.alerts) + len(bundle.recording_rules)} rules found" in run.stdout


def test_annotations_have_value_and_threshold_with_unit(bundle: Bundle, tmp_path: Path, program: Callable[[str], str]) -> None:
    expected = {
        "summary": "6.25% of the responses of job balance are server errors",
        "description": "Over 5m, 6.25% of all responses had a 5xx status; the threshold is 2%. "
        "502, 503 and 504 come from the load balancer itself, others from the backends.",
        "runbook_url": "runbooks/BalanceHighErrorRate.md",
        "dashboard_url": "http://localhost:3000/d/balance?viewPanel=704085286",
    }
    given = {'balance_http_requests_total{job="balance",instance="a",method="GET",status="200"}': "0+60x30", FAILED: "0+4x30"}
    case = {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in given.items()],
        "alert_rule_test": [
            {
                "eval_time": "29m",
                "alertname": "BalanceHighErrorRate",
                "exp_alerts": [{"exp_labels": {"job": "balance", "severity": "critical"}, "exp_annotations": expected}],
            }
        ],
    }
    (tmp_path / "rules.yaml").write_text(rule_file(evaluate(bundle, Settings(job="balance", thresholds={"error_ratio": 0.02})), "alerts"))
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}))
    run = subprocess.run([program("promtool"), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_promtool_accepts_scrape_configuration(repository: Path, program: Callable[[str], str]) -> None:
    run = subprocess.run(
        [program("promtool"), "check", "config", repository / "generated" / "prometheus" / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "SUCCESS: 4 rule files found" in run.stdout
