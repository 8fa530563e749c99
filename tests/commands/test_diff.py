"""`balance-gen diff` says in words what has changed, and whether it breaks anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from balance.commands.cli import main
from balance.generate.changes import LEVELS, compare
from balance.generate.semantic import extract

Files = dict[str, str]
CATALOG = "catalog.json"
ALERTS = "prometheus/rules/alerts.yaml"
RECORDING = "prometheus/rules/recording.yaml"
BOARD = "dashboards/balance.json"
ROUTES = "alertmanager/alertmanager.yml"


@pytest.fixture(scope="module")
def generated(repository: Path) -> Files:
    paths = (CATALOG, ALERTS, RECORDING, BOARD, ROUTES, "mixin/model.json")
    return {path: (repository / "generated" / path).read_text() for path in paths}


def told(old: Files, new: Files) -> list[str]:
    return [f"{change}: {change.level}" for change in compare(extract(old), extract(new))]


def edited(files: Files, path: str, edit: Callable[[Any], object]) -> Files:
    document = json.loads(files[path]) if path.endswith(".json") else yaml.safe_load(files[path])
    edit(document)
    return {**files, path: json.dumps(document) if path.endswith(".json") else yaml.safe_dump(document)}


def metric(document: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(metric for metric in document["metrics"] if metric["name"] == name)
    return found


def label(document: Any, name: str, of: str) -> dict[str, Any]:
    found: dict[str, Any] = next(label for label in metric(document, of)["labels"] if label["name"] == name)
    return found


REQUESTS, DURATION = "balance_http_requests_total", "balance_http_request_duration_seconds"
METRICS: list[tuple[Callable[[Any], object], list[str]]] = [
    (lambda d: metric(d, REQUESTS)["labels"].pop(0), [f"metric {REQUESTS}: lost label 'method': breaking"]),
    (lambda d: label(d, "method", REQUESTS)["values"].remove("GET"), [f"metric {REQUESTS}: label 'method' lost the value GET: breaking"]),
    (lambda d: label(d, "method", REQUESTS)["values"].append("BREW"), [f"metric {REQUESTS}: label 'method' can also be BREW: harmless"]),
    (
        lambda d: metric(d, REQUESTS)["labels"].append({"name": "zone", "bound": 3}),
        [f"metric {REQUESTS}: has a new label 'zone': queries without aggregation return more series: notable"],
    ),
    (lambda d: metric(d, REQUESTS).update(kind="gauge"), [f"metric {REQUESTS}: type counter to gauge: breaking"]),
    (lambda d: metric(d, DURATION).update(unit="bytes"), [f"metric {DURATION}: unit seconds to bytes: breaking"]),
    (lambda d: metric(d, DURATION)["buckets"].remove(1), [f"metric {DURATION}: lost the bucket bounds 1: breaking"]),
    (lambda d: metric(d, REQUESTS).update(help="Requests."), [f"metric {REQUESTS}: help reworded: harmless"]),
    (lambda d: metric(d, REQUESTS).update(merge="max"), [f"metric {REQUESTS}: merge across workers sum to max: notable"]),
    (lambda d: metric(d, REQUESTS).update(stability="experimental"), [f"metric {REQUESTS}: stability stable to experimental: breaking"]),
    (lambda d: d["metrics"].remove(metric(d, REQUESTS)), [f"metric {REQUESTS}: is removed: breaking"]),
    (
        lambda d: metric(d, REQUESTS).update(name="balance_requests_total"),
        [f"metric {REQUESTS}: is now called balance_requests_total: breaking", "metric balance_requests_total: is new: harmless"],
    ),
    (
        lambda d: metric(d, REQUESTS).update(name="balance_requests_total", renamed_from=REQUESTS, deprecated_since="1", remove_after="2"),
        [
            f"metric {REQUESTS}: is renamed to balance_requests_total; both names are shown until version 2: notable",
            "metric balance_requests_total: is new: harmless",
        ],
    ),
    (
        lambda d: metric(d, REQUESTS).update(deprecated_since="1", remove_after="2"),
        [f"metric {REQUESTS}: is deprecated since version 1, and shown until version 2: notable"],
    ),
    (lambda d: d["objectives"][0].update(objective="0.99"), ["objective availability: objective 99.9 % to 99 %: notable"]),
    (lambda d: d["objectives"].pop(), ["objective latency: is removed: breaking"]),
    (lambda d: d["thresholds"][0].update(value=0.02), ["threshold error_ratio: 5 % to 2 %: notable"]),
    (lambda d: d["thresholds"].pop(0), ["threshold error_ratio: is removed: breaking"]),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), METRICS)
def test_catalog_changes(generated: Files, edit: Callable[[Any], object], words: list[str]) -> None:
    assert told({CATALOG: generated[CATALOG]}, {CATALOG: edited(generated, CATALOG, edit)[CATALOG]}) == words


ERRORS = "BalanceHighErrorRate"
RULES: list[tuple[str, str, str, list[str]]] = [
    (ALERTS, "> 0.05 and", "> 0.02 and", [f"alert {ERRORS}: threshold 0.05 to 0.02: notable"]),
    (ALERTS, "> 0.05 and", ">= 0.05 and", [f"alert {ERRORS}: operator > to >=: notable"]),
    (ALERTS, '~"5..",job="balance"}[5m]', '~"5..",job="balance"}[10m]', [f"alert {ERRORS}: window 5m to 10m: notable"]),
    (ALERTS, 'status=~"5.."', 'status=~"50."', [f'alert {ERRORS}: matched value "5.." to "50.": notable']),
    (ALERTS, 'total{status=~"5.."', 'errors{status=~"5.."', [
        f"alert {ERRORS}: expression changed (with balance_http_requests_errors): notable",
    ]),
    (ALERTS, "balance_active_connections", "balance_open_connections", [
        "alert BalanceHighConnections: expression changed (without balance_active_connections, with balance_open_connections): notable",
    ]),
    (ALERTS, "    for: 1m\n    labels:\n      severity: critical", "    for: 2m\n    labels:\n      severity: warning", [
        "alert BalanceDown: severity critical to warning: notable", "alert BalanceDown: for 1m to 2m: notable",
    ]),
    (ALERTS, "- alert: BalanceDown", "- alert: BalanceGone", ["alert BalanceDown: is now called BalanceGone: breaking", "alert BalanceGone: is new: harmless"]),
    (RECORDING, "job:http_requests:rate5m", "job:http_requests:rate10m", [
        "recording rule job:http_requests:rate5m: is now called job:http_requests:rate10m: breaking",
        "recording rule job:http_requests:rate10m: is new: harmless",
    ]),
    (RECORDING, "histogram_quantile(0.99", "histogram_quantile(0.95", ["recording rule job:http_request_duration_seconds:p99_5m: number 0.99 to 0.95: notable"]),
    (BOARD, '"unit": "reqps"', '"unit": "short"', ["panel Balance / Requests: unit reqps to short: notable"]),
    (BOARD, '"title": "Request Rate"', '"title": "Rates"', [
        "panel Balance / Request Rate: is now called Balance / Rates: notable", "panel Balance / Rates: is new: harmless",
    ]),
    (BOARD, "sum by (method, status)", "sum by (method)", ["panel Balance / Request Rate: query: expression changed (without status): notable"]),
    (BOARD, '"uid": "balance"', '"uid": "lb"', ["dashboard balance: is now called lb: breaking", "dashboard lb: is new: harmless"]),
    (ROUTES, 'severity="critical"\n    receiver: page', 'severity="critical"\n    receiver: inform', ['route severity="critical": receiver page to inform: notable']),
    (ROUTES, "repeat_interval: 1h", "repeat_interval: 2h", ['route severity="critical": repeat_interval 1h to 2h: notable']),
    (ROUTES, "    channel: '#alerts'", "    channel: '#noise'", ["receiver page: configuration of slack changed: notable"]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "old", "new", "words"), RULES)
def test_rule_dashboard_and_route_changes(generated: Files, path: str, old: str, new: str, words: list[str]) -> None:
    assert old in generated[path]
    assert told({path: generated[path]}, {path: generated[path].replace(old, new, 1)}) == words


def test_mute_time_changes(generated: Files) -> None:
    night = {"name": "night", "time_intervals": [{"times": [{"start_time": "22:00", "end_time": "24:00"}]}]}
    muted = edited(generated, ROUTES, lambda d: (d["route"]["routes"][1].update(mute_time_intervals=["night"]), d.update(time_intervals=[night])))
    assert told(generated, muted) == ['route severity="warning": mute times none to night: notable', "mute time night: is new: harmless"]
    later = edited(muted, ROUTES, lambda d: d["time_intervals"][0]["time_intervals"][0]["times"][0].update(start_time="23:00"))
    assert told(muted, later) == ["mute time night: times changed: notable"]


def test_lost_integration_is_breaking(generated: Files) -> None:
    without = edited(generated, ROUTES, lambda document: document["receivers"][1].pop("slack_configs"))
    assert told(generated, without) == ["receiver inform: no longer notifies by slack: breaking"]


def test_inhibition_change_names_alerts(generated: Files) -> None:
    found = told(
        generated, {**generated, ROUTES: generated[ROUTES].replace("BalanceAllBackendsDown|BalanceBackendDown|", "BalanceAllBackendsDown|", 1)}
    )
    assert found == [
        'inhibition by alertname="BalanceDown", synthetic="" (equal: job, instance): no longer silences BalanceBackendDown: notable',
    ]  # fmt: skip


def test_experimental_metric_change_is_only_notable(generated: Files) -> None:
    old = edited(generated, CATALOG, lambda document: metric(document, REQUESTS).update(stability="experimental"))
    new = edited(old, CATALOG, lambda document: metric(document, REQUESTS)["labels"].pop(0))
    assert told(old, new) == [f"metric {REQUESTS}: lost label 'method': notable"]


@pytest.mark.parametrize(
    ("version", "words"),
    [("2", f"metric {REQUESTS}: is removed in version 2, but was announced to stay until 2: breaking"), ("2.1", f"metric {REQUESTS}: is removed, as announced in version 1: harmless")],
)  # fmt: skip
def test_removal_after_announced_version_is_harmless(generated: Files, version: str, words: str) -> None:
    promise = {"name": "balance_requests_total", "renamed_from": REQUESTS, "deprecated_since": "1", "remove_after": "2"}
    old = edited(generated, CATALOG, lambda document: metric(document, REQUESTS).update(promise))
    new = edited(
        generated, CATALOG, lambda document: (metric(document, REQUESTS).update(name="balance_requests_total"), document.update(version=version))
    )
    assert told(old, new) == [words]


TWICE = """
groups:
- name: g
  rules:
  - {alert: Full, expr: disk > 80, for: 60, labels: null}
  - {alert: Full, expr: disk > 95, labels: {severity: critical}}
"""
PANELS = {
    "title": "Own",
    "templating": None,
    "panels": [{"type": "row", "panels": [{"targets": [{"expr": "up"}]}]}, {"targets": [{"expr": "up == 0"}]}],
}


def test_hand_written_files() -> None:
    assert told({"a.yaml": TWICE}, {"a.yaml": TWICE.replace("95", "98")}) == ["alert Full (2): threshold 95 to 98: notable"]
    board = json.dumps(PANELS)
    assert told({"a.json": board}, {"a.json": board.replace("== 0", "== 1")}) == ["panel Own / untitled: query: threshold 0 to 1: notable"]


def test_equal_states_have_no_changes(generated: Files) -> None:
    assert told(generated, generated) == []


def test_sources_against_written_files(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a second state, the sources are compared; thresholds are shown in their unit."""
    out = str(repository / "generated")
    assert main(["diff", out, "--fail-on", "harmless"]) == 0
    assert capsys.readouterr().out == ""
    changed = ["--set", "thresholds.error_ratio=0.02", "--set", "thresholds.memory=268435456", "--set", "objectives.availability=0.99"]
    assert main(["diff", out, *changed, "--fail-on", "breaking"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "threshold error_ratio: 5 % to 2 %: notable",
        "alert BalanceHighErrorRate: threshold 5 % to 2 %: notable",
        "panel Balance / Error Rate: threshold line 5 % to 2 %: notable",
        "alert BalanceHighMemoryUsage: threshold 512 MiB to 256 MiB: notable",
        "objective availability: objective 99.9 % to 99 %: notable",
        "alert BalanceAvailabilityBurnFast: threshold 1.44 % to 14.4 %: notable",
    ):
        assert line in lines
    assert main(["diff", out, *changed, "--fail-on", "notable"]) == 1
    assert main(["diff", out, "--set", "alerts.BalanceDown.enabled=false", "--fail-on", "breaking"]) == 1


def test_missing_family_counts_only_in_complete_directories(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without the marker may simply not contain the family."""
    whole = shutil.copytree(repository / "generated", tmp_path / "whole", ignore=shutil.ignore_patterns("kubernetes", "tests"))
    less = shutil.copytree(whole, tmp_path / "less", ignore=shutil.ignore_patterns("alertmanager"))
    assert main(["diff", str(whole), str(less), "--fail-on", "breaking"]) == 1
    assert "receiver page: is removed: breaking\n" in capsys.readouterr().out
    (less / "GENERATED.md").unlink()
    assert main(["diff", str(whole), str(less), "--fail-on", "harmless"]) == 0


def test_json_has_findings_and_a_summary(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = repository / "generated" / "catalog.json"
    document = json.loads(old.read_text())
    metric(document, REQUESTS)["labels"].pop(0)
    new = tmp_path / "catalog.json"
    new.write_text(json.dumps(document))
    assert main(["diff", str(old), str(new), "--format", "json", "--fail-on", "breaking"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["summary"] == {"verdict": "breaking", "breaking": 1, "notable": 0, "harmless": 0}
    (finding,) = printed["findings"]
    assert (finding["check"], finding["severity"], finding["subject"]) == ("metric-labels", "error", f"metric {REQUESTS}")
    assert finding["problem"] == "lost label 'method'"
    assert finding["cure"]


def test_markdown_is_a_table_for_each_level(generated: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (
        ("a.yaml", generated[ALERTS]),
        ("b.yaml", generated[ALERTS].replace("> 0.05 and", "> 0.02 and").replace("BalanceDown\n", "BalanceGone\n", 1)),
    ):
        (tmp_path / name).write_text(text)
    assert main(["diff", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), "--format", "markdown"]) == 0
    assert capsys.readouterr().out == (
        "### Monitoring: breaking: 1 breaking, 1 notable, 1 harmless\n\n"
        "**breaking**\n\n| what | change |\n| --- | --- |\n| alert `BalanceDown` | is now called BalanceGone |\n\n"
        "**notable**\n\n| what | change |\n| --- | --- |\n| alert `BalanceHighErrorRate` | threshold 0.05 to 0.02 |\n\n"
        "<details><summary>harmless</summary>\n\n| what | change |\n| --- | --- |\n| alert `BalanceGone` | is new |\n\n</details>\n"
    )


@pytest.fixture
def revisions(generated: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits, `one` and `two`, and a folder `service` in it that is the current directory."""
    folder = tmp_path / "service"
    for tag, text in (("one", generated[ALERTS]), ("two", generated[ALERTS].replace("> 0.05 and", "> 0.02 and"))):
        file = folder / "generated" / ALERTS
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if tag == "one":
            subprocess.run(["git", "init", "-q", tmp_path], check=True)
        author = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        for command in (["add", "."], [*author, "commit", "-qm", tag], ["tag", tag]):
            subprocess.run(["git", "-C", tmp_path, *command], check=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.process
@pytest.mark.parametrize(
    "sides",
    [("one", "two"), ("one", "generated"), ("two~1", f"two:service/generated/{ALERTS}"), (f"one:./generated/{ALERTS}", "HEAD")],
)  # fmt: skip
def test_git_revisions(revisions: Path, sides: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *sides]) == 0
    assert capsys.readouterr().out == f"alert {ERRORS}: threshold 0.05 to 0.02: notable\n"


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "one"], "nowhere: no such file, directory or git revision (give two directories"),
        (["--", "--output=x", "one"], "--output=x: no such file, directory or git revision"),
        (["one", "two:elsewhere"], "two:elsewhere: does not contain elsewhere (give its path: REVISION:PATH, or --out DIR)"),
        (["one", "two", "--out", "made"], "one: does not contain made (give its path"),
        (["one", "empty"], "empty: contains no catalog, rules, dashboard or Alertmanager configuration"),
        (["one", "catalog.json"], "one, catalog.json: nothing in common to compare"),
        (["one", "broken.json"], "broken.json: invalid JSON: "),
        (["one", "broken.yaml"], "broken.yaml: invalid YAML: "),
        (["one", "odd.yaml"], "odd.yaml: unexpected structure of a rule file (give a valid rule file"),
    ],
)
def test_unusable_states_are_one_line(
    revisions: Path, generated: Files, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    for name, text in (
        ("catalog.json", generated[CATALOG]),
        ("broken.json", "{"),
        ("broken.yaml", "groups: [{"),
        ("odd.yaml", "groups: [{rules: [{}]}]"),
    ):
        Path(name).write_text(text)
    assert main(["diff", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"balance-gen: {message}")
    assert captured.err.count("\n") == 1


@pytest.mark.process
def test_two_given_states_need_no_source(revisions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "one", "two", "--source", "no.such:module"]) == 0


def test_worst_changes_come_first(generated: Files) -> None:
    changed = edited(edited(generated, CATALOG, lambda d: metric(d, REQUESTS)["labels"].pop(0)), BOARD, lambda d: d.update(title="B"))
    levels = [change.level for change in compare(extract(generated), extract(changed))]
    assert levels == sorted(levels, key=LEVELS.index)
    assert set(levels) == {"breaking", "notable", "harmless"}
