"""Live metrics of a catalog: the only module that imports prometheus_client.

Theory. A labelled call of prometheus_client costs 1 to 3 microseconds; a request touches some ten metrics. So the
children here are plain objects that hold integers and lists, resolved once (when configuration loads, or when a combination is
first seen) and then touched directly; a scrape takes a `Snapshot` of them, plain numbers that also travel between processes, and
`Exposition` writes it. A *collector* turns it into prometheus_client's metric families, for whoever has a registry of that, and for what is rarely
asked for. Names, help, types, buckets and labels all come from the catalog, so a scrape shows what it declares.
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
    """One counter series. The hot path may add to `value` directly."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, 0 or more. Raises `ValueError` for less: a counter never goes back."""
        if not amount >= 0:
            raise ValueError(f"a counter cannot go up by {amount}")
        self.value += amount

    def __repr__(self) -> str:
        return f"<counter {self.value}>"


class GaugeChild:
    """One gauge series. The hot path may set `value` directly."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"<gauge {self.value}>"


class ComputedChild(GaugeChild):
    """A gauge series whose value is asked for whenever somebody scrapes."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    @property
    def value(self) -> float:  # type: ignore[override]
        return self._read()


class HistogramChild:
    """One histogram: counts per bucket (not cumulative, the last one is ``+Inf``) and the sum of all observations. `exemplars` has for
    buckets, by their index, an observation of which more is known than its value."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Row] = {}

    def observe(self, value: float) -> None:
        """Count `value` in the first bucket whose upper bound is not below it. NaN is not counted: it would spoil the sum for ever."""
        if value != value:
            return
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def exemplify(self, index: int, value: float, trace_id: str) -> None:
        """Let an observation that `counts[index]` has counted stand for its bucket: the last one does."""
        self.exemplars[index] = trace_id, value, time.time()

    def __repr__(self) -> str:
        return f"<histogram of {sum(self.counts)}, sum {self.total}>"


class StateChild:
    """One state set: exactly one of its states holds."""

    __slots__ = ("state", "states")

    def __init__(self, states: tuple[str, ...]) -> None:
        self.states = states
        self.state = states[0]

    def set(self, state: str) -> None:
        if state not in self.states:
            raise CatalogError(f"no state {state!r} (states: {', '.join(self.states)})")
        self.state = state

    def __repr__(self) -> str:
        return f"<state {self.state}>"


Child = CounterChild | GaugeChild | HistogramChild | StateChild
C = TypeVar("C", CounterChild, GaugeChild, HistogramChild, StateChild)


class Instruments(Collector):
    """The live metrics of `catalog` on a registry of their own.

    The runtime metrics of the process that the catalog declares are read by prometheus_client's own collectors at scrape time.
    A metric that is not in the catalog, a label that is not declared and a value outside its closed set raise `CatalogError`;
    where the label names a member for everything else (`Label.other`), such a value becomes that member. `replaced`, a counter of the catalog
    with the labels `metric` and `label`, counts how often that happened.
    """

    def __init__(self, catalog: Catalog, *, replaced: Counter | None = None) -> None:
        if replaced is not None and (replaced not in catalog or set(replaced.label_names) != {"metric", "label"}):
            raise CatalogError("cannot count replaced values", where=replaced.name, cure="declare it in the catalog, with the labels metric, label")
        self.catalog = catalog
        self._replaced = replaced
        self.registry = CollectorRegistry()
        self._children: dict[str, dict[Key, Child]] = {metric.name: {} for metric in catalog}
        self._seen: dict[tuple[str, str], set[str]] = {}
        self.before_snapshot: Callable[[], None] = lambda: None
        """called before the series are looked at"""
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)
        self.registry.register(self)

    def __repr__(self) -> str:
        return f"<Instruments {self.catalog.name}: {sum(map(len, self._children.values()))} children>"

    def counter(self, metric: Counter, /, **labels: str) -> CounterChild:
        """The counter series with these labels, made at zero when first asked for."""
        return self._child(metric, Counter, labels, CounterChild)

    def gauge(self, metric: Gauge, /, **labels: str) -> GaugeChild:
        """The gauge series with these labels, made at zero when first asked for."""
        return self._child(metric, Gauge, labels, GaugeChild)

    def histogram(self, metric: Histogram, /, **labels: str) -> HistogramChild:
        """The histogram with these labels, made empty when first asked for."""
        return self._child(metric, Histogram, labels, lambda: HistogramChild(metric.buckets))

    def states(self, metric: StateSet, /, **labels: str) -> StateChild:
        """The state set with these labels, made in its first state when first asked for."""
        return self._child(metric, StateSet, labels, lambda: StateChild(metric.states))

    def computed(self, metric: Gauge, read: Callable[[], float], /, **labels: str) -> None:
        """Let the gauge series with these labels be computed by `read` whenever it is scraped, from now on."""
        self.gauge(metric, **labels)
        self._children[metric.name][self._key(metric, labels)] = ComputedChild(read)

    def shows(self, metric: Metric, /, **labels: str) -> bool:
        """Whether there is a series with these labels."""
        return self._key(metric, labels) in self._children[metric.name]

    def retain(self, label: str, values: Collection[str], *only: Metric) -> None:
        """Of the series (of `only` these metrics) with this label, go on showing only those with one of these values: the others stand for
        what is no more."""
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
        """Refuse a further value of an open label that has as many as it may have."""
        for label, value in zip(metric.labels, key, strict=True):
            if label.bound:
                seen = self._seen.setdefault((metric.name, label.name), set())
                if value not in seen and len(seen) >= label.bound:
                    raise CatalogError(f"label {label.name!r} has its {label.bound} values already, no room for {value!r}", where=metric.name)
                seen.add(value)

    def _key(self, metric: Metric, labels: dict[str, str]) -> Key:
        if metric.name not in self._children or metric not in self.catalog:
            raise CatalogError(f"is not in the catalog {self.catalog.name!r}", where=metric.name, cure="declare it there")
        if labels.keys() != set(metric.label_names):
            raise CatalogError(f"got the labels ({', '.join(labels)})", where=metric.name, cure=f"its labels: {', '.join(metric.label_names)}")
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
        """All series as they are now, those of the runtime included: metric by metric, so that others may have their turn between two."""
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
        """All of them at once."""
        return dict(self.parts())

    def collect(self) -> Iterator[Family]:
        """All families of the catalog, in its order; called by the registry for each scrape."""
        return _families(self.catalog, self.snapshot())

    def describe(self) -> list[Family]:
        """The families without their series: prometheus_client finds by them who serves a scrape of chosen names (``?name[]=``)."""
        return list(_families(self.catalog, {}))


class _Taken(Collector):
    """A snapshot that somebody took."""

    def __init__(self, catalog: Catalog, snapshot: Snapshot) -> None:
        self._catalog, self._snapshot = catalog, snapshot

    def collect(self) -> Iterator[Family]:
        return _families(self._catalog, self._snapshot)

    def describe(self) -> list[Family]:
        return list(_families(self._catalog, {}))


def scrape_handler(catalog: Catalog, take: Callable[[], Awaitable[Snapshot]]) -> Handler:
    """An aiohttp handler that serves a snapshot taken then: text 0.0.4 or OpenMetrics as the client accepts, compressed if it may."""
    from aiohttp import web  # which a catalog's user may not have
    from prometheus_client.exposition import choose_encoder

    exposition = Exposition(catalog)

    async def scrape(request: web.Request) -> web.StreamResponse:
        try:
            encode, content_type = choose_encoder(",".join(request.headers.getall("Accept", ())))
        except (TypeError, ValueError):  # it reads versions out of the header without looking
            raise web.HTTPBadRequest(text="the Accept header cannot be understood") from None
        snapshot, names = await take(), request.query.getall("name[]", ())
        pieces: list[str] = []
        if names or content_type.endswith(("=dots", "=values")):
            registry = CollectorRegistry()
            registry.register(_Taken(catalog, snapshot))
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
    """Whether an Accept-Encoding (RFC 9110 section 12.5.3) names gzip, and does not mean that it must not be."""
    offers = (offer.replace(" ", "").lower().partition(";q=") for offer in header.split(","))
    return any(coding == "gzip" and (not mark or quality.strip("0.")) for coding, mark, quality in offers)


def _body(pieces: Iterable[str], *, compressed: bool) -> bytes:
    """Level 1 makes a scrape a twentieth of its size in a sixth of the time of level 9, which makes it a twenty-fourth."""
    text = "".join(pieces).encode()
    return gzip.compress(text, 1) if compressed else text


def _families(catalog: Catalog, snapshot: Snapshot) -> Iterator[Family]:
    """The families of the catalog, in its order, a renamed one under both names."""
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
