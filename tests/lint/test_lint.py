from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from balance.catalog.model import RATIO, Counter, Gauge, Label, Threshold, Unit
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, MonitoringError
from balance.lint.check import Inputs
from balance.lint.run import CHECKS, named, run
from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.bundle import Bundle, Waiver
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.runbooks import SECTIONS, Runbook
from balance.monitoring.settings import PrometheusSettings, Settings
from balance.promql import RATE_WINDOW, rate, ratio, series, sum_by

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


def good() -> Inputs:
    return Inputs(bundle(), Settings(job="shop"), (runbook(),), date(2026, 11, 22))


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
