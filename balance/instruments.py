"""Live metrics of a catalog: the only module that imports prometheus_client.

Theory. A labelled call of prometheus_client costs 1 to 3 microseconds; a request touches some ten metrics. So the
children here are plain objects that hold integers and lists, resolved once (when configuration loads, or when a combination is
first seen) and then touched directly; this module is a *collector* that turns them into prometheus_client's metric families when
somebody scrapes. Names, help, types, buckets and labels all come from the catalog, so a scrape shows what it declares.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from balance.catalog.model import Counter, Gauge, Histogram, Metric, StateSet
from balance.catalog.registry import Catalog
from balance.errors import CatalogError

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


class HistogramChild:
    """One histogram: counts per bucket (not cumulative, the last one is ``+Inf``) and the sum of all observations."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value` in the first bucket whose upper bound is not below it. NaN is not counted: it would spoil the sum for ever."""
        if value != value:
            return
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Buckets as the exposition format wants them: upper bound as text, count of observations up to it."""
        rows, running = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            rows.append((floatToGoString(bound), float(running)))  # type: ignore[no-untyped-call]
        return rows

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
Key = tuple[str, ...]


class Instruments(Collector):
    """The live metrics of `catalog` on a registry of their own.

    The runtime metrics of the process that the catalog declares are read by prometheus_client's own collectors at scrape time.
    A metric that is not in the catalog, a label that is not declared and a value outside its closed set raise `CatalogError`;
    where the label names a member for everything else (`Label.other`), such a value becomes that member.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.registry = CollectorRegistry()
        self._children: dict[str, dict[Key, Child]] = {metric.name: {} for metric in catalog}
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._functions: dict[str, Callable[[], float]] = {}
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

    def computed(self, metric: Gauge, value: Callable[[], float]) -> None:
        """Let a gauge without labels be computed whenever it is scraped."""
        self._key(metric, {})
        self._functions[metric.name] = value

    def _child(self, metric: Metric, kind: type[Metric], labels: dict[str, str], make: Callable[[], C]) -> C:
        if not isinstance(metric, kind):
            raise CatalogError(f"is a {metric.kind}, not a {kind.kind}", where=metric.name)
        key = self._key(metric, labels)
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

    def collect(self) -> Iterator[Family]:
        """All families of the catalog, in its order; called by the registry for each scrape."""
        process = {sample.name: family for family in self._process.collect() for sample in family.samples}
        for metric in self.catalog:
            if metric.name in process:
                yield _adopt(metric, process[metric.name])
                continue
            rows: list[tuple[Key, Child]] = list(self._children[metric.name].items())
            if metric.name in self._functions:
                gauge = GaugeChild()
                gauge.set(self._functions[metric.name]())
                rows = [((), gauge)]
            yield _family(metric, rows)

    def describe(self) -> list[Family]:
        """The families without their series: prometheus_client finds by them who serves a scrape of chosen names (``?name[]=``)."""
        return [_family(metric, ()) for metric in self.catalog]

    def aiohttp_handler(self) -> Handler:
        """An aiohttp handler that serves a scrape: text 0.0.4 or OpenMetrics as the client accepts, compressed if it may."""
        from aiohttp import web  # which a catalog's user may not have
        from prometheus_client.aiohttp import make_aiohttp_handler
        from prometheus_client.exposition import choose_encoder

        handler = make_aiohttp_handler(self.registry)

        async def scrape(request: web.Request) -> web.StreamResponse:
            try:
                choose_encoder(",".join(request.headers.getall("Accept", ())))
            except (TypeError, ValueError):  # it reads versions out of the header without looking
                raise web.HTTPBadRequest(text="the Accept header cannot be understood\n") from None
            return await handler(request)

        return scrape


def _family(metric: Metric, rows: Iterable[tuple[Key, Any]]) -> Family:
    names = metric.label_names
    if isinstance(metric, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=names)
        for key, child in rows:
            histogram.add_metric(key, child.cumulative(), child.total)
        return histogram
    if isinstance(metric, StateSet):
        states = GaugeMetricFamily(metric.name, metric.help, labels=(*names, metric.state_label))
        for key, child in rows:
            for state in metric.states:
                states.add_metric((*key, state), float(state == child.state))
        return states
    family = _plain_family(metric, names)
    for key, child in rows:
        family.add_metric(key, child.value)
    return family


def _plain_family(metric: Metric, names: Iterable[str]) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily
    return make(metric.name, metric.help, labels=tuple(names))


def _adopt(metric: Metric, foreign: Family) -> Family:
    """The samples of a family that prometheus_client collected, under the catalog's help and type."""
    family = _plain_family(metric, metric.label_names)
    for sample in foreign.samples:
        if sample.name == metric.name:
            family.add_metric([sample.labels[name] for name in metric.label_names], sample.value)
    return family
