from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from balance.catalog.model import RATIO, SECONDS, STATE, Counter, Gauge, Histogram, Label, Metric, StateSet, Threshold, Unit, scrape_type
from balance.catalog.registry import Budget, Catalog
from balance.errors import BalanceError, MonitoringError
from balance.lint.check import Inputs
from balance.lint.run import CHECKS, find_check, run
from balance.monitoring.alerts import Alert, Condition, RecordingRule
from balance.monitoring.bundle import Bundle, Waiver
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.runbooks import SECTIONS, Runbook
from balance.monitoring.settings import PrometheusSettings, Settings
from balance.promql import (
    RATE_WINDOW,
    ComparisonOperator,
    Expr,
    Window,
    absent,
    compare,
    complement,
    count_by,
    increase,
    matches,
    max_by,
    quantile,
    rate,
    ratio,
    recorded,
    series,
    sum_by,
    unless,
)  # fmt: skip
from balance.render.grafana import render

ORDERS = Counter("shop_orders_total", "Orders.", Unit.of("orders"), (Label("outcome", "How it ended.", values=("paid", "failed")),))
BASKETS = Gauge("shop_baskets", "Open baskets.", Unit.of("baskets"))
STOCK = Gauge("shop_stock", "Goods in stock.", Unit.of("goods"))
FAILED = Threshold("failed", 0.02, RATIO, maximum=1, reason="Twice what the payment provider promises.")
ENOUGH = Threshold("enough", 50, ORDERS.unit, reason="Fewer say little.")
TRAFFIC = compare(sum_by(increase(series(ORDERS).over(RATE_WINDOW)), "job"), ">", ENOUGH)
FAILED_ORDERS = series(ORDERS, outcome="failed").over(RATE_WINDOW)
PART, WHOLE = sum_by(rate(FAILED_ORDERS), "job"), sum_by(rate(series(ORDERS).over(RATE_WINDOW)), "job")
FAILING = Condition(ratio(PART, WHOLE), ">", FAILED, also=(TRAFFIC,))
ALERT = Alert("ShopOrdersFail", FAILING, "critical", "Orders fail", "Too many.", wait=60)
CATALOG = Catalog("shop", (ORDERS, BASKETS, STOCK), thresholds=(FAILED, ENOUGH))
PANEL = Panel("Failed Orders", "Share of them.", (Query(FAILING.expr, "{{job}}"),), thresholds=(FAILED,))
OTHER = Panel("Baskets", "Open ones.", (Query(series(BASKETS), "{{instance}}"),))


def shop(*panels: Panel, **changes: object) -> Bundle:
    dashboard = Dashboard("shop", "shop", "Shop", "Orders.", (Row("All", panels or (PANEL, OTHER)),), presence=BASKETS, main=True)
    given = {"catalog": CATALOG, "alerts": (ALERT,), "dashboards": (dashboard,), "unplotted": {STOCK: "nobody asks"}, **changes}
    return Bundle(**given)  # type: ignore[arg-type]


def runbook(**changes: object) -> Runbook:
    given = {"alert": "ShopOrdersFail", "where": "shop/runbooks/ShopOrdersFail.md", "owner": "shop", "reviewed": "2026-11-22"}
    given["sections"] = dict.fromkeys(SECTIONS, "Words.")  # type: ignore[assignment]
    return Runbook(**{**given, **changes})  # type: ignore[arg-type]


RECORDED = RecordingRule("job:shop_orders:rate5m", sum_by(rate(series(ORDERS).over(RATE_WINDOW)), "job"))
LOKI = {"type": "loki", "uid": "${datasource}"}


def good() -> Inputs:
    boards = {board.name: json.loads(render(board, Settings(job="shop"))) for board in shop().dashboards}
    return Inputs(shop(), Settings(job="shop"), (runbook(),), date(2026, 11, 22), boards)


def board(*path: str | int, **changes: Any) -> Inputs:
    """The dashboard with something changed at that path."""
    inputs = good()
    place = inputs.boards["shop"]
    for key in path:
        place = place[key]
    place.update(changes)
    return inputs


def variable(name: str, /, **changes: Any) -> Inputs:
    return board("templating", "list", ("datasource", "job", "instance").index(name), **changes)


def panel(**changes: Any) -> Inputs:
    return board("panels", 1, **changes)


def query(expr: str, **changes: Any) -> Inputs:
    return board("panels", 1, "targets", 0, expr=expr, **changes)


ALL = '{job=~"$job",instance=~"$instance"}'


def ageing(remove_after: str) -> Bundle:
    """The bundle at version 2 of its catalog, with a stock that is to go."""
    stock = replace(STOCK, deprecated_since="1", remove_after=remove_after)
    catalog = Catalog("shop", (ORDERS, BASKETS, stock), thresholds=(FAILED, ENOUGH), version="2")
    rules = (RecordingRule("instance_job:shop_stock:max", max_by(series(stock), "instance", "job")),) if stock.remove_after == "2" else ()
    return replace(shop(unplotted={}), catalog=catalog, recording_rules=rules)


def declared(metric: Metric, **catalog: Any) -> Inputs:
    """With one more metric, which no panel shows."""
    more = Catalog("shop", (ORDERS, BASKETS, STOCK, metric), thresholds=(FAILED, ENOUGH), **catalog)
    return replace(good(), bundle=shop(catalog=more, unplotted={STOCK: "nobody asks", metric: "nor for these"}))


def gauge(name: str, unit: str = "goods", *labels: Label) -> Gauge:
    return Gauge(name, "Goods.", Unit.of(unit), labels)


def alerted(expr: Expr, operator: ComparisonOperator = ">", value: float = 0.5, metric: Metric | None = None, **changes: Any) -> Inputs:
    """With one more alert, whose condition is plotted and whose threshold is drawn; and with one more metric, if it needs one."""
    given = {name: changes.pop(name) for name in ("also", "missing") if name in changes}
    threshold = Threshold("more", value, expr.unit, reason="So it is.", exclusive_minimum=-9)
    alert = replace(Alert("ShopMore", Condition(expr, operator, threshold, **given), "warning", "Too much", "Of it.", wait=60), **changes)
    panel = Panel("More", "Of it.", (Query(expr, "x"),), thresholds=(threshold,))
    catalog = Catalog("shop", (ORDERS, BASKETS, STOCK, *([metric] if metric else ())), thresholds=(FAILED, ENOUGH, threshold))
    unplotted = {STOCK: "nobody asks"} if STOCK not in expr.metrics() else {}
    inputs = replace(good(), runbooks=(runbook(), runbook(alert="ShopMore")))
    return replace(inputs, bundle=shop(PANEL, OTHER, panel, catalog=catalog, unplotted=unplotted, alerts=(ALERT, alert)))


def plotted(expr: Expr) -> Inputs:
    """With one more panel."""
    unplotted = {STOCK: "nobody asks"} if STOCK not in expr.metrics() else {}
    return replace(good(), bundle=shop(PANEL, OTHER, Panel("More", "Of it.", (Query(expr, "x"),)), unplotted=unplotted))


def said(**words: Any) -> Inputs:
    return replace(good(), bundle=shop(alerts=(replace(ALERT, **words),)))


def twice(**changes: Any) -> Inputs:
    inputs = replace(good(), runbooks=(runbook(), runbook(alert="ShopMore")))
    return replace(inputs, bundle=shop(alerts=(ALERT, replace(ALERT, name="ShopMore", **changes))))


OPEN = Gauge("shop_open", "Whether it is open.", STATE)
DOORS = StateSet("shop_door", "The door.", STATE, states=("open", "shut"))
WAITS = Histogram("shop_wait_seconds", "Waiting.", SECONDS, buckets=(1, 5))
JOB_STOCK, JOB_BASKETS = sum_by(series(STOCK), "job"), sum_by(series(BASKETS), "job")
LOW, HIGH = FAILED, Threshold("often", 0.1, RATIO, maximum=1, reason="One in ten.")
FIXED = Window(300)
STORED = recorded(
    "job:failed:ratio_rate5m",
    ratio(sum_by(rate(series(ORDERS, outcome="failed").over(FIXED)), "job"), sum_by(rate(series(ORDERS).over(FIXED)), "job")),
)

BAD: dict[str, tuple[Callable[[], Inputs], str]] = {
    "metric-camel-case": (lambda: declared(gauge("shop_rottenGoods")), "shop_rottenGoods is written in camelCase (write 'shop_rotten_goods')"),
    "metric-type-in-name": (lambda: declared(gauge("shop_gauge_rotten")), "tells the type 'gauge' in its name"),
    "metric-unit-abbreviated": (lambda: declared(gauge("shop_wait_ms")), "abbreviates a unit in its name: 'ms'"),
    "metric-base-unit": (lambda: declared(gauge("shop_wait", "milliseconds")), "is in milliseconds (count in seconds, and say so in its name)"),
    "metric-cardinality": (
        lambda: declared(gauge("shop_shelf", "goods", Label("shelf", "Where.", bound=101), Label("row", "Which.", bound=100))),
        "shop_shelf may have 10100 series per instance, its budget is 10000",
    ),
    "catalog-cardinality": (
        lambda: declared(gauge("shop_shelf", "goods", Label("shelf", "Where.", bound=9)), budget=Budget(total=12)),
        "may have 13 series per instance, its budget is 12 (start with shop_shelf: 9)",
    ),
    "threshold-unused": (
        lambda: replace(good(), bundle=shop(catalog=Catalog("shop", CATALOG, thresholds=(FAILED, ENOUGH, HIGH)))),
        "often is an unused threshold",
    ),
    "condition-impossible": (lambda: alerted(series(OPEN), "==", 2, OPEN), "compares state == 2, which is never true (values are between 0 and 1)"),
    "condition-certain": (lambda: alerted(WHOLE, ">=", 0), "compares orders/seconds >= 0, which is always true (values are between 0 and inf)"),
    "threshold-between-buckets": (
        lambda: alerted(quantile(0.9, series(WAITS), RATE_WINDOW, "job"), ">", 2, WAITS),
        "with 2, which is not a bucket bound",
    ),
    "equality-of-measured": (lambda: alerted(WHOLE, "==", 2), "compares orders/seconds == 2, which is a measured value"),
    "ratio-unguarded": (lambda: alerted(ratio(PART, WHOLE), "<", 0.5), "compares a ratio of rates without a minimum of traffic"),
    "nan-in-aggregation": (lambda: plotted(sum_by(ratio(PART, WHOLE))), "takes the sum of ratios or quantiles"),
    "vector-matching": (lambda: plotted(unless(JOB_STOCK, series(BASKETS))), "never matches: one side lacks instance"),
    "regex-needless": (
        lambda: plotted(rate(series(ORDERS, outcome=matches("failed")).over(RATE_WINDOW))),
        "matches outcome with the pattern 'failed'",
    ),
    "alert-without-job": (lambda: alerted(sum_by(series(STOCK))), "ShopMore drops the label job"),
    "absent-without-for": (
        lambda: alerted(series(OPEN), "==", 0, OPEN, missing=absent(series(OPEN)), wait=15),
        "ShopMore fires on missing series after 15s",
    ),
    "wait-ineffective": (lambda: alerted(series(STOCK), wait=14), "has for: 14s, but rules are evaluated every 15s"),
    "interval-long": (
        lambda: replace(
            good(),
            settings=Settings(job="shop", prometheus=PrometheusSettings(evaluation_interval=151)),
            bundle=shop(alerts=(replace(ALERT, wait=0),)),
        ),
        "2m31s between two samples is too long (at most 2m30s)",
    ),
    "record-undeclared": (lambda: plotted(STORED), "reads job:failed:ratio_rate5m, which nothing records"),
    "record-late": (
        lambda: replace(
            good(),
            bundle=shop(
                recording_rules=(
                    RecordingRule("job:failed:complement", complement(STORED)),
                    RecordingRule(STORED.record, STORED.expr),
                )
            ),
        ),
        "reads job:failed:ratio_rate5m, which is recorded after it",
    ),
    "rule-duplicate": (twice, "ShopMore has the same expression as ShopOrdersFail"),
    "severity-inverted": (
        lambda: replace(
            good(),
            runbooks=(runbook(), runbook(alert="ShopMore")),
            bundle=shop(
                replace(PANEL, thresholds=(LOW, HIGH)),
                OTHER,
                catalog=Catalog("shop", CATALOG, thresholds=(LOW, HIGH, ENOUGH)),
                alerts=(ALERT, replace(ALERT, name="ShopMore", severity="warning", condition=replace(FAILING, threshold=HIGH))),
            ),
        ),
        "ShopOrdersFail is critical at 0.02, but ShopMore warns at 0.1",
    ),
    "template-value": (lambda: said(summary="{{ $value }} of the orders fail"), "prints $value unformatted"),
    "template-placeholder": (lambda: said(description="The threshold is {treshold}."), "has the unknown placeholder {treshold}"),
    "query-twice": (lambda: replace(good(), bundle=shop(PANEL, replace(OTHER, queries=OTHER.queries * 2))), "Baskets has the same query twice"),
    "words-unknown-name": (lambda: said(description="See ShopOrderFails."), "ShopOrderFails is an unknown alert (did you mean 'ShopOrdersFail'?"),
    "alert-without-runbook": (lambda: replace(good(), runbooks=()), "ShopOrdersFail has no runbook"),
    "runbook-without-alert": (lambda: replace(good(), runbooks=(runbook(), runbook(alert="ShopOrderFails"))), "did you mean 'ShopOrdersFail'?"),
    "runbook-without-owner": (lambda: replace(good(), runbooks=(runbook(owner=""),)), "has no owner"),
    "runbook-without-review": (lambda: replace(good(), runbooks=(runbook(reviewed="22.11.2026"),)), "has an invalid date of review '22.11.2026'"),
    "runbook-section": (
        lambda: replace(good(), runbooks=(runbook(sections={**dict.fromkeys(SECTIONS, "x"), "Remedy": ""}),)),
        "has no text under Remedy",
    ),
    "runbook-names": (
        lambda: replace(good(), runbooks=(runbook(sections=dict.fromkeys(SECTIONS, "```promql\nshop_stok\n```")),)),
        "has an unknown name: query: no metric 'shop_stok'",
    ),
    "review-due": (lambda: replace(good(), today=date(2027, 2, 23)), "was last reviewed on 2026-11-22, by shop"),
    "metric-unplotted": (lambda: replace(good(), bundle=shop(unplotted={})), "shop_stock is on no panel"),
    "metric-needlessly-unplotted": (
        lambda: replace(good(), bundle=shop(unplotted={STOCK: "nobody asks", BASKETS: "nor for these"})),
        "shop_baskets is listed as unplotted but is on a panel",
    ),
    "alert-without-panel": (
        lambda: replace(good(), bundle=shop(replace(PANEL, queries=(Query(FAILING.expr.parts[0], "x"),), thresholds=()), OTHER)),
        "has no panel",
    ),
    "threshold-undrawn": (lambda: replace(good(), bundle=shop(replace(PANEL, thresholds=()), OTHER)), "is plotted without its threshold 'failed'"),
    "window-sparse": (
        lambda: replace(good(), settings=Settings(job="shop", prometheus=PrometheusSettings(scrape_interval=76))),
        "windows of 5m hold fewer than 4 samples, with a scrape every 1m16s (at most 1m15s)",
    ),
    "template-datasource-rule": (lambda: variable("datasource", label="Source"), "has a data source variable 'datasource' labelled 'Source'"),
    "template-job-rule": (lambda: variable("job", allValue=".*"), "has allValue '.*' (set it to '.+')"),
    "template-instance-rule": (lambda: variable("instance", multi=False), "has multi False (set it to True)"),
    "template-label-promql-rule": (lambda: variable("job", query="label_values(shop_baskets{, job)"), "shop: job has the invalid query"),
    "template-on-time-change-reload-rule": (lambda: variable("job", refresh=1), "shop: job has refresh 1"),
    "panel-datasource-rule": (lambda: panel(datasource={"type": "prometheus", "uid": "mine"}), "has the data source 'mine'"),
    "panel-title-description-rule": (lambda: panel(description=""), "panel 'Failed Orders': error: shop: Failed Orders has no description"),
    "panel-units-rule": (lambda: board("panels", 1, "fieldConfig", "defaults", unit="furlongs"), "has the unknown unit 'furlongs'"),
    "panel-no-targets-rule": (lambda: panel(targets=[]), "has no query"),
    "target-logql-rule": (lambda: query("{}", datasource=LOKI), "has invalid LogQL: {}"),
    "target-logql-auto-rule": (lambda: query('rate({job=~"$job"}[5m])', datasource=LOKI), "has a fixed range"),
    "target-promql-rule": (lambda: query(f"sum by (job ({ALL}"), "panel 'Failed Orders' (A): error: shop: Failed Orders has invalid PromQL"),
    "target-rate-interval-rule": (lambda: query(f"1 - sum(rate(shop_orders_total{ALL}[5m]))"), "takes a rate over 0:05:00"),
    "target-job-rule": (lambda: query('shop_stock{instance=~"$instance"}'), "selects shop_stock without the chosen job"),
    "target-instance-rule": (
        lambda: query(f'shop_stock{{job=~"$job",instance="$instance"}} / shop_stock{ALL}'),
        "selects shop_stock without the chosen instance",
    ),
    "target-counter-agg-rule": (lambda: query(f"sum(shop_orders_total{ALL})"), "shows shop_orders_total without rate or increase"),
    "uneditable-dashboard": (lambda: board(editable=True), "dashboard 'shop': error: shop can be edited"),
    "removal-due": (lambda: replace(good(), bundle=ageing(remove_after="1")), "shop_stock was to be kept up to version 1, and the catalog is at 2"),
    "deprecated-in-use": (lambda: replace(good(), bundle=ageing(remove_after="2")), "shop_stock is in use and will be removed after version 2"),
    "waiver-unused": (
        lambda: replace(good(), bundle=shop(waivers=(Waiver("alert-without-panel", "ShopOrdersFail", "soon"),))),
        "is waived but has no such finding",
    ),
}


def test_every_check_has_example_and_explanation() -> None:
    assert BAD.keys() == CHECKS.keys()
    for check in CHECKS.values():
        title, blank, *rest = check.explanation.splitlines()
        assert title.endswith(".")
        assert not blank
        assert rest


@pytest.mark.parametrize("name", BAD)
def test_each_check_finds_exactly_its_fault(name: str) -> None:
    make, message = BAD[name]
    daily = CHECKS[name].daily
    assert run(good(), daily=daily) == ([], 0)
    findings, _ = run(make(), daily=daily)
    assert {finding.check for finding in findings} == {name}
    assert message in str(findings[0])
    assert str(findings[0]).endswith(f"[{name}]")


MORE_BAD: list[tuple[str, Callable[[], Inputs], str]] = [
    ("metric-camel-case", lambda: declared(gauge("shop_rotten", "goods", Label("shelfRow", "Where.", bound=9))), "has the name 'shelfRow'"),
    ("metric-base-unit", lambda: declared(gauge("shop_wait_minutes")), "is in minutes"),
    ("condition-impossible", lambda: alerted(quantile(0.9, series(WAITS), RATE_WINDOW, "job"), ">", 5, WAITS), "values are between 0 and 5"),
    ("condition-impossible", lambda: alerted(ratio(PART, WHOLE), ">=", 2, also=(TRAFFIC,)), "compares ratio >= 2, which is never true"),
    ("condition-impossible", lambda: alerted(complement(ratio(PART, WHOLE)), "<", 0, also=(TRAFFIC,)), "compares ratio < 0, which is never true"),
    ("condition-impossible", lambda: alerted(count_by(series(STOCK), "job"), "==", 0), "values are between 1 and inf"),
    ("condition-certain", lambda: alerted(series(OPEN), "<=", 1, OPEN), "compares state <= 1, which is always true"),
    ("condition-certain", lambda: alerted(series(OPEN), "!=", 2, OPEN), "compares state != 2, which is always true"),
    ("vector-matching", lambda: plotted(ratio(rate(FAILED_ORDERS), rate(series(ORDERS, outcome="paid").over(RATE_WINDOW)))), "'failed' on one side"),
    ("regex-needless", lambda: plotted(rate(series(ORDERS, outcome=matches(".+")).over(RATE_WINDOW))), "matches every outcome with '.+'"),
    ("record-undeclared", lambda: (lambda inputs: replace(inputs, bundle=replace(inputs.bundle, recording_rules=(RecordingRule(STORED.record, WHOLE),))))(plotted(STORED)), "which is recorded from another expression"),
    ("rule-duplicate", lambda: replace(good(), bundle=shop(recording_rules=(RecordingRule("job:a:b", WHOLE), RecordingRule("job:c:d", WHOLE)))), "job:c:d has the same expression as job:a:b"),
    ("words-unknown-name", lambda: replace(good(), bundle=shop(PANEL, replace(OTHER, description="Like shop_stok."))), "shop_stok is an unknown metric"),
    ("wait-ineffective", lambda: alerted(series(STOCK), keep_firing=1), "has keep_firing_for: 1s"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "message"), MORE_BAD)
def test_more_faults_per_check(name: str, make: Callable[[], Inputs], message: str) -> None:
    findings, _ = run(make())
    assert {finding.check for finding in findings} == {name}
    assert message in str(findings[0])


GOOD: dict[str, Callable[[], Inputs]] = {
    "the worst of several ratios": lambda: plotted(max_by(ratio(PART, WHOLE))),
    "a ratio of what is not a part of the whole may be above 1": lambda: alerted(ratio(WHOLE, PART), ">", 2, also=(TRAFFIC,)),
    "a difference between threshold and range that can be reached": lambda: alerted(series(OPEN), "<", 1, OPEN),
    "one state of several": lambda: alerted(series(DOORS, state="open"), "==", 1, DOORS),
    "the quantile at a bound below the last": lambda: alerted(quantile(0.9, series(WAITS), RATE_WINDOW, "job"), ">", 1, WAITS),
    "a rate that is exactly 0": lambda: alerted(WHOLE, "==", 0),
    "sides that are matched by labels that both have": lambda: plotted(unless(JOB_STOCK, series(BASKETS), "job")),
    "different values of a label that is aggregated away": lambda: plotted(ratio(PART, sum_by(rate(series(ORDERS, outcome="paid").over(RATE_WINDOW)), "job"))),
    "a pattern that some values match": lambda: plotted(rate(series(ORDERS, outcome=matches("f.*")).over(RATE_WINDOW))),
    "a recorded series with its rule": lambda: (lambda inputs: replace(inputs, bundle=replace(inputs.bundle, recording_rules=(RecordingRule(STORED.record, STORED.expr),))))(plotted(STORED)),
    "a value with a function of its own": lambda: said(summary="{{ $value | humanize }} of the orders fail"),
    "one condition at two severities": lambda: twice(severity="warning"),
    "other services' names": lambda: said(description="See PaymentDown and payments_total, WebSocket too."),
}  # fmt: skip


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_correct_sources_have_no_findings(make: Callable[[], Inputs]) -> None:
    assert run(make()) == ([], 0)


@pytest.mark.parametrize(
    "name",
    ["shop_rottenGoods", "shop_gauge_rotten", "shop_wait_ms", "shop_wait_minutes", "shop_wait_milliseconds", "shop_size_kilobytes", "shop_size_bits"],
)
def test_promtool_rejects_the_same_names(name: str, program: Callable[[str], str]) -> None:
    scrape = f"# HELP {name} Goods.\n# TYPE {name} gauge\n{name} 1\n"
    judged = subprocess.run([program("promtool"), "check", "metrics"], input=scrape, capture_output=True, text=True, check=False)
    assert judged.returncode == 3, judged.stderr
    metric = gauge(name)
    assert {finding.check.partition("-")[0] for finding in run(declared(metric))[0]} == {"metric"}


def test_promtool_accepts_the_catalogs_names(program: Callable[[str], str], bundle: Bundle) -> None:
    lines = [
        f"# HELP {m.name} {m.help}\n# TYPE {m.name} {scrape_type(m)}\n" + f"{m.name} 1\n" for m in bundle.catalog if not isinstance(m, Histogram)
    ]
    judged = subprocess.run([program("promtool"), "check", "metrics"], input="".join(lines), capture_output=True, text=True, check=False)
    assert (judged.returncode, judged.stderr) == (0, "")


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (lambda: board("templating", list=good().boards["shop"]["templating"]["list"][1:]), "template-datasource-rule"),
        (lambda: board("templating", list=good().boards["shop"]["templating"]["list"][:2]), "template-instance-rule"),
        (lambda: variable("datasource", name="prom"), "template-datasource-rule"),
        (lambda: variable("job", datasource={"uid": "mine"}), "template-job-rule"),
        (lambda: variable("instance", query="instances(shop_baskets)"), "template-label-promql-rule"),
        (lambda: panel(title=""), "panel-title-description-rule"),
        (lambda: board("panels", 1, "fieldConfig", defaults={}), "panel-units-rule"),
        (lambda: board("panels", 1, "fieldConfig", overrides=[{"properties": [{"id": "unit", "value": "leagues"}]}]), "panel-units-rule"),
        (lambda: board("panels", 0, panels=[{**good().boards["shop"]["panels"][1], "description": ""}]), "panel-title-description-rule"),
        (lambda: query('{job=~"$job"', datasource=LOKI), "target-logql-rule"),
        (lambda: query('count_over_time({job=~"$job"} |= "[5m]" [1h])', datasource=LOKI), "target-logql-auto-rule"),
        (lambda: query(f"irate(shop_orders_total{ALL}[2m:30s])"), "target-counter-agg-rule"),
        (lambda: query(f"topk(scalar(shop_stock), shop_baskets{ALL})"), "target-job-rule"),
        (lambda: query('job:shop_orders:rate5m{job=~"$job"}'), "target-instance-rule"),
    ],
)  # fmt: skip
def test_dashboard_rules_find_hidden_faults(make: Callable[[], Inputs], check: str) -> None:
    assert check in {finding.check for finding in run(make())[0]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: query(f"shop_stock{ALL} > 1 and on (job) sum by (job) (increase(shop_orders_total{ALL}[15m]))"),
        lambda: query(f"histogram_quantile(0.99, sum by (le) (rate(shop_seconds_bucket{ALL}[$__rate_interval])))"),
        lambda: query('sum(rate({job=~"$job"} |= "[5m] {" [$__auto]))', datasource=LOKI),
        lambda: replace(query('job:shop_orders:rate5m{job=~"$job"}'), bundle=shop(recording_rules=(RECORDED,))),
        lambda: variable("job", query={"query": "label_values(shop_baskets, job)", "refId": "A"}),
        lambda: variable("instance", query='label_values(shop_baskets{job=~"$job"}, instance)'),
        lambda: board("panels", 1, "fieldConfig", defaults={"mappings": [{"type": "value", "options": {}}]}),
    ],
)
def test_dashboard_rules_accept_correct_dashboards(make: Callable[[], Inputs]) -> None:
    assert run(make()) == ([], 0)


def test_only_reviews_depend_on_the_date() -> None:
    assert run(replace(good(), today=date(2099, 1, 1))) == ([], 0)
    assert run(replace(good(), today=date(2027, 2, 22)), daily=True) == ([], 0), "92 days are a quarter"


def test_waiver_silences_one_finding_and_needs_a_reason() -> None:
    waived = shop(unplotted={}, waivers=(Waiver("metric-unplotted", "shop_stock", "a panel is being made"),))
    assert run(replace(good(), bundle=waived)) == ([], 1)
    with pytest.raises(MonitoringError, match="waives a finding without a reason"):
        Waiver("metric-unplotted", "shop_stock", " ")


def test_unknown_check_suggests_the_nearest() -> None:
    with pytest.raises(BalanceError, match="did you mean 'window-sparse'"):
        find_check("window-sparce")


def test_unplotted_metric_needs_a_reason() -> None:
    with pytest.raises(MonitoringError, match="unplotted shop_stock: has no reason"):
        shop(unplotted={STOCK: ""})
