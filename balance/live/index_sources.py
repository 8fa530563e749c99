"""Where a series index comes from: scrapes, a catalog, or a running Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from balance.catalog.model import Histogram, Metric, StateSet, scrape_type
from balance.catalog.registry import Catalog
from balance.live.fetch import TIMEOUT
from balance.live.prometheus import Prometheus
from balance.live.scrape import Scrape
from balance.live.series_index import SeriesIndex

_BATCH = 20
"""Names per request to ``/api/v1/series``."""


def from_scrapes(scrapes: Iterable[Scrape], elsewhere: Iterable[str] = ()) -> SeriesIndex:
    """The series that one or several services expose."""
    scrapes = list(scrapes)
    index = SeriesIndex(", ".join(scrape.source for scrape in scrapes), elsewhere=elsewhere)
    for scrape in scrapes:
        for family in scrape.families.values():
            closed = {"stateset": [family.name], "histogram": ["le"], "summary": ["quantile"]}.get(family.type, [])
            index.families[family.name] = family.type
            for sample in family.samples:
                index.add(sample.name, family.name, family.type, closed).append(dict(sample.labels))
            if not family.samples:
                _add_names(index, family.name, family.type)
    return index


def _add_names(index: SeriesIndex, family: str, kind: str) -> None:
    """Make the names of a family known that has no series yet."""
    for suffix in {"histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}.get(kind, ("",)):
        index.add(family + suffix, family, kind)


def from_catalog(catalog: Catalog, elsewhere: Iterable[str] = ()) -> SeriesIndex:
    """The series that a catalog declares: the labels of a metric and their sets of values are all known."""
    index = SeriesIndex(f"catalog {catalog.name}", joint=False, elsewhere=elsewhere)
    for metric in (*(metric for metric, _ in catalog.shown), *catalog.external):
        for name in metric.samples:
            sets = _values_by_label(metric, name)
            closed = [label for label, values in sets.items() if values]
            series = index.add(name, metric.name, scrape_type(metric), closed)
            index.open[name] = tuple(sets)
            # one series for each value of the largest set shows every value of every closed label
            series += [
                {label: values[min(index, len(values) - 1)] for label, values in sets.items() if values}
                for index in range(max((len(values) for values in sets.values()), default=0))
            ]
        if isinstance(metric, Histogram):
            index.families[metric.name] = "histogram"
    index.used.update(metric.name for metric in catalog.external)
    return index


def _values_by_label(metric: Metric, name: str) -> dict[str, tuple[str, ...]]:
    """The declared values of each label of a series; empty where the set is open."""
    sets = {label.name: label.values for label in metric.labels}
    if isinstance(metric, StateSet):
        sets[metric.state_label] = metric.states
    if name.endswith("_bucket") and isinstance(metric, Histogram):
        sets["le"] = (*(repr(float(bound)) for bound in metric.buckets), "+Inf")
    return sets


def from_prometheus(address: str, names: Iterable[str], elsewhere: Iterable[str] = ()) -> SeriesIndex:
    """The series of a Prometheus: all names, and the labels of those in `names`. Raises `LiveError` if it cannot be asked."""
    server = Prometheus(address, timeout=TIMEOUT)
    index = SeriesIndex(server.where, complete=True, elsewhere=elsewhere)
    metadata = server.get("metadata")
    types = {name: str(entries[0].get("type", "")) for name, entries in metadata.items() if entries} if isinstance(metadata, dict) else {}
    known = [name for name in server.get("label/__name__/values") if isinstance(name, str)]
    for name in known:
        family = _family(name, types)
        index.add(name, family, types.get(family, types.get(family.removesuffix("_total"), "")), ["le"] if name.endswith("_bucket") else [])
    for family, kind in types.items():
        suffix = {"counter": "_total", "info": "_info"}.get(kind, "")  # OpenMetrics says x of x_total
        full = family.removesuffix(suffix) + suffix
        if not {family, full} & index.families.keys():
            _add_names(index, full, kind)
    wanted = sorted(set(names) & set(known))
    for start in range(0, len(wanted), _BATCH):
        found = server.get("series", {"match[]": [f'{{__name__="{name}"}}' for name in wanted[start : start + _BATCH]]})
        for labels in found:
            name = labels.pop("__name__", "")
            if name in index.series:
                index.series[name].append(labels)
    return index


def _family(name: str, types: Mapping[str, str]) -> str:
    for suffix in ("_bucket", "_count", "_sum"):
        base = name.removesuffix(suffix)
        if base != name and types.get(base) in ("histogram", "summary"):
            return base
    return name
