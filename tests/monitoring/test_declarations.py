from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from balance.catalog import standard
from balance.catalog.model import Threshold
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, MonitoringError
from balance.lb.catalog import metrics as m
from balance.lb.catalog import thresholds as t
from balance.monitoring.alerts import Alert, Condition, RecordingRule
from balance.monitoring.bundle import Bundle, merge
from balance.monitoring.dashboards import Dashboard, Link, Panel, Query, Row
from balance.promql import RATE_WINDOW, absent, compare, increase, rate, series, sum_by
from balance.promql.ast import Comparison
from rules_src import conditions

REQUESTS = sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), "job")
SEED_ALERTS = {
    "BalanceAllBackendsDown": "critical", "BalanceDown": "critical", "BalanceHighErrorRate": "critical",
    "BalanceBackendDown": "warning", "BalanceHighLatency": "warning", "BalanceHighConnections": "warning",
    "BalanceHighMemoryUsage": "warning", "BalanceCircuitBreakerOpen": "warning", "BalanceHighRetryRate": "warning",
}  # fmt: skip


def alert(**changes: Any) -> Alert:
    good = {
        "name": "Slow",
        "condition": conditions.HIGH_LATENCY,
        "severity": "warning",
        "summary": "{{ $labels.job }} is slow",
        "description": "{value}",
    }
    return Alert(**{**good, **changes})


def query(**changes: Any) -> Query:
    return Query(**{"expr": REQUESTS, "legend": "{{job}}", **changes})


def panel(**changes: Any) -> Panel:
    return Panel(**{"title": "Requests", "description": "Requests.", "queries": (query(),), **changes})


def link(**changes: Any) -> Link:
    return Link(**{"title": "Onwards", "dashboard": "d", **changes})


def dashboard(**changes: Any) -> Dashboard:
    rows = (Row("All", (panel(),)),)
    return Dashboard(**{"name": "d", "uid": "d", "title": "D", "description": "D.", "rows": rows, "presence": m.ACTIVE_CONNECTIONS, **changes})


def make_bundle(**changes: Any) -> Bundle:
    return Bundle(**{"catalog": m.CATALOG, "dashboards": (dashboard(),), "alerts": (alert(),), **changes})


STRANGE = replace(t.ERROR_RATIO, name="strange")
STRICTER = replace(t.ERROR_RATIO, value=0.01)


def errors(threshold: Threshold = t.ERROR_RATIO) -> Panel:
    return panel(queries=(query(expr=conditions.HIGH_ERROR_RATE.expr),), thresholds=(threshold,))


def recording(**changes: Any) -> RecordingRule:
    return RecordingRule(**{"record": "job:requests:rate5m", "expr": REQUESTS, **changes})


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (alert, {"name": "slow_one"}, "alert slow_one: invalid alert name (use CamelCase: letters and digits, a capital first)"),
        (alert, {"wait": -1}, "invalid wait of -1 s or keep_firing of 0 s (must be 0 s or more)"),
        (alert, {"keep_firing": -1}, "invalid wait of 0 s or keep_firing of -1 s"),
        (alert, {"severity": "page"}, "unknown severity 'page' (choices: critical, warning)"),
        (alert, {"summary": " "}, "has no summary"),
        (alert, {"description": ""}, "has no description"),
        (alert, {"summary": "{{ $labels.instance }}"}, "summary uses $labels.instance, which the expression does not keep"),
        (alert, {"condition": conditions.DOWN, "summary": "{{ $labels.instance }}"}, "labels of every result: job; of some: instance, job"),
        (query, {"legend": "{{instance}}"}, "legend '{{instance}}' uses the unknown label 'instance' (labels of the expression: job)"),
        (panel, {"title": ""}, "needs a title and a description"),
        (panel, {"queries": ()}, "has no query"),
        (panel, {"kind": "graph"}, "unknown kind 'graph' (choices: heatmap, stat, state-timeline, table, text, timeseries)"),
        (panel, {"kind": "heatmap"}, "is a heatmap without buckets (give one query, for a histogram's buckets by le)"),
        (panel, {"kind": "text"}, 'text= and kind="text" need each other (give both or neither)'),
        (panel, {"kind": "text", "text": "Words."}, "is a text panel with queries (only text panels have no queries)"),
        (panel, {"links": (Link("Onwards", dashboard="d", label="backend"),)}, "link 'Onwards' needs the label 'backend'"),
        (link, {"runbook": "Slow"}, "link 'Onwards': needs exactly one target (give one of dashboard=, runbook=)"),
        (query, {"expr": series(m.HTTP_REQUESTS)}, "cannot use the raw value of a counter"),
        (panel, {"width": 25}, "invalid size 25 x 8 (width 1 to 24, height 2 or more)"),
        (panel, {"queries": (query(), query(expr=series(standard.UP), legend="up"))}, "shows several units: requests/seconds, state"),
        (panel, {"thresholds": (t.MEMORY,)}, "shows requests/seconds, its threshold 'memory' is in bytes"),
        (dashboard, {"uid": "a b"}, "invalid uid 'a b' (1 to 40 letters, digits, - or _)"),
        (dashboard, {"name": "../x"}, "invalid name '../x'"),
        (dashboard, {"rows": (Row("All", (panel(), panel())),)}, "has several panels titled Requests"),
        (recording, {"record": "requests"}, "requests: invalid name of a recording rule (name it level:metric:operation)"),
        (recording, {"record": "job:requests"}, "invalid name of a recording rule"),
        (recording, {"record": "instance:requests:rate5m"}, "has the labels job (name all of them in the level, joined by _)"),
        (make_bundle, {"alerts": (alert(), alert())}, "alert 'Slow': is declared twice"),
        (make_bundle, {"dashboards": (dashboard(), dashboard(name="e"))}, "dashboard uid 'd': is declared twice"),
        (
            make_bundle,
            {"dashboards": (dashboard(rows=(Row("R", (errors(STRANGE),)),)),)},
            "uses the threshold 'strange', which the catalog 'balance'",
        ),
        (make_bundle, {"dashboards": (dashboard(rows=(Row("R", (errors(STRICTER),)),)),)}, "uses the threshold 'error_ratio', which the catalog"),
        (make_bundle, {"alerts": (alert(condition=Condition(errors().queries[0].expr, ">", STRICTER)),)}, "uses the threshold 'error_ratio'"),
        (make_bundle, {"catalog": Catalog("empty", ())}, "which is not in the catalog 'empty'"),
    ],
)
def test_contradictions_are_rejected(make: Callable[..., object], changes: dict[str, Any], message: str) -> None:
    make()
    with pytest.raises(BalanceError) as caught:
        make(**changes)
    assert message in str(caught.value)


def test_labels_of_some_results_need_a_guard() -> None:
    alert(condition=conditions.DOWN, summary="{{ with $labels.instance }}{{ . }}{{ end }}")


def test_recording_rule_keeps_labels_with_underscores() -> None:
    kept = sum_by(rate(series(m.BACKEND_REQUESTS).over(RATE_WINDOW)), "job", "status_class")
    RecordingRule("job_status_class:backend_requests:rate5m", kept)


def test_missing_has_the_unit_of_the_comparison() -> None:
    with pytest.raises(BalanceError, match="compares ratio, but missing= is in state"):
        Condition(conditions.HIGH_ERROR_RATE.expr, ">", t.ERROR_RATIO, missing=absent(series(standard.UP)))


def test_also_has_the_labels_of_the_expression() -> None:
    by_instance = compare(sum_by(increase(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), "instance"), ">", t.MIN_REQUESTS)
    with pytest.raises(BalanceError, match=re.escape("combines series by (job) and by (instance)")):
        Condition(conditions.HIGH_ERROR_RATE.expr, ">", t.ERROR_RATIO, also=(by_instance,))


def test_ratios_of_requests_need_enough_traffic(bundle: Bundle) -> None:
    for alert in bundle.alerts:
        judged = {m.HTTP_REQUESTS, m.BACKEND_REQUESTS, m.HTTP_REQUEST_DURATION}
        counted = judged & {getattr(node, "metric", None) for node in alert.condition.expr.walk()}
        for branch in alert.condition.branches:
            guards = [other for other in branch.also if isinstance(other, Comparison) and other.threshold == t.MIN_REQUESTS]
            assert len(guards) == bool(counted), alert.name


def test_threshold_of_another_unit_is_rejected() -> None:
    with pytest.raises(BalanceError, match="compares requests/seconds with the threshold 'error_ratio'"):
        Condition(REQUESTS, ">", t.ERROR_RATIO)


def test_merge_rejects_two_catalogs() -> None:
    with pytest.raises(MonitoringError, match="two catalogs: balance, other"):
        merge([Bundle(m.CATALOG), Bundle(Catalog("other", ()))])


def test_seed_alerts_keep_their_severities(bundle: Bundle) -> None:
    assert {alert.name: alert.severity for alert in bundle.alerts}.items() >= SEED_ALERTS.items()


def test_seed_panels_exist(bundle: Bundle) -> None:
    main = next(dashboard for dashboard in bundle.dashboards if dashboard.main)
    titles = {panel.title for panel in main.panels}
    assert titles >= {"Request Rate", "Response Time", "Error Rate", "Active Connections", "Backend Health", "Resource Usage"}


def test_every_metric_is_plotted_or_excused(bundle: Bundle) -> None:
    expected = {*bundle.catalog.metrics} - bundle.unplotted.keys()
    assert not [metric.name for metric in expected - bundle.plotted]
    assert not [metric.name for metric in bundle.unplotted.keys() & bundle.plotted], "these need no reason"
