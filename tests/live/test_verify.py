from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from balance.catalog.model import INFO, SECONDS, STATE, Counter, Gauge, Histogram, Label, StateSet, Unit
from balance.catalog.registry import Catalog
from balance.commands.cli import main
from balance.errors import CatalogError
from balance.instruments import Instruments
from balance.live import scrape
from balance.live.verify import verify
from balance.testing import assert_conforms

pytest_plugins = ["pytester"]

ORDERS = Unit.of("orders")
WAY, DOOR = Label("way", "In or out.", values=("in", "out", "other"), other="other"), Label("door", "Door.", bound=2)
PLACED = Counter("shop_orders_total", "Orders.", ORDERS, (WAY,))
OPEN = Gauge("shop_open", "Open.", ORDERS, (DOOR,))
WAIT = Histogram("shop_wait_seconds", "Wait.", SECONDS, buckets=(0.1, 1))
STATUS = StateSet("shop_status", "Status.", STATE, states=("open", "shut"))
BUILD = Gauge("shop_build_info", "Build.", INFO, (Label("version", "Version.", bound=1),))
REPLACED = Counter("shop_replaced_total", "Values replaced.", Unit.of("values"), (Label("metric", "M.", bound=10), Label("label", "L.", bound=10)))
CATALOG = Catalog("shop", (PLACED, OPEN, WAIT, STATUS, BUILD), ignored={"python_info": "of the client library"})


def service() -> str:
    """What a service with that catalog shows."""
    instruments = Instruments(CATALOG)
    instruments.counter(PLACED, way="in").inc()
    instruments.gauge(OPEN, door="left").set(2)
    instruments.histogram(WAIT).observe(0.5)
    instruments.states(STATUS)
    instruments.gauge(BUILD, version="1").set(1)
    return generate_latest(instruments.registry).decode()


GOOD = service()


def test_own_instruments_conform_in_both_formats() -> None:
    for text in (GOOD, GOOD + "# TYPE python_info gauge\npython_info 1\n", GOOD + "# TYPE shop_orders_created gauge\nshop_orders_created 1\n"):
        found = verify(scrape.parse(text), CATALOG)
        assert (found.findings, found.coverage) == ([], 100)
    instruments = Instruments(CATALOG)
    assert verify(scrape.parse(generate_openmetrics(instruments.registry)), CATALOG).findings == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        ("shop_orders_total", "shop_order_total", "family-missing", "shop_orders_total is declared but not exposed"),
        ("shop_orders_total", "shop_order_total", "family-unknown", "did you mean 'shop_orders_total'?"),
        ("# TYPE shop_open gauge", "# TYPE shop_open counter", "type", "is exposed as counter, declared as gauge"),
        ("# TYPE shop_open gauge\n", "", "type", "is exposed as untyped, declared as gauge"),
        ("# HELP shop_open Open.\n", "", "help", "is exposed without a help text"),
        ("# HELP shop_open Open.", "# HELP shop_open Doors.", "help", "is exposed with the help 'Doors.', declared with 'Open.'"),
        ("# TYPE shop_wait_seconds", "# UNIT shop_wait_seconds minutes\n# TYPE shop_wait_seconds", "unit", "is exposed in minutes, declared in seconds"),
        ('way="in"', 'way="in",user="u1"', "label-undeclared", "has the undeclared label 'user'"),
        ('{way="in"}', "", "label-missing", "is exposed without its label 'way'"),
        ('way="in"', 'way="sideways"', "label-value", "has undeclared values of 'way': 'sideways'"),
        ('shop_open{door="left"} 2.0', 'shop_open{door="1"} 2\nshop_open{door="2"} 2\nshop_open{door="3"} 2', "label-over-bound", "has 3 values of 'door', its bound is 2"),
        ('shop_open{door="left"} 2.0', 'shop_open{door="1",a="1"} 2\nshop_open{door="1",a="2"} 2\nshop_open{door="1",a="3"} 2', "series-over-budget", "has 3 series, its labels allow 2"),
        ('le="0.1"', 'le="0.2"', "buckets", "has '0.2', lacks '0.1'"),
        ('le="0.1"} 0.0', 'le="0.1"} 7.0', "buckets", "with a smaller count than the one below it"),
        ('state="shut"', 'state="ajar"', "label-value", "has undeclared values of 'state': 'ajar'"),
        ("shop_open{", "shop open{", "scrape-unreadable", "invalid sample 'shop open{"),
    ],
)  # fmt: skip
def test_every_difference_is_found(old: str, new: str, check: str, words: str) -> None:
    assert old in GOOD
    findings = verify(scrape.parse(GOOD.replace(old, new)), CATALOG).findings
    assert any(finding.check == check and words in str(finding) for finding in findings), list(map(str, findings))


def test_coverage_in_percent() -> None:
    found = verify(scrape.parse("\n".join(line for line in GOOD.splitlines() if "shop_open" not in line)), CATALOG)
    assert found.summary() == {
        "declared": 5, "shown": 4, "coverage_percent": 80.0, "series": 9, "ignored": 0, "errors": 1, "warnings": 0,
    }  # fmt: skip


def test_verify_command_text_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics").write_text(GOOD.replace('way="in"', 'way="up"'))
    (tmp_path / "good").write_text(GOOD)
    (tmp_path / "mine_live.py").write_text(
        "from balance.monitoring.bundle import Bundle\nfrom tests.live.test_verify import CATALOG\nbundle = Bundle(CATALOG)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = ("--source", "mine_live:bundle")
    assert main(["verify", "metrics", *source]) == 1
    assert "metrics:2: error: shop_orders_total has undeclared values of 'way': 'up'" in capsys.readouterr().out.replace(":1:", ":2:")
    assert main(["verify", "metrics", "--format", "json", *source]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [finding["check"] for finding in told["findings"]] == ["label-value"]
    assert told["summary"]["coverage_percent"] == 100.0
    assert main(["verify", "good", *source]) == 0
    assert main(["verify", "nowhere", *source]) == 2


def test_assert_conforms_lists_every_difference() -> None:
    assert_conforms(GOOD, CATALOG)
    less = "\n".join(line for line in GOOD.splitlines() if "shop_open" not in line)
    assert_conforms(less, CATALOG, coverage=80)
    with pytest.raises(AssertionError, match="shop_open is declared but not exposed"):
        assert_conforms(less, CATALOG, coverage=81)
    with pytest.raises(AssertionError, match=r"(?s)undeclared values.*without its label"):
        assert_conforms(GOOD.replace('way="in"', 'way="up"').replace('{door="left"}', ""), CATALOG)


def test_conforms_fixture_as_plugin(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # whatever else is installed
    pytester.makeconftest('pytest_plugins = ["balance.testing"]')
    pytester.makepyfile("from tests.live.test_verify import CATALOG, GOOD\ndef test_it(conforms):\n    conforms(GOOD, CATALOG)\n")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_undeclared_value_becomes_other_and_is_counted() -> None:
    catalog = Catalog("shop", (PLACED, REPLACED))
    instruments = Instruments(catalog, replaced=REPLACED)
    for way in ("in", "up", "down"):
        instruments.counter(PLACED, way=way).inc()
        assert instruments.shows(PLACED, way=way)  # looking is no replacing
    text = generate_latest(instruments.registry).decode()
    assert 'shop_orders_total{way="other"} 2.0' in text
    assert 'shop_replaced_total{label="way",metric="shop_orders_total"} 2.0' in text
    assert verify(scrape.parse(text), catalog).findings == []
    with pytest.raises(CatalogError, match="cannot count replaced label values"):
        Instruments(CATALOG, replaced=PLACED)


def test_ignored_family_must_be_undeclared_and_have_a_reason() -> None:
    with pytest.raises(CatalogError, match=r"(?s)shop_open: is ignored and declared.*x: is ignored without a reason"):
        Catalog("shop", (OPEN,), ignored={"shop_open": "no", "x": " "})
