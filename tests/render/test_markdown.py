from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import promql_parser
import pytest

from balance.catalog.model import Histogram
from balance.errors import RenderError
from balance.generate import collect
from balance.lb.control.openapi import OPERATIONS
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import AlertmanagerSettings, AlertSettings, Settings
from balance.render import rules
from balance.render.markdown import runbooks

SETTINGS = Settings(
    job="edge",
    grafana_url="https://graphs.test",
    thresholds={"error_ratio": 0.02},
    alerts={"BalanceHighErrorRate": AlertSettings(wait=90, severity="warning")},
)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return made(*collect.collect(SETTINGS))


def made(bundle: Bundle, settings: Settings) -> dict[str, str]:
    return {artifact.path: artifact.text for artifact in runbooks(bundle, settings, rules.evaluate(bundle, settings))}


def queries(page: str) -> list[str]:
    return re.findall(r"^```promql\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE)


def test_every_alert_has_page_and_index_entry(bundle: Bundle, pages: dict[str, str]) -> None:
    assert pages.keys() == {f"runbooks/{alert.name}.md" for alert in bundle.alerts} | {"runbooks/README.md", "metrics.md"}
    for alert in bundle.alerts:
        assert f"| [{alert.name}]({alert.name}.md) |" in pages["runbooks/README.md"]


def test_page_facts_follow_settings(pages: dict[str, str]) -> None:
    page = pages["runbooks/BalanceHighErrorRate.md"]
    assert "| Severity | warning, notifies " in page
    assert "| Fires | after 1m30s |" in page
    assert "| Threshold | `error_ratio`: 0.02 (ratio). When one request in twenty fails" in page
    assert "> 0.02" in queries(page)[0]
    assert "| Threshold | `min_requests`: 100 (requests). " in page
    assert "| Panel | [Balance: Error Rate](https://graphs.test/d/balance?viewPanel=" in page
    assert "| Keeps firing | for 5m after the condition has ended |" in pages["runbooks/BalanceCircuitBreakerOpen.md"]
    assert "| Labels | job, instance (optional) |" in pages["runbooks/BalanceDown.md"]


def test_queries_parse_and_select_job(pages: dict[str, str]) -> None:
    made = [query for page in pages.values() for query in queries(page)]
    assert len(made) > 60
    for query in made:
        promql_parser.parse(query)
        assert 'job="edge"' in query
        assert 'job="balance"' not in query


def test_links_lead_to_pages(pages: dict[str, str]) -> None:
    for path, page in pages.items():
        for target in re.findall(r"\]\(([^)/]+\.md|\.\./[^)]+)\)", page):
            assert (f"runbooks/{target}" if not target.startswith("../") else target[3:]) in pages, f"{path}: {target}"


def test_log_events_and_admin_paths_exist(pages: dict[str, str], repository: Path) -> None:
    source = "".join(path.read_text() for path in (repository / "balance" / "lb").rglob("*.py"))
    prose = "".join(pages.values())
    events = set(re.findall(r'event(?: ==|=) ?"?(\w+)', prose))
    assert len(events) > 5
    assert not {event for event in events if f'"{event}"' not in source}
    known = {operation.path.replace("{name}", "NAME") for operation in OPERATIONS}
    asked = set(re.findall(r"(?:INSTANCE|POST |`)(/(?:-/)?[a-z][\w/-]*)", prose)) - {"/targets"}
    assert len(asked) > 3
    assert asked <= known


def test_reference_has_every_metric(bundle: Bundle, pages: dict[str, str]) -> None:
    text = pages["metrics.md"]
    for heading in ("HTTP Metrics", "Backend Metrics", "Connection Metrics", "Circuit Breaker Metrics", "System Metrics"):
        assert f"\n## {heading}\n" in text
    for metric in (*bundle.catalog.metrics, *bundle.catalog.external):
        assert text.count(f"### `{metric.name}`\n\n{metric.help}\n\n- {metric.kind}, in {metric.unit}") == 1
        assert not isinstance(metric, Histogram) or f"- buckets: {metric.bounds}\n" in text
    assert "`100` to `103`, `200` to `208`, `226`, `300` to `308`, `400` to `599`, `OTHER`" in text
    assert "dashboard 'balance', panel 'Active Connections'; " in text
    assert "not used: says which configuration is in force" in text


def test_page_names_receiver_of_route(pages: dict[str, str]) -> None:
    assert "| Severity | critical, notifies `page` via pagerduty, slack |" in pages["runbooks/BalanceDown.md"]
    receivers = {"page": {"pagerduty": None}}
    changed = made(*collect.collect(replace(SETTINGS, alertmanager=AlertmanagerSettings(receivers=receivers))))
    assert "| Severity | critical, notifies `page` via slack |" in changed["runbooks/BalanceDown.md"]


def test_alert_without_prose_has_facts_alone(bundle: Bundle) -> None:
    pages = made(replace(bundle, runbooks=()), SETTINGS)
    page = pages["runbooks/BalanceHighErrorRate.md"]
    assert "| Threshold | `error_ratio`: 0.02" in page
    assert "| Owner | none |" in page
    assert "## Meaning" not in page


def test_unknown_name_in_prose_is_refused(bundle: Bundle) -> None:
    renamed = replace(bundle.alerts[0], name="BalanceGone")
    with pytest.raises(RenderError, match=rf"rules_src/runbooks/\w+\.md: no alert '{bundle.alerts[0].name}'"):
        made(replace(bundle, alerts=(renamed, *bundle.alerts[1:]), routing=None), SETTINGS)
