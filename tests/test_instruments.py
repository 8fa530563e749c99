from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from balance.catalog import standard
from balance.catalog.model import BYTES, Counter, Gauge, Histogram, Label, Unit, scrape_type
from balance.catalog.registry import Catalog
from balance.errors import CatalogError
from balance.instruments import Instruments
from balance.lb.catalog import metrics as m
from balance.lb.config import parse
from balance.lb.data.meters import Meters

PREDICTED = Histogram("shop_size_bytes", "Size.", BYTES, buckets=(10, 20))


@pytest.fixture
def instruments() -> Instruments:
    return Instruments(m.CATALOG)


def scrape(instruments: Instruments) -> dict[str, float]:
    """Every sample of a scrape: its name and labels as text, and its value."""
    lines = generate_latest(instruments.registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}


def test_a_scrape_shows_every_family_of_the_catalog_with_its_help_and_type(instruments: Instruments) -> None:
    families = list(text_string_to_metric_families(generate_latest(instruments.registry).decode()))
    shown = [(family.name, family.documentation, family.type) for family in families]
    declared = [(metric.name.removesuffix("_total"), metric.help, scrape_type(metric)) for metric in m.CATALOG]
    assert shown == declared


def test_counters_gauges_and_states_show_their_values(instruments: Instruments) -> None:
    requests = instruments.counter(m.HTTP_REQUESTS, method="GET", status="200")
    requests.inc()
    requests.value += 2
    instruments.gauge(m.BACKEND_HEALTHY, backend="a").set(1)
    instruments.states(m.CIRCUIT_BREAKER_STATE, backend="a").set("half_open")
    instruments.computed(standard.PYTHON_TASKS, lambda: 7)
    shown = scrape(instruments)
    assert shown['balance_http_requests_total{method="GET",status="200"}'] == 3
    assert shown['balance_backend_healthy{backend="a"}'] == 1
    states = [shown[f'balance_circuit_breaker_state{{backend="a",state="{state}"}}'] for state in ("closed", "open", "half_open")]
    assert states == [0, 0, 1]
    assert shown["python_asyncio_tasks"] == 7


def test_a_histogram_counts_an_observation_in_every_bucket_that_holds_it() -> None:
    instruments = Instruments(Catalog("shop", (PREDICTED,)))
    histogram = instruments.histogram(PREDICTED)
    for value in (10, 10.5, 20, 21):
        histogram.observe(value)
    shown = scrape(instruments)
    assert [shown[f'shop_size_bytes_bucket{{le="{bound}"}}'] for bound in ("10.0", "20.0", "+Inf")] == [1, 3, 4]
    assert (shown["shop_size_bytes_count"], shown["shop_size_bytes_sum"]) == (4, 61.5)


def test_runtime_metrics_come_from_the_process(instruments: Instruments) -> None:
    shown = scrape(instruments)
    assert shown["process_resident_memory_bytes"] > 1_000_000
    assert shown["process_open_fds"] > 0
    assert shown['python_gc_collections_total{generation="0"}'] >= 0


def test_no_series_that_the_catalog_does_not_declare_is_shown(instruments: Instruments) -> None:
    instruments.counter(m.HTTP_REQUESTS, method="GET", status="200").inc()
    names = {sample.partition("{")[0] for sample in scrape(instruments)}
    assert names <= {sample for metric in m.CATALOG for sample in metric.samples}
    assert not any(name.endswith("_created") for name in names)


def test_the_same_labels_give_the_same_child(instruments: Instruments) -> None:
    assert instruments.gauge(m.BACKEND_HEALTHY, backend="a") is instruments.gauge(m.BACKEND_HEALTHY, backend="a")


def test_a_value_outside_a_closed_set_becomes_the_member_for_everything_else(instruments: Instruments) -> None:
    instruments.counter(m.HTTP_REQUESTS, method="BREW", status="799").inc()
    assert scrape(instruments)['balance_http_requests_total{method="OTHER",status="OTHER"}'] == 1


def test_what_the_catalog_does_not_know_is_refused(instruments: Instruments) -> None:
    with pytest.raises(CatalogError, match="shop_orders_total: is not in the catalog 'balance'"):
        instruments.counter(Counter("shop_orders_total", "Orders.", Unit.of("orders")))
    with pytest.raises(CatalogError, match=r"wrong labels \(backend\) \(its labels: method, status\)"):
        instruments.counter(m.HTTP_REQUESTS, backend="a")
    with pytest.raises(CatalogError, match="label 'status_class' cannot be '6xx'"):
        instruments.counter(m.BACKEND_REQUESTS, backend="a", status_class="6xx")
    with pytest.raises(CatalogError, match=r"unknown state 'ajar' \(states: closed, open, half_open\)"):
        instruments.states(m.CIRCUIT_BREAKER_STATE, backend="a").set("ajar")
    with pytest.raises(CatalogError, match="wrong labels"):
        instruments.computed(m.BACKEND_HEALTHY, lambda: 1)
    with pytest.raises(CatalogError, match="balance_http_requests_total: is not in the catalog"):
        instruments.counter(replace(m.HTTP_REQUESTS, labels=()))
    with pytest.raises(CatalogError, match="balance_backend_healthy: is a gauge, not a counter"):
        instruments.counter(m.BACKEND_HEALTHY, backend="a")  # type: ignore[arg-type]


def test_an_open_label_takes_no_more_values_than_its_bound() -> None:
    door = Gauge("shop_open_doors", "Doors.", Unit.of("doors"), (Label("door", "Door.", bound=2),))
    instruments = Instruments(Catalog("shop", (door,)))
    for name in ("a", "b", "a"):
        instruments.gauge(door, door=name)
    with pytest.raises(CatalogError, match="label 'door' already has 2 values, the maximum; cannot add 'c'"):
        instruments.gauge(door, door="c")


def test_a_label_may_be_called_metric() -> None:
    odd = Gauge("shop_rows", "Rows.", Unit.of("rows"), (Label("metric", "Metric.", values=("a",)),))
    Instruments(Catalog("shop", (odd,))).gauge(odd, metric="a")


def test_a_counter_never_goes_back_and_nan_is_not_observed(instruments: Instruments) -> None:
    with pytest.raises(ValueError, match="a counter can only increase, got -1"):
        instruments.counter(m.HTTP_REQUESTS, method="GET", status="200").inc(-1)
    instruments.histogram(m.HTTP_REQUEST_SIZE).observe(float("nan"))
    assert scrape(instruments)["balance_http_request_size_bytes_count"] == 0


def test_the_load_balancer_counts_a_duration_in_the_bucket_that_it_belongs_to() -> None:
    instruments = Instruments(m.CATALOG)
    meters = Meters(instruments, parse("listen: 127.0.0.1:0\nbackends: [{name: a, address: '127.0.0.1:1'}]\n", "test", {}))
    meters.answers.append(("GET", 200, 0.7, 0, 0, -1.0, ""))
    meters.count()
    counts = instruments.histogram(m.HTTP_REQUEST_DURATION, method="GET", status_class="2xx").counts
    assert [bound for bound, count in zip(m.DURATIONS, counts, strict=False) if count] == [0.75]
