from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from balance.commands.cli import main
from balance.generate import collect
from balance.lb.catalog.metrics import CATALOG
from balance.live import dashboards, index_sources, rulefiles, scrape
from balance.live.audit import Audit, audit
from balance.live.audited_query import AuditedQuery
from balance.live.series_index import SeriesIndex
from tools.bench import live as bench
from tools.bench.generator import used

GO = Path(__file__).parent / "go"
SCRAPE = """
# TYPE http_requests_total counter
http_requests_total{method="GET",status="200"} 5
http_requests_total{method="POST",status="500"} 1
# TYPE http_wait_seconds histogram
http_wait_seconds_bucket{le="0.5"} 1
http_wait_seconds_bucket{le="1.0"} 2
http_wait_seconds_bucket{le="+Inf"} 2
http_wait_seconds_sum 1.5
http_wait_seconds_count 2
# TYPE rpc_seconds summary
rpc_seconds{quantile="0.99"} 1
rpc_seconds_sum 1
rpc_seconds_count 1
# TYPE queue_depth gauge
queue_depth{queue="a"} 1
# TYPE pool_size gauge
pool_size{pool="a"} 1
# TYPE errors_total counter
# TYPE door stateset
door{door="open"} 1
door{door="shut"} 0
# EOF
"""


def shown() -> SeriesIndex:
    return index_sources.from_scrapes([scrape.parse(SCRAPE)])


def judge(
    expr: str, *rules: str, known: SeriesIndex | None = None, macros: bool = True, values: Mapping[str, tuple[str, ...]] = {}
) -> tuple[str, set[str], Audit]:
    """The verdict on a panel's query, the kinds of its reasons, and all of the audit."""
    recorded = [AuditedQuery("rule", name, "rules.yaml:1", made) for name, _, made in (rule.partition("=") for rule in rules)]
    found = audit([*recorded, AuditedQuery("panel", "p", "d.json", expr, values=values, macros=macros)], known or shown())
    row = found.assessed[-1].row()
    return row["verdict"], {reason["kind"] for reason in row["reasons"]}, found


def test_go_project_has_dead_panels_and_alerts(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Five of seven panels are always empty and seven of ten alerts can never fire; promtool reports none of it."""
    files = ["--metrics", str(GO / "metrics.txt"), "--dashboards", str(GO / "grafana-dashboard.json"), "--rules", str(GO / "prometheus-alerts.yaml")]
    assert main(["audit", *files, "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["summary"]["panels"] == {"all": 7, "live": 2, "cannot-tell": 0, "dead": 5}
    assert told["summary"]["alerts"] == {"all": 10, "live": 3, "cannot-tell": 0, "dead": 7}
    alive = {row["subject"] for row in told["verdicts"] if row["verdict"] == "live"}
    assert alive == {
        "Balance Load Balancer / Memory Usage / A", "Balance Load Balancer / Memory Usage / B", "Balance Load Balancer / Goroutines / A",
        "BalanceDown", "BalanceHighMemoryUsage", "BalanceHighGoroutines",
    }  # fmt: skip
    assert {finding["check"] for finding in told["findings"]} == {"name"}
    assert "balance_connections_total" in told["unused"]
    checked = subprocess.run([program("promtool"), "check", "rules", GO / "prometheus-alerts.yaml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_generated_files_are_live_by_our_catalog(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generated = repository / "generated"
    arguments = ["--dashboards", str(generated / "dashboards"), "--rules", str(generated / "prometheus" / "rules"), "--format", "json"]
    assert main(["audit", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["verdict"] for row in told["verdicts"]} == {"live"}


@pytest.mark.parametrize(
    ("expr", "verdict", "kind"),
    [
        ("sum(rate(http_requests_total[5m]))", "live", ""),
        ('http_requests_total{method="GET"} > 5', "live", ""),
        ("http_request_total", "dead", "name"),
        ('http_requests_total{code="200"}', "dead", "label"),
        ('http_requests_total{code!="200"}', "live", ""),
        ('http_requests_total{code=~".*"}', "live", ""),
        ('http_requests_total{method="PUT"}', "cannot-tell", "label-value"),
        ('http_requests_total{status=~"4.."}', "cannot-tell", "label-value"),
        ('http_requests_total{status=~"5.."}', "live", ""),
        ('http_requests_total{method="GET",status="500"}', "cannot-tell", "label-value"),
        ('http_requests_total{method=~"(G|P)+(X+)+"}', "cannot-tell", "label-value"),
        ('http_requests_total{job="shop",instance="x:1"}', "live", ""),
        ('http_requests_total{namespace="shop"}', "cannot-tell", "label"),
        ("errors_total", "cannot-tell", "name"),
        ("rate(errors_total[5m]) > 0", "cannot-tell", "name"),
        ("up == 0", "live", ""),
        ('ALERTS{alertstate="firing"}', "live", ""),
        ("absent(nothing)", "live", ""),
        ("absent_over_time(nothing[5m])", "live", ""),
        ("nothing or vector(0)", "live", ""),
        ("vector(1)", "live", ""),
        ("time() - nothing", "dead", "name"),
        ("nothing or nowhere", "dead", "name"),
        ("queue_depth unless nothing", "live", ""),
        ("nothing unless queue_depth", "dead", "name"),
        ("queue_depth and nothing", "dead", "name"),
        ("queue_depth > scalar(nothing)", "dead", "name"),
        ("queue_depth / pool_size", "dead", "matching"),
        ("queue_depth / on (job) pool_size", "live", ""),
        ("queue_depth / ignoring (queue, pool) pool_size", "live", ""),
        ("sum by (job) (queue_depth) / sum by (job) (pool_size)", "live", ""),
        ("sum by (job) (queue_depth) / pool_size", "dead", "matching"),
        ("sum by (pod) (queue_depth) / sum by (pod) (pool_size)", "live", ""),
        ("queue_depth / 2 > 1", "live", ""),
        ("topk(3, nothing)", "dead", "name"),
        ("histogram_quantile(0.9, sum by (le) (rate(http_wait_seconds_bucket[5m])))", "live", ""),
        ("histogram_quantile(0.9, sum(rate(http_wait_seconds_bucket[5m])))", "dead", "label"),
        ("histogram_quantile(0.9, sum by (le) (queue_depth))", "live", ""),  # Prometheus may add any label: not a word
        ("histogram_quantile(0.9, queue_depth)", "dead", "type"),
        ("rate(http_wait_seconds[5m])", "dead", "type"),
        ("rate(rpc_seconds_bucket[5m])", "dead", "type"),
        ("rpc_seconds_sum / rpc_seconds_count", "live", ""),
        ('http_wait_seconds_bucket{le="1"}', "live", ""),
        ('http_wait_seconds_bucket{le="2"}', "dead", "label-value"),
        ('door{door="ajar"}', "dead", "label-value"),
        ('{__name__=~"http_.*_total"}', "live", ""),
        ('{__name__=~"nix_.*"}', "cannot-tell", "name"),
        ('{__name__="queue_depth"}', "live", ""),
        ('{"queue_depth"}', "live", ""),
        ("histogram_count(rate(http_wait_seconds[5m]))", "cannot-tell", "type"),
        ("job:queue_depth:max", "cannot-tell", "name"),
        ("max_over_time(rate(http_requests_total[5m])[1h:1m])", "live", ""),
        ("label_replace(queue_depth, 'x', '$1', 'queue', '(.*)')", "live", ""),
        ("sum(", "cannot-tell", "unreadable"),
        ('queue_depth{queue="a" or queue="b"}', "cannot-tell", "unreadable"),
    ],
)
def test_verdict_and_reason_of_expression(expr: str, verdict: str, kind: str) -> None:
    found, kinds, _ = judge(expr, macros=False)
    assert found == verdict, kinds
    assert kind in kinds or not kind


@pytest.mark.parametrize(
    ("expr", "verdict"),
    [
        ("sum(rate(http_requests_total[$__rate_interval])) by (method)", "live"),
        ("rate(http_requests_total[${__rate_interval}])", "live"),
        ("increase(http_requests_total[$__range])", "live"),
        ("increase(http_requests_total[${__range_s}s])", "live"),
        ("rate(http_requests_total[[[window]]])", "live"),
        ("rate(http_requests_total[5m] offset $shift) > $limit", "live"),
        ("max_over_time(queue_depth[1h:$__interval])", "live"),
        ("queue_depth / $__interval_ms", "live"),
        ("queue_depth > ${limit:raw}", "live"),
        ("queue_depth > $unknown", "cannot-tell"),
        ('http_requests_total{method=~"$method",job="$job",instance=~"${instance:regex}"}', "live"),
        ('http_requests_total{method=~"($method|x.*)"}', "live"),
        ('http_requests_total{method="[[method]]"}', "live"),
        ('http_requests_total{method!~"$method"}', "live"),
        ('http_requests_total{status=~"9$rest"}', "cannot-tell"),
        ('http_requests_total{metod="$method"}', "dead"),
        ('http_requests_total{metod=~"$method"}', "cannot-tell"),
        ('http_requests_total{$filter}', "cannot-tell"),
        ('http_requests_total{metod="GET",$filter}', "dead"),
        ('http_requests_total{$label="x"}', "cannot-tell"),
        ("http_${what}_total", "live"),
        ("${kind}_depth", "cannot-tell"),
        ("$metric", "live"),
        ("$nothing", "dead"),
        ("$aggregation(queue_depth)", "live"),
        ("$unknown(rate(http_requests_total[5m]))", "live"),
        ("$aggregation by ($group) (queue_depth)", "live"),
        ("sum by ($unknown) (queue_depth) / sum by ($unknown) (pool_size)", "live"),
        ("rate(nothing[$__rate_interval])", "dead"),
        ("queue_depth # > $unknown", "live"),
        ("topk($unknown, queue_depth)", "live"),
        ("histogram_quantile(0.$unknown, sum by (le) (rate(http_wait_seconds_bucket[5m])))", "live"),
        ("${unknown}_over_time(queue_depth[5m])", "live"),
        ("quantile($unknown, nothing)", "dead"),
        ("queue_depth $unknown 5", "cannot-tell"),
    ],
)  # fmt: skip
def test_grafana_variables_in_every_position(expr: str, verdict: str) -> None:
    values = {
        "limit": ("5", "10"), "shift": ("1h",), "what": ("x", "requests"), "metric": ("queue_depth",), "nothing": ("nix", "nought"),
        "aggregation": ("sum", "max"), "group": ("queue",), "window": ("1m",),
    }  # fmt: skip
    found, kinds, told = judge(expr, values=values)
    assert found == verdict, kinds
    assert [finding.severity for finding in told.findings] == ["error"] * (verdict == "dead")


def test_recorded_series_are_as_live_as_their_rules() -> None:
    good, bad, loop = (
        "job:http:rate5m=sum by (job) (rate(http_requests_total[5m]))",
        "job:nix:rate5m=rate(nix_total[5m])",
        "a:b:c=a:b:c + queue_depth",
    )
    assert judge("job:http:rate5m > 5", good)[0] == "live"
    assert judge('job:http:rate5m{job="shop"}', good)[0] == "live"
    assert judge('job:http:rate5m{team="a"}', good)[0] == "cannot-tell"
    verdict, kinds, found = judge("job:nix:rate5m", good, bad)
    assert (verdict, kinds) == ("dead", {"name"})
    assert "job:nix:rate5m is recorded from missing series: there is no series nix_total" in found.findings[-1].what
    assert judge("a:b:c", loop)[0] == "live"
    (finding,) = judge("job:htpp:rate5m", good)[2].findings
    assert finding.cure == "did you mean job:http:rate5m?"


def test_nearest_existing_name_is_suggested() -> None:
    for expr, cure in {
        "http_request_total": "did you mean http_requests_total?",
        "http_wait": "did you mean http_wait_seconds_sum?",
        'http_requests_total{mehtod="GET"}': "did you mean 'method'? labels: method, status",
        "rate(http_wait_seconds[5m])": "use http_wait_seconds_bucket, http_wait_seconds_count, http_wait_seconds_sum",
        'http_wait_seconds_bucket{le="2"}': "values: +Inf, 0.5, 1.0",
    }.items():
        (finding,) = judge(expr)[2].findings
        assert finding.cure == cure
        assert finding.what.startswith("never shows anything: ")


def test_rate_of_gauge_is_a_warning() -> None:
    verdict, _, found = judge("rate(queue_depth[5m])")
    assert verdict == "live"
    assert [(finding.check, finding.severity) for finding in found.findings] == [("type", "warning")]


def test_elsewhere_names_are_not_missing() -> None:
    known = index_sources.from_scrapes([scrape.parse(SCRAPE)], ["node_.*"])
    assert judge("node_load1", known=known)[0] == "cannot-tell"
    assert judge("note_load1", known=known)[0] == "dead"


@pytest.mark.parametrize(
    ("expr", "verdict"),
    [
        ('balance_http_requests_total{status=~"5.."}', "live"),
        ('balance_http_requests_total{method="GET",status="503"}', "live"),
        ('balance_http_requests_total{method="get"}', "dead"),
        ('balance_http_requests_total{status=~"6.."}', "dead"),
        ('balance_backend_healthy{backend="a"}', "live"),
        ('balance_circuit_breaker_state{state="ajar"}', "dead"),
        ('balance_http_request_duration_seconds_bucket{le="1"}', "live"),
        ('balance_http_request_duration_seconds_bucket{le="1.7"}', "dead"),
        ("balance_active_connections / balance_connections_limit", "live"),
        ("balance_active_connections / balance_backend_healthy", "dead"),
    ],
)
def test_catalog_knows_closed_sets_of_values(expr: str, verdict: str) -> None:
    assert judge(expr, known=index_sources.from_catalog(CATALOG))[0] == verdict


def panel(title: str, expr: str, **more: Any) -> dict[str, Any]:
    return {"id": 7, "title": title, "targets": [{"expr": expr, "refId": "A"}], **more}


V2 = {
    "apiVersion": "dashboard.grafana.app/v2", "kind": "Dashboard", "spec": {
        "title": "D", "variables": [{"kind": "CustomVariable", "spec": {"name": "v", "query": "a,b"}}],
        "elements": {"panel-1": {"kind": "Panel", "spec": {"id": 1, "title": "P", "data": {"kind": "QueryGroup", "spec": {"queries": [
            {"kind": "PanelQuery", "spec": {"refId": "A", "query": {"kind": "DataQuery", "group": "prometheus", "spec": {"expr": "x"}}}},
            {"kind": "PanelQuery", "spec": {"refId": "B", "query": {"kind": "DataQuery", "group": "loki", "spec": {"expr": "{a=\"b\"}"}}}},
        ]}}}}},
    },
}  # fmt: skip

OLDER_V2 = {
    "kind": "Dashboard",
    "spec": {
        "title": "D",
        "elements": {"panel-1": {"kind": "Panel", "spec": {"id": 1, "title": "P", "data": {"kind": "QueryGroup", "spec": {"queries": [
            {"kind": "PanelQuery", "spec": {"refId": "A", "datasource": {"uid": "p"}, "query": {"kind": "prometheus", "spec": {"expr": "x"}}}},
            {"kind": "PanelQuery", "spec": {"refId": "B", "datasource": {"uid": "l"}, "query": {"kind": "loki", "spec": {"expr": "y"}}}},
        ]}}}}},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "tree",
    [
        {"title": "D", "panels": [panel("P", "x")]},
        [{"title": "D", "panels": [panel("P", "x")]}],
        {"dashboard": {"title": "D", "panels": [panel("P", "x")]}, "meta": {}},
        {"apiVersion": "dashboard.grafana.app/v1beta1", "kind": "Dashboard", "spec": {"title": "D", "panels": [panel("P", "x")]}},
        {"title": "D", "rows": [{"title": "R", "panels": [panel("P", "x")]}]},
        {"title": "D", "panels": [{"type": "row", "title": "R", "panels": [panel("P", "x")]}]},
        {"title": "D", "panels": [{"type": "row", "panels": [{"type": "row", "panels": [panel("P", "x")]}]}]},
        {"title": "D", "panels": [{"title": "P", "libraryPanel": {"uid": "u", "name": "n", "model": panel("P", "x")}}]},
        {"title": "D", "__elements": {"u": {"uid": "u", "model": panel("P", "x")}}, "panels": [{"title": "P", "libraryPanel": {"uid": "u"}}]},
        {"title": "D", "panels": [panel("P", "x"), panel("L", '{a="b"}', datasource={"type": "loki", "uid": "l"}), panel("E", "y", datasource="Loki")]},
        {"title": "D", "__inputs": [{"name": "DS_LOKI", "type": "datasource", "pluginId": "loki"}],
         "panels": [panel("P", "x", datasource="${DS_PROMETHEUS}"), panel("L", "y", datasource={"uid": "${DS_LOKI}"})]},
        {"title": "D", "templating": {"list": [{"name": "logs", "type": "datasource", "query": "loki"}]},
         "panels": [panel("P", "x"), panel("L", "y", datasource="$logs")]},
        {"title": "D", "panels": [panel("P", "x"), {"title": "text"}, {"targets": None}, {"targets": [{"expr": 5}, None]}, "odd", None]},
        V2,
        OLDER_V2,
    ],
)  # fmt: skip
def test_dashboards_in_every_wrapping(tree: object) -> None:
    queries, problems = dashboards.read("\ufeff" + json.dumps(tree), "d.json")
    assert [(query.kind, query.subject, query.expr) for query in queries] == [("panel", "D / P / A", "x")]
    assert problems == []


@pytest.mark.parametrize(
    "expr", ["(" * 20_000 + "up" + ")" * 20_000, "+".join(["up"] * 3000), "$a" * 3000, "[$a" * 2000, "-" * 60_000 + "up", "[" * 20_000]
)
def test_hostile_expression_is_bounded(expr: str) -> None:
    begin = time.process_time()
    assert judge(expr)[0] in ("live", "cannot-tell")
    assert time.process_time() - begin < 2


def test_annotations_and_variables_are_queries_too() -> None:
    tree = {
        "title": "D", "panels": [panel("P", "x > $limit")], "annotations": {"list": [{"name": "deploys", "expr": "changes(y[5m])"}]},
        "templating": {"list": [
            {"name": "backend", "type": "query", "query": {"query": "label_values(z{job=\"$job\"}, backend)"}},
            {"name": "job", "type": "query", "query": "label_values(job)"}, {"name": "q", "type": "query", "definition": "query_result(topk(3, w))"},
            {"name": "limit", "type": "custom", "query": "Low : 1, High : 2"},
        ]},
    }  # fmt: skip
    queries, _ = dashboards.read(json.dumps(tree), "d.json")
    assert [(query.kind, query.expr) for query in queries] == [
        ("panel", "x > $limit"), ("annotation", "changes(y[5m])"), ("variable", 'z{job="$job"}'), ("variable", "topk(3, w)"),
    ]  # fmt: skip
    assert list(queries[0].candidates()) == ["x > 1", "x > 2"]


RULES = "groups:\n- name: g\n  rules:\n  - record: a:b:c\n    expr: x\n  - alert: A\n    expr: |\n      y > 1\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (RULES, [5, 7]),
        ("kind: PrometheusRule\nspec:\n" + "".join(f"  {line}\n" for line in RULES.splitlines()), [7, 9]),
        ("kind: List\nitems:\n- kind: PrometheusRule\n  spec:\n" + "".join(f"    {line}\n" for line in RULES.splitlines()), [9, 11]),
        ("---\nkind: Namespace\n---\n" + RULES, [8, 10]),
        ("namespace: shop\n" + RULES, [6, 8]),
        (json.dumps({"groups": [{"rules": [{"record": "a:b:c", "expr": "x"}, {"alert": "A", "expr": "y > 1\n"}]}]}), [1, 1]),
        (json.dumps({"kind": "ConfigMap", "data": {"rules.yaml": RULES, "readme": "groups:"}}), [5, 7]),
    ],
)
def test_rules_in_files_and_objects_with_lines(text: str, lines: list[int]) -> None:
    queries, problems = rulefiles.read(text, "r.yaml")
    assert [(query.kind, query.subject, query.expr.strip()) for query in queries] == [("rule", "a:b:c", "x"), ("alert", "A", "y > 1")]
    assert [query.where for query in queries] == [f"r.yaml:{line}" for line in lines]
    assert problems == []


def test_rules_in_config_map_with_lines_and_errors() -> None:
    text = "kind: ConfigMap\ndata:\n  a.rules: |\n    groups:\n    - rules:\n      - {alert: A, expr: up == 0}\n  b.yaml: |\n    groups: [\n"
    queries, problems = rulefiles.read(f"{text}---\n{RULES}", "r.yaml")
    assert [(query.subject, query.where) for query in queries] == [("A", "r.yaml:6"), ("a:b:c", "r.yaml:14"), ("A", "r.yaml:16")]
    assert [problem.where for problem in problems] == ["r.yaml:9:1"]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "&a\nspec: *a\nitems: [*a, *a, *a]\n"])
def test_hostile_yaml_is_bounded(text: str) -> None:
    begin = time.process_time()
    queries, problems = rulefiles.read(text, "r.yaml")
    assert (queries, len(problems)) == ([], 1)
    assert time.process_time() - begin < 2


def test_unreadable_files_are_findings_and_the_rest_is_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in {
        "broken.json": '{"title": "D",\n "panels": [}', "other.json": "{}", "library.json": json.dumps({"title": "L", "panels": [{"title": "P", "libraryPanel": {"name": "n"}}]}),
        "good.json": json.dumps({"title": "D", "panels": [panel("P", "queue_depth"), panel("Q", "sum(")]}),
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    (tmp_path / "broken.yaml").write_text("groups:\n- name: g\n  rules: [{alert: A, expr: queue_depth}\n")
    (tmp_path / "half.yaml").write_text("groups:\n- name: g\n  rules:\n  - alert: B\n  - {alert: C, expr: up == 0}\n")
    (tmp_path / "metrics").write_text(SCRAPE)
    arguments = ["audit", "--metrics", str(tmp_path / "metrics"), "--dashboards", str(tmp_path), "--rules", str(tmp_path), "--format", "json"]
    assert main(arguments) == 1
    told = json.loads(capsys.readouterr().out)
    places = {Path(finding["where"]).name for finding in told["findings"]}
    assert places == {"broken.json:2:13", "library.json: panel ?", "good.json: panel 7", "broken.yaml:4:1", "half.yaml:4"}
    assert {finding["check"] for finding in told["findings"]} == {"unreadable"}
    assert {row["subject"]: row["verdict"] for row in told["verdicts"]} == {"D / P / A": "live", "D / Q / A": "cannot-tell", "C": "live"}


def test_audit_and_adopt_need_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(collect, "installed", dict)
    (tmp_path / "metrics").write_text(SCRAPE)
    (tmp_path / "rules.yaml").write_text("groups: [{name: g, rules: [{alert: A, expr: queue_depth > 1}]}]")
    audited = ["audit", "--rules", str(tmp_path / "rules.yaml")]
    assert main([*audited, "--metrics", str(tmp_path / "metrics")]) == 0
    assert main(["adopt", str(tmp_path / "metrics")]) == 0
    assert main(audited) == 2
    assert "no source of dashboards and rules is installed" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dashboards", str(GO / "prometheus-alerts.yaml")], "prometheus-alerts.yaml:1:1: invalid JSON"),
        (["--dashboards", str(GO.parent.parent / "render")], "no .json file in it queries a metric (give another directory)"),
        ([], "nothing to audit (give --dashboards FILE... or --rules FILE...)"),
        (["--rules", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file"),
        (["--rules", str(GO / "metrics.txt")], "metrics.txt:6:1: invalid YAML"),
        (["--rules", str(GO / "prometheus-alerts.yaml"), "--metrics", "http://127.0.0.1:1/"], "cannot be reached: Connection refused"),
        (["--rules", str(GO / "prometheus-alerts.yaml"), "--prometheus", "http://127.0.0.1:1/"], "cannot be reached: Connection refused"),
        (["--rules", str(GO / "prometheus-alerts.yaml"), "--elsewhere", "("], "--elsewhere (: invalid regular expression"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.process
def test_large_audit_is_bounded_in_time_and_memory(tmp_path: Path) -> None:
    """A hundred dashboards of fifty panels against ten thousand series take under five seconds and 300 MB."""
    bench.write(tmp_path, 1)
    words = ["audit", "--metrics", str(tmp_path / "metrics"), "--dashboards", str(tmp_path), "--format", "json"]
    program = str(Path(sys.executable).with_name("balance-gen"))
    told = json.loads(subprocess.run([program, *words], capture_output=True, text=True).stdout)
    assert told["summary"]["queries"] == 5000
    assert {row["verdict"] for row in told["verdicts"]} == {"live", "dead", "cannot-tell"}
    seconds, megabytes = used([program, *words])
    assert seconds < 5
    assert megabytes < 300
