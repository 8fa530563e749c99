from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balance.catalog.model import BYTES, RATIO, SECONDS, Counter, Gauge, Histogram, Label, Metric, StateSet, Threshold, Unit, number
from balance.catalog.registry import Catalog
from balance.errors import CatalogError

REQUESTS = Unit.of("requests")
METHOD = Label("method", "Method.", values=("GET", "OTHER"), other="OTHER")
SECOND = Threshold("slow", 1, SECONDS, "Because.")


def counter(**changes: Any) -> Metric:
    return Counter(**{"name": "shop_orders_total", "help": "Orders.", "unit": Unit.of("orders"), "labels": (METHOD,), **changes})


def histogram(**changes: Any) -> Metric:
    return Histogram(**{"name": "shop_wait_seconds", "help": "Wait.", "unit": SECONDS, "buckets": (0.5, 1.0), "thresholds": (SECOND,), **changes})


def label(**changes: Any) -> Label:
    return Label(**{"name": "method", "help": "Method.", "values": ("GET",), **changes})


def threshold(**changes: Any) -> Threshold:
    return Threshold(**{"name": "error_ratio", "value": 0.5, "unit": RATIO, "reason": "Because.", "maximum": 1, **changes})


def states(**changes: Any) -> Metric:
    return StateSet(**{"name": "shop_door_state", "help": "Door.", "unit": Unit.of("state"), "states": ("open", "shut"), **changes})


def test_valid_declarations_are_accepted() -> None:
    for make in (counter, histogram, label, threshold, states):
        make()


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (counter, {"name": "shop orders_total"}, "shop orders_total: invalid metric name (use letters, digits and _, and do not begin with a digit)"),
        (counter, {"name": "9_total"}, "invalid metric name"),
        (counter, {"name": "shop:orders_total"}, "invalid metric name"),
        (counter, {"name": "shop_orders"}, "is a counter, but names of counters, and only they, end in `_total`"),
        (counter, {"help": " "}, "has no help text"),
        (counter, {"labels": (METHOD, METHOD)}, "declares a label twice"),
        (counter, {"name": "shop_wait_seconds_total"}, "has the unit orders but ends in '_seconds'"),
        (counter, {"unit": BYTES}, "has the unit bytes but no '_bytes'"),
        (histogram, {"name": "shop_wait_seconds_count"}, "ends in '_count'"),
        (histogram, {"name": "shop_wait_seconds_total"}, "is a histogram, but names of counters, and only they, end in `_total`"),
        (histogram, {"buckets": ()}, "has no buckets"),
        (histogram, {"buckets": (1.0, 0.5)}, "not strictly ascending"),
        (histogram, {"buckets": (1.0, 1.0)}, "not strictly ascending"),
        (histogram, {"buckets": (1.0, float("inf"))}, "not strictly ascending and finite"),
        (histogram, {"buckets": (0.5, 2.0)}, "threshold 'slow': 1 is not a bucket bound (bounds: 0.5, 2)"),
        (histogram, {"buckets": (0.5, float("nan"))}, "not strictly ascending and finite"),
        (histogram, {"thresholds": (threshold(),)}, "measures seconds, its threshold 'error_ratio' is in ratio"),
        (label, {"name": "job"}, "label 'job': is reserved for Prometheus and histograms (choose another name)"),
        (label, {"name": "le"}, "is reserved for Prometheus and histograms"),
        (label, {"name": "__secret"}, "label '__secret': invalid label name (use letters, digits and _, and begin with neither a digit nor __)"),
        (label, {"name": "a-b"}, "invalid label name"),
        (label, {"values": ()}, "needs either a closed set of values or a bound"),
        (label, {"bound": 3}, "needs either a closed set of values or a bound"),
        (label, {"values": ("a", "a")}, "lists a value twice"),
        (label, {"values": "GET"}, "values must be a tuple, got 'GET'"),
        (label, {"values": (), "bound": 2, "pattern": "("}, "invalid regular expression '(': "),
        (label, {"values": (), "bound": -1}, "invalid bound -1 (must be 1 or more)"),
        (label, {"other": "POST"}, "other='POST' is not among its values (choices: GET)"),
        (threshold, {"reason": ""}, "has no reason"),
        (threshold, {"value": 1.5}, "1.5 is out of range: must be above 0 and at most 1 (ratio)"),
        (threshold, {"value": 0}, "0 is out of range"),
        (threshold, {"value": float("inf"), "maximum": None}, "inf is out of range"),
        (threshold, {"value": float("nan")}, "nan is out of range"),
        (states, {"states": ("open",)}, "needs at least two different states"),
        (states, {"labels": (Label("state", "State.", bound=2),)}, "declares 'state' as a label and as its state label"),
    ],
)
def test_contradictions_are_rejected(make: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError) as caught:
        make(**changes)
    assert message in str(caught.value)


def test_unknown_label_is_rejected_with_choices() -> None:
    with pytest.raises(CatalogError) as caught:
        counter().label("code")
    assert str(caught.value) == "shop_orders_total: no label 'code' (labels: method)"


def test_units_multiply_and_divide() -> None:
    assert str(BYTES / SECONDS) == "bytes/seconds"
    assert SECONDS / SECONDS == RATIO
    assert str(RATIO) == "ratio"
    assert BYTES / SECONDS * SECONDS == BYTES
    assert str(RATIO / SECONDS) == "1/seconds"


def test_catalog_reports_every_clash_at_once() -> None:
    clash = Gauge("shop_wait_seconds", "Wait.", SECONDS)
    with pytest.raises(CatalogError) as caught:
        Catalog("shop", (histogram(), clash, counter(), counter(help="Other.")), thresholds=(SECOND, SECOND))
    message = str(caught.value)
    assert "the series name 'shop_wait_seconds' is already taken by shop_wait_seconds" in message
    assert "the series name 'shop_orders_total' is already taken" in message
    assert "threshold 'slow': is declared twice" in message


def test_names_that_clash_in_openmetrics() -> None:
    with pytest.raises(CatalogError, match="the series name 'shop_orders' is already taken by shop_orders_total"):
        Catalog("shop", (counter(), Gauge("shop_orders", "Open orders.", Unit.of("orders"))))


def test_lookup_by_series_name_suggests_the_nearest() -> None:
    catalog = Catalog("shop", (histogram(), counter()))
    assert catalog.metric("shop_wait_seconds_bucket").name == "shop_wait_seconds"
    with pytest.raises(CatalogError, match="did you mean 'shop_orders_total'"):
        catalog.metric("shop_order_total")


def test_cardinality_from_declared_value_sets() -> None:
    assert counter().cardinality == 2
    assert histogram().cardinality == 5
    assert states(labels=(Label("door", "Door.", bound=10),)).cardinality == 20


@pytest.mark.parametrize(
    ("value", "written"),
    [(1, "1"), (1.0, "1"), (0.05, "0.05"), (536870912, "536870912"), (0.1 + 0.2, "0.30000000000000004"), (1e15, "1000000000000000"), (1e-7, "1e-07")],
)
def test_numbers_have_their_shortest_form(value: float, written: str) -> None:
    assert number(value) == written
    assert float(number(value)) == value


UNITS = st.dictionaries(st.sampled_from(["bytes", "requests", "seconds"]), st.integers(-2, 2)).map(
    lambda powers: reduce(lambda unit, base: unit * Unit.of(base[0]) if base[1] > 0 else unit / Unit.of(base[0]), powers.items(), RATIO)
)


@given(UNITS, UNITS, UNITS)
def test_unit_arithmetic_obeys_the_laws_of_numbers(one: Unit, two: Unit, three: Unit) -> None:
    assert one * two == two * one
    assert (one * two) * three == one * (two * three)
    assert one * two / two == one
    assert one / one == RATIO
    assert one / (two / three) == one * three / two


@pytest.mark.parametrize("powers", [(("seconds", 0),), (("seconds", 1), ("bytes", -1)), (("bytes", 1), ("bytes", 1))])
def test_units_must_be_normalized(powers: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(CatalogError, match="is not normalized"):
        Unit(powers)
