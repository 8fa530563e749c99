from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from balance.catalog.model import RATIO, Counter, Gauge, Label, Threshold, Unit
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, MonitoringError
from balance.lint.check import Inputs
from balance.lint.run import CHECKS, named, run
from balance.monitoring.alerts import Alert, Condition, RecordingRule
from balance.monitoring.bundle import Bundle, Waiver
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.runbooks import SECTIONS, Runbook
from balance.monitoring.settings import PrometheusSettings, Settings
from balance.promql import RATE_WINDOW, rate, ratio, series, sum_by
from balance.render.grafana import render

ORDERS = Counter("shop_orders_total", "Orders.", Unit.of("orders"), (Label("outcome", "How it ended.", values=("paid", "failed")),))
BASKETS = Gauge("shop_baskets", "Open baskets.", Unit.of("baskets"))
STOCK = Gauge("shop_stock", "Goods in stock.", Unit.of("goods"))
FAILED = Threshold("failed", 0.02, RATIO, most=1, reason="Twice what the payment provider promises.")
FAILING = Condition(
    ratio(sum_by(rate(series(ORDERS, outcome="failed").over(RATE_WINDOW)), "job"), sum_by(rate(series(ORDERS).over(RATE_WINDOW)), "job")), ">", FAILED
)
ALERT = Alert("ShopOrdersFail", FAILING, "critical", "Orders fail", "Too many.", wait=60)
PANEL = Panel("Failed Orders", "Share of them.", (Query(FAILING.expr, "{{job}}"),), thresholds=(FAILED,))
OTHER = Panel("Baskets", "Open ones.", (Query(series(BASKETS), "{{instance}}"),))


def bundle(*panels: Panel, **changes: object) -> Bundle:
    dashboard = Dashboard("shop", "shop", "Shop", "Orders.", (Row("All", panels or (PANEL, OTHER)),), presence=BASKETS, main=True)
    catalog = Catalog("shop", (ORDERS, BASKETS, STOCK), thresholds=(FAILED,))
    given = {"alerts": (ALERT,), "dashboards": (dashboard,), "unplotted": {STOCK: "nobody asks"}, **changes}
    return Bundle(catalog, **given)  # type: ignore[arg-type]


def runbook(**changes: object) -> Runbook:
    given = {"alert": "ShopOrdersFail", "where": "shop/runbooks/ShopOrdersFail.md", "owner": "shop", "reviewed": "2026-11-22"}
    given["sections"] = dict.fromkeys(SECTIONS, "Words.")  # type: ignore[assignment]
    return Runbook(**{**given, **changes})  # type: ignore[arg-type]


RECORDED = RecordingRule("job:shop_orders:rate5m", sum_by(rate(series(ORDERS).over(RATE_WINDOW)), "job"))
LOKI = {"type": "loki", "uid": "${datasource}"}


def good() -> Inputs:
    boards = {board.name: json.loads(render(board, Settings(job="shop"))) for board in bundle().dashboards}
    return Inputs(bundle(), Settings(job="shop"), (runbook(),), date(2026, 11, 22), boards)


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
BAD: dict[str, tuple[Callable[[], Inputs], str]] = {
    "alert-without-runbook": (lambda: good().replace(runbooks=()), "ShopOrdersFail has no runbook"),
    "runbook-without-alert": (lambda: good().replace(runbooks=(runbook(), runbook(alert="ShopOrderFails"))), "did you mean 'ShopOrdersFail'?"),
    "runbook-without-owner": (lambda: good().replace(runbooks=(runbook(owner=""),)), "has no owner"),
    "runbook-without-review": (lambda: good().replace(runbooks=(runbook(reviewed="22.11.2026"),)), "reviewed on '22.11.2026', which is no day"),
    "runbook-section": (lambda: good().replace(runbooks=(runbook(sections={**dict.fromkeys(SECTIONS, "x"), "Remedy": ""}),)), "nothing under Remedy"),
    "runbook-names": (
        lambda: good().replace(runbooks=(runbook(sections=dict.fromkeys(SECTIONS, "```promql\nshop_stok\n```")),)),
        "no metric 'shop_stok'",
    ),
    "review-due": (lambda: good().replace(today=date(2027, 2, 23)), "was reviewed on 2026-11-22, by shop"),
    "metric-unplotted": (lambda: good().replace(bundle=bundle(unplotted={})), "shop_stock is on no panel"),
    "metric-needlessly-unplotted": (
        lambda: good().replace(bundle=bundle(unplotted={STOCK: "nobody asks", BASKETS: "nor for these"})),
        "shop_baskets is on a panel after all",
    ),
    "alert-without-panel": (
        lambda: good().replace(bundle=bundle(PANEL.replace(queries=(Query(FAILING.expr.parts[0], "x"),), thresholds=()), OTHER)),
        "has no panel",
    ),
    "threshold-undrawn": (lambda: good().replace(bundle=bundle(PANEL.replace(thresholds=()), OTHER)), "is plotted without 'failed'"),
    "window-sparse": (
        lambda: good().replace(settings=Settings(job="shop", prometheus=PrometheusSettings(scrape_interval=76))),
        "windows of 5m hold fewer than 4 samples, with one every 1m16s (at most 1m15s)",
    ),
    "template-datasource-rule": (lambda: variable("datasource", label="Source"), "has a data source variable 'datasource' labelled 'Source'"),
    "template-job-rule": (lambda: variable("job", allValue=".*"), "has allValue '.*' (make it '.+')"),
    "template-instance-rule": (lambda: variable("instance", multi=False), "has multi False (make it True)"),
    "template-label-promql-rule": (lambda: variable("job", query="label_values(shop_baskets{, job)"), "shop: job has the query"),
    "template-on-time-change-reload-rule": (lambda: variable("job", refresh=1), "shop: job is refreshed by 1"),
    "panel-datasource-rule": (lambda: panel(datasource={"type": "prometheus", "uid": "mine"}), "asks the data source 'mine'"),
    "panel-title-description-rule": (lambda: panel(description=""), "panel 'Failed Orders': error: shop: Failed Orders has no description"),
    "panel-units-rule": (lambda: board("panels", 1, "fieldConfig", "defaults", unit="furlongs"), "has the unit 'furlongs'"),
    "panel-no-targets-rule": (lambda: panel(targets=[]), "has no query"),
    "target-logql-rule": (lambda: query("{}", datasource=LOKI), "is no LogQL: {}"),
    "target-logql-auto-rule": (lambda: query('rate({job=~"$job"}[5m])', datasource=LOKI), "has a range of its own"),
    "target-promql-rule": (lambda: query(f"sum by (job ({ALL}"), "panel 'Failed Orders' (A): error: shop: Failed Orders is no PromQL"),
    "target-rate-interval-rule": (lambda: query(f"1 - sum(rate(shop_orders_total{ALL}[5m]))"), "takes a rate over 0:05:00"),
    "target-job-rule": (lambda: query('shop_stock{instance=~"$instance"}'), "selects shop_stock whatever job is chosen"),
    "target-instance-rule": (lambda: query(f'shop_stock{{job=~"$job",instance="$instance"}} / shop_stock{ALL}'), "whatever instance is chosen"),
    "target-counter-agg-rule": (lambda: query(f"sum(shop_orders_total{ALL})"), "shows shop_orders_total raw"),
    "uneditable-dashboard": (lambda: board(editable=True), "dashboard 'shop': error: shop can be edited"),
    "waiver-unused": (
        lambda: good().replace(bundle=bundle(waivers=(Waiver("alert-without-panel", "ShopOrdersFail", "soon"),))),
        "has no such finding",
    ),
}


def test_every_check_has_an_example_and_an_explanation() -> None:
    assert BAD.keys() == CHECKS.keys()
    for check in CHECKS.values():
        title, blank, *rest = check.explanation.splitlines()
        assert title.endswith(".")
        assert not blank
        assert rest


@pytest.mark.parametrize("name", BAD)
def test_a_check_finds_its_fault_and_nothing_else_does(name: str) -> None:
    make, message = BAD[name]
    daily = CHECKS[name].daily
    assert run(good(), daily=daily) == ([], 0)
    findings, _ = run(make(), daily=daily)
    assert {finding.check for finding in findings} == {name}
    assert message in str(findings[0])
    assert str(findings[0]).endswith(f"[{name}]")


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
def test_a_rule_finds_its_fault_wherever_it_hides(make: Callable[[], Inputs], check: str) -> None:
    assert check in {finding.check for finding in run(make())[0]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: query(f"shop_stock{ALL} > 1 and on (job) sum by (job) (increase(shop_orders_total{ALL}[15m]))"),
        lambda: query(f"histogram_quantile(0.99, sum by (le) (rate(shop_seconds_bucket{ALL}[$__rate_interval])))"),
        lambda: query('sum(rate({job=~"$job"} |= "[5m] {" [$__auto]))', datasource=LOKI),
        lambda: query('job:shop_orders:rate5m{job=~"$job"}').replace(bundle=bundle(recording_rules=(RECORDED,))),
        lambda: variable("job", query={"query": "label_values(shop_baskets, job)", "refId": "A"}),
        lambda: variable("instance", query='label_values(shop_baskets{job=~"$job"}, instance)'),
        lambda: board("panels", 1, "fieldConfig", defaults={"mappings": [{"type": "value", "options": {}}]}),
    ],
)
def test_the_rules_let_pass_what_is_right(make: Callable[[], Inputs]) -> None:
    assert run(make()) == ([], 0)


def test_no_result_but_that_of_reviews_depends_on_the_day() -> None:
    assert run(good().replace(today=date(2099, 1, 1))) == ([], 0)
    assert run(good().replace(today=date(2027, 2, 22)), daily=True) == ([], 0), "92 days are a quarter"


def test_a_waiver_silences_one_finding_and_needs_a_reason() -> None:
    waived = bundle(unplotted={}, waivers=(Waiver("metric-unplotted", "shop_stock", "a panel is being made"),))
    assert run(good().replace(bundle=waived)) == ([], 1)
    with pytest.raises(MonitoringError, match="waives a finding without a reason"):
        Waiver("metric-unplotted", "shop_stock", " ")


def test_an_unknown_check_is_refused_with_the_nearest() -> None:
    with pytest.raises(BalanceError, match="did you mean 'window-sparse'"):
        named("window-sparce")


def test_an_unplotted_metric_needs_a_reason() -> None:
    with pytest.raises(MonitoringError, match="unplotted shop_stock: has no reason"):
        bundle(unplotted={STOCK: ""})
