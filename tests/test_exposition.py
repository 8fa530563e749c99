"""What we write of a snapshot is what prometheus_client would write, and what its parsers read."""

from __future__ import annotations

import asyncio
import gzip
import math
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.utils import floatToGoString

from balance.catalog.model import BYTES, STATE, Counter, Gauge, Histogram, Label, StateSet, Unit
from balance.catalog.registry import Catalog
from balance.exposition import Exposition, go_number
from balance.instruments import Instruments, scrape_handler
from balance.snapshot import Snapshot

ORDERS = Unit.of("orders")
DOOR, WAY = Label("door", "Door.", bound=1000), Label("way", "In or out.", values=("in", "out"))
COUNTER = Counter("shop_orders_total", 'Orders: "all"\\of\nthem.', ORDERS, (DOOR, WAY))
OPEN = Gauge("shop_open", "Open.", ORDERS)
SIZES = Histogram("shop_size_bytes", "Size.", BYTES, (WAY,), buckets=(0.5, 10, 2_500_000))
MOOD = StateSet("shop_mood", "Mood.", STATE, (DOOR,), states=("good", "bad"))
SHOP = Catalog("shop", (COUNTER, OPEN, SIZES, MOOD))

NUMBERS = st.floats() | st.floats(0, 1e8) | st.integers(0, 10**18).map(float)
COUNTS = st.floats(0, 1e18) | st.integers(0, 10**7).map(float)
DOORS = st.text(st.characters(codec="utf-8")) | st.sampled_from(("100%", "%s", 'a"b', "a\\n", "a\nb", "{}"))
WAYS = st.sampled_from(WAY.values)
SHOPS = st.fixed_dictionaries({
    "counters": st.lists(st.tuples(DOORS, WAYS, COUNTS), max_size=6),
    "gauge": st.none() | NUMBERS,
    "sizes": st.lists(st.tuples(WAYS, st.floats(0, 1e18), st.none() | st.text("0123456789abcdef", min_size=32, max_size=32)), max_size=8),
    "moods": st.lists(st.tuples(DOORS, st.sampled_from(MOOD.states)), max_size=4),
})  # fmt: skip


def instruments(shop: dict[str, Any]) -> Instruments:
    """The live metrics of a shop in which that has happened."""
    made = Instruments(SHOP)
    for door, way, amount in shop["counters"]:
        made.counter(COUNTER, door=door, way=way).inc(amount)
    if shop["gauge"] is not None:
        made.gauge(OPEN).set(shop["gauge"])
    for way, size, trace in shop["sizes"]:
        histogram = made.histogram(SIZES, way=way)
        histogram.observe(size)
        if trace:
            histogram.exemplify(0, size, trace)
    for door, mood in shop["moods"]:
        made.states(MOOD, door=door).set(mood)
    return made


def written(exposition: Exposition, snapshot: Snapshot, *, openmetrics: bool) -> str:
    return "".join(exposition.slices(snapshot, openmetrics=openmetrics))


@given(shops=st.lists(SHOPS, min_size=1, max_size=3))
def test_it_is_what_prometheus_client_writes_and_reads(shops: list[dict[str, Any]]) -> None:
    """One after the other, because templates are remembered."""
    exposition = Exposition(SHOP)
    for shop in shops:
        live = instruments(shop)
        text = written(exposition, live.snapshot(), openmetrics=False)
        assert text == generate_latest(live.registry).decode()
        assert {family.name for family in parse_text(text)} == {"shop_orders", "shop_open", "shop_size_bytes", "shop_mood"}
        openmetrics = written(exposition, live.snapshot(), openmetrics=True)
        assert openmetrics == generate_openmetrics(live.registry).decode()  # type: ignore[no-untyped-call]
        assert len(list(parse_openmetrics(openmetrics))) == len(list(SHOP))  # type: ignore[no-untyped-call]


@given(value=NUMBERS)
def test_numbers_are_written_as_for_go(value: float) -> None:
    assert go_number(value) == floatToGoString(value)  # type: ignore[no-untyped-call]
    assert math.isnan(value) or float(go_number(value)) == value


def test_only_present_series_are_remembered() -> None:
    exposition = Exposition(SHOP)
    for generation in range(5):
        written(exposition, {COUNTER.name: {(f"door-{generation}-{number}", "in"): 1 for number in range(10)}}, openmetrics=False)
    assert repr(exposition) == "<Exposition of shop: 10 series>"


def test_many_series_come_in_slices() -> None:
    snapshot: Snapshot = {SIZES.name: {(str(number),): (1, 2, 3, 4, 5.5) for number in range(1000)}}
    assert max(piece.count("_sum") for piece in Exposition(SHOP).slices(snapshot, openmetrics=False)) < 300


def scrape(query: str = "", **headers: str) -> web.Response:
    """The answer to a scrape of a shop."""
    live = instruments({"counters": [("front", "in", 3)], "gauge": 1, "sizes": [("in", 7, "f" * 32)], "moods": []})

    async def take() -> Snapshot:
        return live.snapshot()

    request = make_mocked_request("GET", f"/metrics{query}", {name.replace("_", "-"): value for name, value in headers.items()})
    answer = asyncio.run(_answer(scrape_handler(SHOP, take), request))
    assert isinstance(answer, web.Response)
    return answer


async def _answer(handler: Any, request: web.Request) -> Any:
    return await handler(request)


def content(answer: web.Response) -> str:
    assert isinstance(answer.body, bytes)
    return (gzip.decompress(answer.body) if answer.headers.get("Content-Encoding") == "gzip" else answer.body).decode()


OPENMETRICS = "application/openmetrics-text;version=1.0.0"
ACCEPTED = {
    "": "text/plain; version=0.0.4",
    "text/plain": "text/plain; version=0.0.4",
    f"{OPENMETRICS};q=0.5,text/plain;q=0.2": "application/openmetrics-text; version=1.0.0",
}


@pytest.mark.parametrize("accept", ACCEPTED)
def test_the_format_is_what_the_client_accepts(accept: str) -> None:
    answer = scrape(Accept=accept)
    assert answer.headers["Content-Type"].startswith(ACCEPTED[accept])
    assert content(answer).endswith("# EOF\n") == ("openmetrics" in accept)
    assert 'shop_orders_total{door="front",way="in"} 3.0\n' in content(answer)


@pytest.mark.parametrize("scheme", ["underscores", "allow-utf-8", "dots", "values"])
def test_every_scheme_of_escaping_is_as_prometheus_client_has_it(scheme: str) -> None:
    live = instruments({"counters": [("front", "in", 3)], "gauge": 1, "sizes": [("in", 7, None)], "moods": []})
    answer = scrape(Accept=f"text/plain;version=1.0.0;escaping={scheme}")
    assert answer.headers["Content-Type"].endswith(f"escaping={scheme}")
    assert content(answer) == generate_latest(live.registry, scheme).decode()


CODINGS = {
    "gzip": True,
    "deflate, GZip;q=0.5": True,
    "gzip;q=0": False,
    "gzip; q=0.000": False,
    "": False,
    "x-gzipped": False,
    "identity": False,
    "gzip;q=1": True,
}


@pytest.mark.parametrize("coding", CODINGS)
def test_it_is_compressed_only_for_whoever_accepts_that(coding: str) -> None:
    answer = scrape(Accept_Encoding=coding)
    assert ("Content-Encoding" in answer.headers) is CODINGS[coding]
    assert "shop_open 1.0\n" in content(answer)


def test_chosen_names_come_alone() -> None:
    assert [family.name for family in parse_text(content(scrape("?name[]=shop_open&name[]=shop_size_bytes_sum")))] == ["shop_open", "shop_size_bytes"]


def test_a_registry_of_prometheus_client_still_has_it_all() -> None:
    registry = CollectorRegistry()
    registry.register(instruments({"counters": [("front", "in", 3)], "gauge": None, "sizes": [], "moods": []}))
    assert 'shop_orders_total{door="front",way="in"} 3.0\n' in generate_latest(registry).decode()
