"""Live metrics of a catalog: the only module that imports prometheus_client.

Theory. A labelled call of prometheus_client costs 1 to 3 microseconds, and a request updates about ten metrics. So the children
here are plain objects that hold numbers and lists. They are looked up once (when the configuration loads, or when a combination of
labels is first seen) and then updated directly. A scrape takes a `Snapshot` of them, plain numbers that can also be sent between
processes, and `Exposition` writes it as text. `Instruments` is also a prometheus_client collector, for users of its registry and for
rare formats. Names, help, types, buckets and labels come from the catalog, so a scrape shows exactly what it declares.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from balance.catalog.model import Counter, Gauge, Histogram, Metric, StateSet
from balance.catalog.registry import Catalog
from balance.errors import CatalogError
from balance.exposition import Exposition
from balance.snapshot import EXEMPLARS, Key, Row, Snapshot

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler


class CounterChild:
    """One counter series. Hot paths may add to `value` directly."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must be at least 0. Raises `ValueError` otherwise: a counter never decreases."""
        if not amount >= 0:
            raise ValueError(f"a counter can only increase, got {amount}")
        self.value += amount

    def __repr__(self) -> str:
        return f"<counter {self.value}>"


class GaugeChild:
    """One gauge series. Hot paths may set `value` directly."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Set the value, in the metric's unit."""
        self.value = value

    def __repr__(self) -> str:
        return f"<gauge {self.value}>"


class ComputedChild(GaugeChild):
    """A gauge series whose value is computed at each scrape."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    @property
    def value(self) -> float:  # type: ignore[override]
        """The value now."""
        return self._read()


class HistogramChild:
    """One histogram: `counts` per bucket (not cumulative, the last one is ``+Inf``) and the `total`, the sum of all observations.

    `exemplars`: the latest exemplar of a bucket (trace id, value, Unix time), by the bucket's index.
    """

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Row] = {}

    def observe(self, value: float) -> None:
        """Count `value` in the first bucket whose upper bound is at least `value`. NaN is ignored: it would turn the sum into NaN for good."""
        if value != value:
            return
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def exemplify(self, index: int, value: float, trace_id: str) -> None:
        """Make an observation that `counts[index]` has counted the exemplar of its bucket, replacing the previous one."""
        self.exemplars[index] = trace_id, value, time.time()

    def __repr__(self) -> str:
        return f"<histogram of {sum(self.counts)}, sum {self.total}>"


class StateChild:
    """One state set: exactly one of its `states` is the current one."""

    __slots__ = ("state", "states")

    def __init__(self, states: tuple[str, ...]) -> None:
        self.states = states
        self.state = states[0]

    def set(self, state: str) -> None:
        """Make `state` the current one. Raises `CatalogError` for an unknown state."""
        if state not in self.states:
            raise CatalogError(f"unknown state {state!r} (states: {', '.join(self.states)})")
        self.state = state

    def __repr__(self) -> str:
        return f"<state {self.state}>"


Child = CounterChild | GaugeChild | HistogramChild | StateChild
C = TypeVar("C", CounterChild, GaugeChild, HistogramChild, StateChild)


class Instruments(Collector):
    """The live metrics of `catalog`, in a registry of their own (`registry`).

    Runtime metrics of the process that the catalog declares are read by prometheus_client's collectors at scrape time.
    A metric that is not in the catalog, an undeclared label and a value outside a label's closed set raise `CatalogError`; if the label
    has a value for everything else (`Label.other`), that value is used instead, and `replaced`, a counter of the catalog with the labels
    `metric` and `label`, counts it.
    """

    def __init__(self, catalog: Catalog, *, replaced: Counter | None = None) -> None:
        if replaced is not None and (replaced not in catalog or set(replaced.label_names) != {"metric", "label"}):
            raise CatalogError("cannot count replaced label values", where=replaced.name, cure="declare it with the labels metric and label")
        self.catalog = catalog
        self._replaced = replaced
        self.registry = CollectorRegistry()
        self._children: dict[str, dict[Key, Child]] = {metric.name: {} for metric in catalog}
        self._seen: dict[tuple[str, str], set[str]] = {}
        self.before_snapshot: Callable[[], None] = lambda: None
        """called before the series are read"""
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)
        self.registry.register(self)

    def __repr__(self) -> str:
        return f"<Instruments {self.catalog.name}: {sum(map(len, self._children.values()))} children>"

    def counter(self, metric: Counter, /, **labels: str) -> CounterChild:
        """The counter series with these labels, created at 0 if needed. Raises `CatalogError`."""
        return self._child(metric, Counter, labels, CounterChild)

    def gauge(self, metric: Gauge, /, **labels: str) -> GaugeChild:
        """The gauge series with these labels, created at 0 if needed. Raises `CatalogError`."""
        return self._child(metric, Gauge, labels, GaugeChild)

    def histogram(self, metric: Histogram, /, **labels: str) -> HistogramChild:
        """The histogram with these labels, created empty if needed. Raises `CatalogError`."""
        return self._child(metric, Histogram, labels, lambda: HistogramChild(metric.buckets))

    def states(self, metric: StateSet, /, **labels: str) -> StateChild:
        """The state set with these labels, created in its first state if needed. Raises `CatalogError`."""
        return self._child(metric, StateSet, labels, lambda: StateChild(metric.states))

    def computed(self, metric: Gauge, read: Callable[[], float], /, **labels: str) -> None:
        """Compute the gauge series with these labels by calling `read` at each scrape."""
        self.gauge(metric, **labels)
        self._children[metric.name][self._key(metric, labels)] = ComputedChild(read)

    def shows(self, metric: Metric, /, **labels: str) -> bool:
        """True if there is a series with these labels."""
        return self._key(metric, labels) in self._children[metric.name]

    def retain(self, label: str, values: Collection[str], *only: Metric) -> None:
        """Drop the series whose `label` has a value other than these; of all metrics, or `only` of these."""
        for metric in only or self.catalog:
            if label in metric.label_names:
                position, children = metric.label_names.index(label), self._children[metric.name]
                for key in [key for key in children if key[position] not in values]:
                    del children[key]
                self._seen.get((metric.name, label), set()).intersection_update(values)

    def _child(self, metric: Metric, kind: type[Metric], labels: dict[str, str], make: Callable[[], C]) -> C:
        if not isinstance(metric, kind):
            raise CatalogError(f"is a {metric.kind}, not a {kind.kind}", where=metric.name)
        key = self._key(metric, labels)
        if self._replaced is not None:
            for label, value in zip(metric.labels, key, strict=True):
                if value != labels[label.name]:
                    self.counter(self._replaced, metric=metric.name, label=label.name).inc()
        children: dict[Key, Any] = self._children[metric.name]
        child = children.get(key)
        if child is None:
            self._check_bounds(metric, key)
            child = children[key] = make()
        found: C = child
        return found

    def _check_bounds(self, metric: Metric, key: Key) -> None:
        """Raise `CatalogError` if an open label would get more values than its bound."""
        for label, value in zip(metric.labels, key, strict=True):
            if label.bound:
                seen = self._seen.setdefault((metric.name, label.name), set())
                if value not in seen and len(seen) >= label.bound:
                    raise CatalogError(f"label {label.name!r} already has {label.bound} values, the maximum; cannot add {value!r}", where=metric.name)
                seen.add(value)

    def _key(self, metric: Metric, labels: dict[str, str]) -> Key:
        if metric.name not in self._children or metric not in self.catalog:
            raise CatalogError(f"is not in the catalog {self.catalog.name!r}", where=metric.name, cure="declare it there")
        if labels.keys() != set(metric.label_names):
            raise CatalogError(f"wrong labels ({', '.join(labels)})", where=metric.name, cure=f"its labels: {', '.join(metric.label_names)}")
        values = []
        for label in metric.labels:
            value = labels[label.name]
            if not label.allows(value):
                if not label.other:
                    raise CatalogError(label.refusal(value), where=metric.name)
                value = label.other
            values.append(value)
        return tuple(values)

    def parts(self) -> Iterator[tuple[str, dict[Key, Row]]]:
        """All series as they are now, including the runtime's, metric by metric, so that an event loop can run other tasks in between."""
        self.before_snapshot()
        runtime: dict[str, dict[Key, Row]] = {}
        for family in self._process.collect():
            for sample in family.samples:
                if sample.name in self._children:
                    metric = self.catalog.metric(sample.name)
                    runtime.setdefault(sample.name, {})[tuple(sample.labels[label] for label in metric.label_names)] = sample.value
        exemplars: dict[Key, Row] = {}
        for metric in self.catalog:
            children: dict[Key, Any] = self._children[metric.name]
            if isinstance(metric, Histogram):
                yield metric.name, {key: (*child.counts, child.total) for key, child in children.items()}
                for key, child in children.items():
                    for index, exemplar in child.exemplars.items():
                        exemplars[metric.name, *key, str(index)] = exemplar
            elif isinstance(metric, StateSet):
                rows = {state: tuple(float(state == other) for other in metric.states) for state in metric.states}
                yield metric.name, {key: rows[child.state] for key, child in children.items()}
            else:
                yield metric.name, runtime.get(metric.name) or {key: child.value for key, child in children.items()}
        yield EXEMPLARS, exemplars

    def snapshot(self) -> Snapshot:
        """All series at once, see `parts`."""
        return dict(self.parts())

    def collect(self) -> Iterator[Family]:
        """All families of the catalog, in its order; the registry calls it at each scrape."""
        return _families(self.catalog, self.snapshot())

    def describe(self) -> list[Family]:
        """The families without series; prometheus_client uses them to select collectors by name (``?name[]=``)."""
        return list(_families(self.catalog, {}))


class _SnapshotCollector(Collector):
    """Collects a snapshot that was taken before."""

    def __init__(self, catalog: Catalog, snapshot: Snapshot) -> None:
        self._catalog, self._snapshot = catalog, snapshot

    def collect(self) -> Iterator[Family]:
        return _families(self._catalog, self._snapshot)

    def describe(self) -> list[Family]:
        return list(_families(self._catalog, {}))


def scrape_handler(catalog: Catalog, take: Callable[[], Awaitable[Snapshot]]) -> Handler:
    """An aiohttp handler that calls `take` for a snapshot and serves it as text 0.0.4 or OpenMetrics, gzipped if the client accepts that."""
    from aiohttp import web  # optional for users of a catalog
    from prometheus_client.exposition import choose_encoder

    exposition = Exposition(catalog)

    async def scrape(request: web.Request) -> web.StreamResponse:
        try:
            encode, content_type = choose_encoder(",".join(request.headers.getall("Accept", ())))
        except (TypeError, ValueError):  # it does not validate the versions in the header
            raise web.HTTPBadRequest(text="invalid Accept header") from None
        snapshot, names = await take(), request.query.getall("name[]", ())
        pieces: list[str] = []
        if names or content_type.endswith(("=dots", "=values")):
            registry = CollectorRegistry()
            registry.register(_SnapshotCollector(catalog, snapshot))
            pieces.append(encode(registry.restricted_registry(names) if names else registry).decode())
        else:
            for piece in exposition.slices(snapshot, openmetrics=content_type.startswith("application/openmetrics-text")):
                pieces.append(piece)
                await asyncio.sleep(0)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        compressed = _accepts_gzip(request.headers.get("Accept-Encoding", ""))
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=await asyncio.to_thread(_body, pieces, compressed=compressed), headers=headers)

    return scrape


def _accepts_gzip(header: str) -> bool:
    """True if an Accept-Encoding header (RFC 9110 section 12.5.3) lists gzip with a quality above 0."""
    offers = (offer.replace(" ", "").lower().partition(";q=") for offer in header.split(","))
    return any(coding == "gzip" and (not mark or quality.strip("0.")) for coding, mark, quality in offers)


def _body(pieces: Iterable[str], *, compressed: bool) -> bytes:
    """The body as bytes. gzip level 1 shrinks a scrape to 1/20 in a sixth of the time of level 9, which shrinks it to 1/24."""
    text = "".join(pieces).encode()
    return gzip.compress(text, 1) if compressed else text


def _families(catalog: Catalog, snapshot: Snapshot) -> Iterator[Family]:
    """The families of the catalog, in its order; a renamed metric under both names."""
    for family, metric in catalog.shown:
        yield _family(family, snapshot.get(metric.name, {}), snapshot.get(EXEMPLARS, {}))


def _family(metric: Metric, rows: dict[Key, Row], exemplars: dict[Key, Row]) -> Family:
    names = metric.label_names
    if isinstance(metric, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=names)
        bounds = [floatToGoString(bound) for bound in (*metric.buckets, float("inf"))]  # type: ignore[no-untyped-call]
        for key, (*counts, total) in rows.items():
            buckets: list[Any] = list(zip(bounds, accumulate(counts), strict=True))
            if exemplars:
                for index, bucket in enumerate(buckets):
                    if exemplar := exemplars.get((metric.name, *key, str(index))):
                        trace_id, value, at = exemplar
                        buckets[index] = *bucket, Exemplar({"trace_id": trace_id}, value, at)
            histogram.add_metric(key, buckets, total)
        return histogram
    if isinstance(metric, StateSet):
        states = GaugeMetricFamily(metric.name, metric.help, labels=(*names, metric.state_label))
        for key, row in rows.items():
            for state, holds in zip(metric.states, row, strict=True):
                states.add_metric((*key, state), holds)
        return states
    make = CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=names)
    for key, row in rows.items():
        family.add_metric(key, row)
    return family
