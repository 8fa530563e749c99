"""A catalog: all metrics and thresholds of one service, looked up by metric or series name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from balance.catalog.model import Metric, Threshold
from balance.errors import CatalogError, Problem, suggestion


class Catalog:
    """Metrics that a service exposes, its thresholds, and the metrics that Prometheus itself adds to a scrape (`external`).

    `metrics` may also be a mapping from headings to metrics, for people who look things up. Raises `CatalogError` with every duplicate
    name and every clash of series names ("x_count" beside a histogram "x").
    """

    def __init__(
        self,
        name: str,
        metrics: Iterable[Metric] | Mapping[str, Iterable[Metric]],
        *,
        thresholds: Iterable[Threshold] = (),
        external: Iterable[Metric] = (),
    ) -> None:
        self.name = name
        self.headings = {heading: tuple(group) for heading, group in (metrics if isinstance(metrics, Mapping) else {"Metrics": metrics}).items()}
        self.metrics = tuple(metric for group in self.headings.values() for metric in group)
        self.thresholds = tuple(thresholds)
        self.external = tuple(external)
        self._by_series: dict[str, Metric] = {}
        problems = []
        for metric in (*self.metrics, *self.external):
            for sample in {metric.name, metric.name.removesuffix("_total"), *metric.samples}:
                taken = self._by_series.setdefault(sample, metric)
                if taken is not metric:
                    problems.append(Problem(metric.name, f"the series name {sample!r} is already taken by {taken.name}", "rename one of them"))
        self._thresholds = {threshold.name: threshold for threshold in self.thresholds}
        if len(self._thresholds) != len(self.thresholds):
            names = [threshold.name for threshold in self.thresholds]
            twice = sorted({name for name in names if names.count(name) > 1})
            problems += [Problem(f"threshold {name!r}", "is declared twice", "rename one of them") for name in twice]
        if problems:
            raise CatalogError(problems=problems)

    def __iter__(self) -> Iterator[Metric]:
        return iter(self.metrics)

    def __contains__(self, declared: object) -> bool:
        """Whether the catalog declares this very metric or threshold."""
        if isinstance(declared, Threshold):
            return self._thresholds.get(declared.name) == declared
        return isinstance(declared, Metric) and self._by_series.get(declared.name) == declared

    def __repr__(self) -> str:
        return f"<Catalog {self.name}: {len(self.metrics)} metrics, {len(self.thresholds)} thresholds>"

    def metric(self, series: str) -> Metric:
        """The metric that owns a family or series name. Raises `CatalogError` with the nearest known name."""
        try:
            return self._by_series[series]
        except KeyError:
            raise CatalogError(f"no metric {series!r}", where=f"catalog {self.name}", cure=suggestion(series, self._by_series)) from None

    def threshold(self, name: str) -> Threshold:
        """The threshold of that name. Raises `CatalogError` with the nearest known name."""
        try:
            return self._thresholds[name]
        except KeyError:
            raise CatalogError(f"no threshold {name!r}", where=f"catalog {self.name}", cure=suggestion(name, self._thresholds)) from None
