"""A catalog: all metrics and thresholds of one service, looked up by metric or series name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from balance.catalog.model import Metric, Threshold
from balance.catalog.model import version as as_version
from balance.errors import CatalogError, Problem, suggestion


@dataclass(frozen=True)
class Budget:
    """The maximum number of series of one instance: of a `metric`, and in `total`, by the declared value sets and bounds."""

    metric: int = 10_000
    total: int = 100_000


class Catalog:
    """The metrics that a service exposes, and its thresholds.

    `metrics`: metrics, or a mapping from headings to metrics, for the reference page. `external`: metrics that others add to a scrape, such
    as ``up``. `ignored`: families that the service exposes and the catalog does not declare, with the reason. `version`: version of the
    catalog, to which deprecations refer. `budget`: limits on the number of series, checked by `balance-gen lint`.

    Raises `CatalogError` with every duplicate name and every clash of series names ("x_count" beside a histogram "x").
    """

    def __init__(
        self,
        name: str,
        metrics: Iterable[Metric] | Mapping[str, Iterable[Metric]],
        *,
        thresholds: Iterable[Threshold] = (),
        external: Iterable[Metric] = (),
        ignored: Mapping[str, str] = {},
        version: str = "1",
        budget: Budget = Budget(),
    ) -> None:
        self.name = name
        self.version = version
        self.budget = budget
        self.headings = {heading: tuple(group) for heading, group in (metrics if isinstance(metrics, Mapping) else {"Metrics": metrics}).items()}
        self.metrics = tuple(metric for group in self.headings.values() for metric in group)
        self.thresholds = tuple(thresholds)
        self.external = tuple(external)
        self.ignored = dict(ignored)
        self.formers = tuple(former for metric in self.metrics if (former := metric.former))
        self._by_series: dict[str, Metric] = {}
        problems = [
            Problem(metric.name, f"is deprecated since version {metric.deprecated_since}, but the catalog has version {version}", "raise version=")
            for metric in self.metrics
            if metric.deprecated_since and as_version(metric.deprecated_since) > as_version(version)
        ]
        for metric in (*self.metrics, *self.external, *self.formers):
            for sample in {metric.name, metric.name.removesuffix("_total"), *metric.samples}:
                taken = self._by_series.setdefault(sample, metric)
                if taken is not metric:
                    problems.append(Problem(metric.name, f"the series name {sample!r} is already taken by {taken.name}", "rename one of them"))
        self._thresholds = {threshold.name: threshold for threshold in self.thresholds}
        if len(self._thresholds) != len(self.thresholds):
            names = [threshold.name for threshold in self.thresholds]
            twice = sorted({name for name in names if names.count(name) > 1})
            problems += [Problem(f"threshold {name!r}", "is declared twice", "rename one of them") for name in twice]
        declared = {metric.name for metric in (*self.metrics, *self.external)}
        for name, reason in self.ignored.items():
            if name in declared or not reason.strip():
                what, cure = ("is ignored without a reason", "say why") if not reason.strip() else ("is ignored and declared", "choose one of them")
                problems.append(Problem(name, what, cure))
        if problems:
            raise CatalogError(problems=problems)

    def __iter__(self) -> Iterator[Metric]:
        return iter(self.metrics)

    @property
    def shown(self) -> Iterator[tuple[Metric, Metric]]:
        """Every family in a scrape, in order, with the metric that owns its series: a renamed metric is exposed under both names."""
        for metric in self.metrics:
            yield metric, metric
            if former := metric.former:
                yield former, metric

    def __contains__(self, declared: object) -> bool:
        """True if the catalog declares exactly this metric or threshold."""
        if isinstance(declared, Threshold):
            return self._thresholds.get(declared.name) == declared
        return isinstance(declared, Metric) and self._by_series.get(declared.name) == declared and declared not in self.formers

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
