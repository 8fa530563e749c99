"""Checks of the catalog: what promlint says of names, and how many series there may be. What constructors refuse is not asked again."""

from __future__ import annotations

from collections.abc import Iterator

from balance.catalog import naming
from balance.catalog.model import Metric
from balance.errors import Problem
from balance.lint.check import Inputs, check
from balance.promql.ast import Comparison


def _found(inputs: Inputs, metric: Metric, problem: str, cure: str) -> Problem:
    return Problem(f"catalog {inputs.bundle.catalog.name}", problem, cure, metric.name)


def _named(inputs: Inputs, check: str) -> Iterator[Problem]:
    """What that check of naming says of the metrics that were named here, not by others."""
    own = (metric for metric in inputs.bundle.catalog if not metric.foreign)
    return (_found(inputs, metric, problem, cure) for metric in own for found, problem, cure in naming.faults(metric) if found == check)


@check("metric-camel-case", "error")
def metric_camel_case(inputs: Inputs) -> Iterator[Problem]:
    """A metric or a label in camelCase.

    Names in Prometheus are written in snake_case, and people guess them when they type a query (promlint: camelCase).
    """
    return _named(inputs, naming.CAMEL_CASE)


@check("metric-type-in-name", "error")
def metric_type_in_name(inputs: Inputs) -> Iterator[Problem]:
    """A metric whose name tells its type.

    The type stands in the scrape, and `rate` tells in the query; a name with it lies as soon as the type changes (promlint: metric type in name).
    """
    return _named(inputs, naming.TYPE_IN_NAME)


@check("metric-unit-abbreviated", "error")
def metric_unit_abbreviated(inputs: Inputs) -> Iterator[Problem]:
    """A metric whose name abbreviates a unit.

    `_s`, `_ms`, `_mb`: nobody can tell `m` for minutes from `m` for metres. Units are written out (promlint: unit abbreviations).
    """
    return _named(inputs, naming.UNIT_ABBREVIATED)


@check("metric-base-unit", "error")
def metric_base_unit(inputs: Inputs) -> Iterator[Problem]:
    """A metric in another unit than a base unit.

    Milliseconds beside seconds make every query that has both wrong by a thousand. Prometheus' convention is base units: seconds, bytes, metres,
    grams, joules, volts, amperes (promlint: base units). Grafana shows milliseconds where they read better.
    """
    return _named(inputs, naming.BASE_UNIT)


@check("metric-cardinality", "error")
def metric_cardinality(inputs: Inputs) -> Iterator[Problem]:
    """A metric that may show more series than its budget.

    The product of what its labels can be, for a histogram times its buckets: that many series may each instance show, and each costs memory in the
    service and in Prometheus. Drop a label, lower a bound, use fewer buckets, or waive it with the reason why so many never come about. The budget
    is `Catalog(budget=Budget(metric=...))`.
    """
    most = inputs.bundle.catalog.budget.metric
    for metric in inputs.bundle.catalog:
        if metric.cardinality > most:
            yield _found(
                inputs, metric, f"may show {metric.cardinality} series of an instance, {most} are its budget", "fewer labels, values or buckets"
            )


@check("catalog-cardinality", "error")
def catalog_cardinality(inputs: Inputs) -> Iterator[Problem]:
    """A catalog that may show more series than its budget.

    All metrics together, for one instance: what a Prometheus must hold for each of them. The budget is `Catalog(budget=Budget(total=...))`.
    """
    catalog = inputs.bundle.catalog
    total = sum(metric.cardinality for metric in catalog)
    if total > catalog.budget.total:
        greatest = max(catalog, key=lambda metric: metric.cardinality)
        cure = f"begin with {greatest.name}: {greatest.cardinality}"
        yield Problem(f"catalog {catalog.name}", f"may show {total} series of an instance, {catalog.budget.total} are its budget", cure, catalog.name)


@check("threshold-unused", "warning")
def threshold_unused(inputs: Inputs) -> Iterator[Problem]:
    """A threshold with which nothing is compared.

    It can be set, and setting it changes nothing: whoever relies on it is misled. Compare with it, draw it, or take it out of the catalog.
    """
    used = {threshold.name for _, threshold in inputs.bundle.thresholds()}
    off = (node for alert in inputs.bundle.switched_off for node in alert.condition.whole.walk() if isinstance(node, Comparison))
    used |= {node.threshold.name for node in off}
    for threshold in inputs.bundle.catalog.thresholds:
        if threshold.name not in used:
            yield Problem(f"catalog {inputs.bundle.catalog.name}", "is a threshold that nothing uses", "use it or take it out", threshold.name)
