"""How the numbers of several processes become one service's."""

from __future__ import annotations

import marshal

import pytest

from balance.catalog.model import BYTES, STATE, Counter, Gauge, Histogram, Label, Merge, Metric, StateSet, Unit
from balance.catalog.registry import Catalog
from balance.instruments import Instruments
from balance.lb.catalog import metrics as m
from balance.snapshot import EXEMPLARS, Packer, Row, Snapshot, Unpacker, lasting, merge, shared

ORDERS = Unit.of("orders")
DOOR = Label("door", "Door.", bound=4)
COUNTER = Counter("shop_orders_total", "Orders.", ORDERS, (DOOR,))
LOWEST = Gauge("shop_lowest", "Lowest.", ORDERS, merge=Merge.MIN)
HIGHEST = Gauge("shop_highest", "Highest.", ORDERS, merge=Merge.MAX)
OPEN = Gauge("shop_open", "Open.", ORDERS)
SIZES = Histogram("shop_size_bytes", "Size.", BYTES, buckets=(10, 20))
MOOD = StateSet("shop_mood", "Mood.", STATE, merge=Merge.MAX, states=("good", "bad"))
SHOP = Catalog("shop", (COUNTER, LOWEST, HIGHEST, OPEN, SIZES, MOOD))

CASES: dict[str, tuple[Metric, list[Row], Row]] = {
    "a counter adds up": (COUNTER, [1, 2, 4], 7),
    "a gauge adds up": (OPEN, [3, 4], 7),
    "the lowest": (LOWEST, [3, 1, 2], 1),
    "the highest": (HIGHEST, [3, 1, 2], 3),
    "a histogram adds up bucket by bucket, and its sum": (SIZES, [(1, 2, 3, 99.5), (10, 0, 1, 0.5)], (11, 2, 4, 100)),
    "every state that holds somewhere": (MOOD, [(1, 0), (0, 1), (1, 0)], (1, 1)),
    "one alone is as it is": (LOWEST, [5], 5),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule_is_the_catalogs(case: str) -> None:
    metric, rows, expected = CASES[case]
    key = ("front",) if metric.labels else ()
    assert merge(SHOP, [{metric.name: {key: row}} for row in rows])[metric.name] == {key: expected}


def test_series_that_only_some_have_are_kept() -> None:
    merged = merge(SHOP, [{COUNTER.name: {("a",): 1, ("b",): 1}}, {COUNTER.name: {("b",): 2, ("c",): 2}}, {}])
    assert merged[COUNTER.name] == {("a",): 1, ("b",): 3, ("c",): 2}


def test_what_is_merged_is_left_as_it_was() -> None:
    first: Snapshot = {OPEN.name: {(): 1.0}}
    second: Snapshot = {OPEN.name: {(): 2.0}}
    merge(SHOP, [first, second])
    assert (first, second) == ({OPEN.name: {(): 1.0}}, {OPEN.name: {(): 2.0}})


def test_counters_and_histograms_outlive_their_process() -> None:
    snapshot = Instruments(SHOP).snapshot()
    assert snapshot.keys() == {metric.name for metric in SHOP} | {EXEMPLARS}
    assert lasting(SHOP, snapshot).keys() == {COUNTER.name, SIZES.name}


def test_a_snapshot_travels_and_is_that_moments() -> None:
    instruments = Instruments(m.CATALOG)
    counter = instruments.counter(m.HTTP_REQUESTS, method="GET", status="200")
    counter.inc()
    snapshot = instruments.snapshot()
    counter.inc()
    assert snapshot[m.HTTP_REQUESTS.name] == {("GET", "200"): 1}
    assert marshal.loads(marshal.dumps(snapshot)) == snapshot


def test_what_is_packed_comes_out_as_it_was_and_labels_are_told_once() -> None:
    instruments, packer, unpacker = Instruments(SHOP), Packer(), Unpacker()
    for door in ("a", "b"):
        instruments.counter(COUNTER, door=door).inc()
        instruments.histogram(SIZES).observe(15)
        for _again in range(2):
            packed = marshal.loads(marshal.dumps(packer.pack(instruments.snapshot())))
            assert unpacker.unpack(packed) == instruments.snapshot()
        assert all(keys is None for keys, _rows in packed.values())
    instruments.retain("door", {"b"})
    assert unpacker.unpack(packer.pack(instruments.snapshot()))[COUNTER.name] == {("b",): 1}


def test_what_none_of_the_living_shows_is_forgotten_metric_by_metric() -> None:
    past: Snapshot = {COUNTER.name: {("a",): 1, ("b",): 2}, SIZES.name: {(): (1, 0, 0, 5.0)}}
    living: list[Snapshot] = [{COUNTER.name: {("b",): 3, ("c",): 4}}, {}]
    assert shared(SHOP, past, living, "door") == {COUNTER.name: {("b",): 2}, SIZES.name: {(): (1, 0, 0, 5.0)}}
    assert past[COUNTER.name] == {("a",): 1, ("b",): 2}
