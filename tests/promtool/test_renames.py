"""A metric gets another name, from the exposition to the alert that fires through it; and a promised name does not go early."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from balance.catalog.model import RATIO, SECONDS, STATE, Counter, Gauge, Histogram, Label, Metric, StateSet, Threshold, Unit
from balance.catalog.registry import Catalog
from balance.catalog.standard import UP
from balance.commands.cli import main
from balance.errors import BalanceError
from balance.exposition import Exposition
from balance.generate import build, collect, promtool
from balance.instruments import Instruments
from balance.lint.check import Inputs
from balance.lint.run import run
from balance.live import scrape
from balance.live.verify import verify
from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.renames import bridges
from balance.monitoring.settings import Settings
from balance.promql import RATE_WINDOW, absent, quantile, rate, ratio, seconds_since, series, sum_by, text
from balance.render.grafana import render

OUTCOME = Label("outcome", "How the order ended.", values=("paid", "failed"))
ORDERS = Counter(
    "shop_orders_total", "Orders.", Unit.of("orders"), (OUTCOME,), renamed_from="shop_purchases_total", deprecated_since="1.2", remove_after="2.0"
)
SIZE = Gauge("shop_queue_length", "Orders that wait.", Unit.of("orders"), renamed_from="shop_backlog", deprecated_since="1.2", remove_after="2.0")
TOOK = Histogram(
    "shop_order_seconds", "Time to pay.", SECONDS, renamed_from="shop_order_time", buckets=(0.5, 1), deprecated_since="1.2", remove_after="2.0"
)
DOOR = StateSet("shop_door", "The door.", STATE, states=("open", "shut"), renamed_from="shop_gate", deprecated_since="1.2", remove_after="2.0")
SEEN = Gauge("shop_seen_timestamp_seconds", "Last order.", SECONDS, renamed_from="shop_last_order", deprecated_since="1.2", remove_after="2.0")
METRICS: tuple[Metric, ...] = (ORDERS, SIZE, TOOK, DOOR, SEEN)
FAILED = Threshold("failed_orders", 0.02, RATIO, maximum=1, reason="Twice what is promised.")
MANY = Threshold("waiting_orders", 50, Unit.of("orders"), reason="An hour of work.")
CATALOG = Catalog("shop", METRICS, thresholds=(FAILED, MANY), external=(UP,), version="1.2")
FAILING = Condition(
    ratio(sum_by(rate(series(ORDERS, outcome="failed").over(RATE_WINDOW)), "job"), sum_by(rate(series(ORDERS).over(RATE_WINDOW)), "job")), ">", FAILED
)
WAITING = Condition(series(SIZE), ">", MANY)
BUNDLE = Bundle(
    CATALOG,
    alerts=(
        Alert("ShopOrdersFail", FAILING, "critical", "{value} of the orders fail", "The threshold is {threshold}.", wait=60),
        Alert("ShopOrdersWait", WAITING, "warning", "{value} orders wait", "The threshold is {threshold}.", wait=60),
    ),
    dashboards=(
        Dashboard(
            "shop",
            "shop",
            "Shop",
            "Orders.",
            (Row("Orders", (Panel("Failed", "Orders.", (Query(FAILING.expr, "{{job}}"),)),)),),
            presence=SIZE,
            main=True,
        ),
    ),
)


@pytest.mark.parametrize(
    ("expr", "promql"),
    [
        (series(SIZE), "shop_queue_length or shop_backlog"),
        (sum_by(series(SIZE), "job"), "sum by (job) (shop_queue_length or shop_backlog)"),
        (WAITING.comparison, "(shop_queue_length or shop_backlog) > 50"),
        (rate(series(ORDERS, outcome="paid").over(RATE_WINDOW)), 'rate(shop_orders_total{outcome="paid"}[5m]) or rate(shop_purchases_total{outcome="paid"}[5m])'),
        (seconds_since(series(SEEN)), "time() - (shop_seen_timestamp_seconds or shop_last_order)"),
        (absent(series(SIZE)), "absent(shop_queue_length) and absent(shop_backlog)"),
        (series(DOOR, state="open"), 'shop_door{state="open"} or shop_gate{state="open"}'),
        (
            quantile(0.9, series(TOOK), RATE_WINDOW, "job"),
            "histogram_quantile(0.9, sum by (job, le) (rate(shop_order_seconds_bucket[5m]) or rate(shop_order_time_bucket[5m])))",
        ),
    ],
)  # fmt: skip
def test_queries_read_new_or_old_name(expr: object, promql: str) -> None:
    assert text(expr) == promql  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exposed() -> tuple[Instruments, str]:
    """A service with some orders, and its scrape."""
    instruments = Instruments(CATALOG)
    instruments.counter(ORDERS, outcome="paid").inc(40)
    instruments.counter(ORDERS, outcome="failed").inc(2)
    instruments.gauge(SIZE).set(7)
    instruments.gauge(SEEN).set(1e9)
    instruments.histogram(TOOK).observe(0.7)
    instruments.states(DOOR).set("shut")
    return instruments, "".join(Exposition(CATALOG).slices(instruments.snapshot(), openmetrics=False))


def test_service_exposes_both_names(exposed: tuple[Instruments, str], program: Callable[[str], str]) -> None:
    instruments, shown = exposed
    assert shown == generate_latest(instruments.registry).decode()
    for metric in METRICS:
        families = [
            [line.replace(name, "") for line in shown.splitlines() if line.startswith(name) and line[len(name)] in " {_"] for name in metric.names
        ]
        new, old = families
        assert new == old
        assert new
        assert f"# HELP {metric.renamed_from} Deprecated since version 1.2, to be removed after 2.0: now called {metric.name}." in shown
    assert 'shop_purchases_total{outcome="paid"} 40.0' in shown
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=shown, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_verify_finds_missing_old_name(exposed: tuple[Instruments, str]) -> None:
    """A scrape with both names matches the catalog; without the old one it does not."""
    _, shown = exposed
    assert verify(scrape.parse(shown), CATALOG).findings == []
    without = "".join(line for line in shown.splitlines(keepends=True) if "shop_purchases_total" not in line)
    assert [(finding.check, finding.subject) for finding in verify(scrape.parse(without), CATALOG).findings] == [
        ("family-missing", "shop_purchases_total")
    ]


@pytest.fixture(scope="module")
def collected() -> tuple[Bundle, Settings]:
    return collect.collect(Settings(), (f"{__name__}:BUNDLE",))


BRIDGE = "instance_job_outcome:shop_orders_total:bridge"
HISTORY = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
- name: the service shows the old name, then both, then the new one
  interval: 1m
  input_series:
  - {{series: 'shop_purchases_total{{job="shop",instance="a",outcome="paid"}}', values: '0+90x40 _x40'}}
  - {{series: 'shop_purchases_total{{job="shop",instance="a",outcome="failed"}}', values: '0+10x40 _x40'}}
  - {{series: 'shop_orders_total{{job="shop",instance="a",outcome="paid"}}', values: '_x20 1800+90x60'}}
  - {{series: 'shop_orders_total{{job="shop",instance="a",outcome="failed"}}', values: '_x20 200+10x60'}}
  - {{series: 'shop_backlog{{job="shop",instance="a"}}', values: '70x40 _x40'}}
  - {{series: 'shop_queue_length{{job="shop",instance="a"}}', values: '_x20 70x60'}}
  alert_rule_test:
{alerts}
  promql_expr_test:
{samples}
"""


def test_alerts_and_history_survive_rename(collected: tuple[Bundle, Settings], tmp_path: Path, program: Callable[[str], str]) -> None:
    (rules,) = build.all_rules(*collected)
    (tmp_path / "rules.yaml").write_text(rules.text)
    labels = {"ShopOrdersFail": "severity: critical, job: shop", "ShopOrdersWait": "severity: warning, job: shop, instance: a"}
    words = {"ShopOrdersFail": ("10% of the orders fail", "The threshold is 2%."), "ShopOrdersWait": ("70 orders wait", "The threshold is 50.")}
    minutes = range(5, 75)
    alerts = "\n".join(
        f"  - {{eval_time: {minute}m, alertname: {name}, exp_alerts: [{{exp_labels: {{{labels[name]}}}, exp_annotations: "
        f"{{summary: '{words[name][0]}', description: '{words[name][1]}', runbook_url: runbooks/{name}.md{link}}}}}]}}"
        for name, link in (("ShopOrdersFail", ", dashboard_url: 'LINK'"), ("ShopOrdersWait", ""))
        for minute in minutes
    ).replace("LINK", _link(rules.text))
    samples = "\n".join(
        f"  - {{eval_time: {minute}m, expr: '{BRIDGE}{{outcome=\"paid\"}}', exp_samples: "
        f'[{{labels: \'{BRIDGE}{{job="shop", instance="a", outcome="paid"}}\', value: {90 * minute}}}]}}'
        for minute in minutes
    )
    (tmp_path / "test.yaml").write_text(HISTORY.format(rules="rules.yaml", alerts=alerts, samples=samples))
    tested = subprocess.run([program("promtool"), "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, (tested.stdout + tested.stderr)[:3000]
    without = "\n".join(line.replace(" or rate(shop_purchases_total", " or rate(nothing_total") for line in rules.text.splitlines())
    (tmp_path / "rules.yaml").write_text(without)
    tested = subprocess.run([program("promtool"), "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, check=False)
    assert tested.returncode == 1, "rules that do not read the old name are silent before the rename"


def _link(rules: str) -> str:
    return next(line for line in rules.splitlines() if "dashboard_url" in line).partition(": ")[2]


def test_generated_rules_pass_their_tests(collected: tuple[Bundle, Settings], program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(program("promtool")).parent), prepend=":")
    bundle, settings = collected
    made = (*build.rule_files(bundle, settings), *build.prometheus(bundle, settings), *build.ruletests(bundle, settings))
    report = promtool.check_files(((artifact.path, artifact.text) for artifact in made), [alert.name for alert in bundle.alerts])
    assert report.all_findings == ()
    assert report.tested == 2


def test_every_renamed_series_has_bridge(collected: tuple[Bundle, Settings]) -> None:
    assert [rule.record for rule in collected[0].recording_rules] == [
        BRIDGE,
        "instance_job:shop_queue_length:bridge",
        "instance_job_le:shop_order_seconds_bucket:bridge",
        "instance_job:shop_order_seconds_count:bridge",
        "instance_job:shop_order_seconds_sum:bridge",
        "instance_job_state:shop_door:bridge",
        "instance_job:shop_seen_timestamp_seconds:bridge",
    ]


def test_variables_query_both_names(collected: tuple[Bundle, Settings]) -> None:
    bundle, settings = collected
    board = render(bundle.dashboards[0], settings)
    assert 'label_values({__name__=~\\"shop_queue_length|shop_backlog\\"}, job)' in board
    assert 'label_values({__name__=~\\"shop_queue_length|shop_backlog\\",job=~\\"$job\\"}, instance)' in board


SOURCE = """
from balance.catalog.model import Gauge, Unit
from balance.catalog.registry import Catalog
from balance.monitoring.bundle import Bundle

bundle = Bundle(Catalog("shop", (Gauge("{name}", "Orders.", Unit.of("orders"){going}),), version="{version}"))
"""
PROMISE = ', renamed_from="shop_old", deprecated_since="1", remove_after="1.9"'


@pytest.mark.parametrize(
    ("going", "later", "removal"),
    [
        (PROMISE, "shop_new", "shop_old"),
        (', deprecated_since="1", remove_after="1.9"', "shop_other", "shop_new"),
    ],
)
def test_deprecated_name_stays_until_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], going: str, later: str, removal: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def balance_gen(command: str, version: str, name: str, going: str) -> int:
        (tmp_path / "renamed_shop.py").write_text(SOURCE.format(name=name, version=version, going=going))
        monkeypatch.delitem(sys.modules, "renamed_shop", raising=False)
        sys.dont_write_bytecode = True
        return main([command, "--source", "renamed_shop:bundle"])

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert balance_gen("write", "1.2", "shop_new", going) == 0
    capsys.readouterr()
    before = (tmp_path / "generated/catalog.json").read_bytes()
    for command in ("write", "check"):
        assert balance_gen(command, "1.9", later, "") == 2
        message = f"balance-gen: {removal}: must stay until catalog version 1.9, which is at 1.9 now (keep it"
        assert capsys.readouterr().err.startswith(message)
    assert (tmp_path / "generated/catalog.json").read_bytes() == before
    assert balance_gen("write", "1.10", later, "") == 0


def test_removed_name_cannot_be_queried() -> None:
    gone = Catalog("shop", [replace(metric, renamed_from="", deprecated_since="", remove_after="") for metric in METRICS], thresholds=(FAILED, MANY))
    with pytest.raises(BalanceError, match="shop_orders_total, which is not in the catalog"):
        Bundle(gone, alerts=BUNDLE.alerts)
    with pytest.raises(BalanceError, match="no metric 'shop_purchases_total'"):
        gone.metric("shop_purchases_total")
    assert CATALOG.metric("shop_purchases_total") == ORDERS.former
    former = ORDERS.former
    assert former is not None
    with pytest.raises(BalanceError, match="shop_purchases_total, which is not in the catalog"):
        Bundle(CATALOG, alerts=(replace(BUNDLE.alerts[0], condition=replace(FAILING, expr=ratio(sum_by(rate(series(former).over(RATE_WINDOW)), "job"), sum_by(rate(series(ORDERS).over(RATE_WINDOW)), "job")))),))  # fmt: skip


def found(bundle: Bundle, check: str) -> list[str]:
    return [finding.subject for finding in run(Inputs(bundle, Settings()))[0] if finding.check == check]


def test_lint_finds_due_and_deprecated_names() -> None:
    due = Catalog("shop", METRICS, thresholds=(FAILED, MANY), external=(UP,), version="2.1")
    assert found(BUNDLE, "removal-due") == []
    assert found(replace(BUNDLE, catalog=due), "removal-due") == [metric.renamed_from for metric in METRICS]
    size = replace(SIZE, renamed_from="")
    going = Catalog("shop", (size,), thresholds=(MANY,), version="1.2")
    alert = replace(BUNDLE.alerts[1], condition=Condition(series(size), ">", MANY))
    assert found(BUNDLE, "deprecated-in-use") == []
    assert found(Bundle(going, alerts=(alert,)), "deprecated-in-use") == ["shop_queue_length"]
    assert found(Bundle(going), "metric-unplotted") == []
    assert found(replace(BUNDLE, dashboards=()), "metric-unplotted") == [metric.name for metric in METRICS]


def test_documented_example_shows_both_names(repository: Path) -> None:
    page = (repository / "docs" / "changes.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {"Counter": Counter, "Catalog": Catalog, "Unit": Unit, "OUTCOME": OUTCOME}
    exec(example, names)
    catalog = names["CATALOG"]
    assert isinstance(catalog, Catalog)
    assert [family.name for family, _ in catalog.shown] == ["shop_orders_total", "shop_purchases_total"]
    assert [rule.record for rule in bridges(catalog)] == re.findall(r"`(instance_job\w*:\S+:bridge)`", page)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deprecated_since": ""}, "has an incomplete deprecation"),
        ({"remove_after": "", "deprecated_since": ""}, "has an incomplete deprecation"),
        ({"remove_after": "1.1"}, "is removed after 1.1, before it is deprecated in 1.2"),
        ({"remove_after": "soon"}, "invalid catalog version 'soon'"),
        ({"renamed_from": "shop_orders_total"}, "is renamed from its own name"),
        ({"renamed_from": "shop_purchases"}, "was called 'shop_purchases', which is not a valid name of a counter"),
        ({"renamed_from": "shop purchases_total"}, "invalid metric name"),
        ({"stability": "shaky"}, "has the stability 'shaky'"),
    ],
)
def test_inconsistent_removal_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BalanceError, match=message):
        Catalog("shop", (replace(ORDERS, **changes),), version="1.2")


def test_catalog_refuses_bad_deprecation() -> None:
    """Deprecated in a future version, or with an old name that is already taken."""
    with pytest.raises(BalanceError, match=r"shop_orders_total: is deprecated since version 1.2, but the catalog has version 1"):
        Catalog("shop", (ORDERS,))
    with pytest.raises(BalanceError, match="the series name 'shop_backlog' is already taken"):
        Catalog("shop", (SIZE, Gauge("shop_backlog", "Orders.", Unit.of("orders"))), version="1.2")
