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
    """A metric or label name in camelCase.

    Prometheus names are snake_case, and people guess them when they type a query (promlint: camelCase). Rename it.
    """
    return _named(inputs, naming.CAMEL_CASE)


@check("metric-type-in-name", "error")
def metric_type_in_name(inputs: Inputs) -> Iterator[Problem]:
    """A metric name that contains the metric's type.

    The type is in the scrape, and `rate` in a query shows it; a name with the type becomes wrong when the type changes (promlint: metric type in
    name). Leave the type out.
    """
    return _named(inputs, naming.TYPE_IN_NAME)


@check("metric-unit-abbreviated", "error")
def metric_unit_abbreviated(inputs: Inputs) -> Iterator[Problem]:
    """A metric name that abbreviates a unit.

    `_s`, `_ms`, `_mb`: does `m` mean minutes or metres? Write units out: `_seconds`, `_bytes` (promlint: unit abbreviations).
    """
    return _named(inputs, naming.UNIT_ABBREVIATED)


@check("metric-base-unit", "error")
def metric_base_unit(inputs: Inputs) -> Iterator[Problem]:
    """A metric in a unit other than a base unit.

    A query that mixes milliseconds and seconds is wrong by a factor of a thousand. Prometheus' convention is base units: seconds, bytes, metres,
    grams, joules, volts, amperes (promlint: base units). Convert in the service; Grafana picks a readable unit for display.
    """
    return _named(inputs, naming.BASE_UNIT)


@check("metric-cardinality", "error")
def metric_cardinality(inputs: Inputs) -> Iterator[Problem]:
    """A metric that may have more series than its budget.

    The number of series per instance is the product of the sizes of its labels, for a histogram times its buckets; each series costs memory in the
    service and in Prometheus. Drop a label, lower a bound, use fewer buckets, or waive the finding with the reason why so many never occur. The
    budget is `Catalog(budget=Budget(metric=...))`.
    """
    most = inputs.bundle.catalog.budget.metric
    for metric in inputs.bundle.catalog:
        if metric.cardinality > most:
            yield _found(
                inputs, metric, f"may show {metric.cardinality} series of an instance, {most} are its budget", "fewer labels, values or buckets"
            )


@check("catalog-cardinality", "error")
def catalog_cardinality(inputs: Inputs) -> Iterator[Problem]:
    """A catalog that may have more series than its budget.

    This is the sum over all metrics, for one instance: what Prometheus must hold for each of them. The budget is
    `Catalog(budget=Budget(total=...))`.
    """
    catalog = inputs.bundle.catalog
    total = sum(metric.cardinality for metric in catalog)
    if total > catalog.budget.total:
        greatest = max(catalog, key=lambda metric: metric.cardinality)
        cure = f"begin with {greatest.name}: {greatest.cardinality}"
        yield Problem(f"catalog {catalog.name}", f"may show {total} series of an instance, {catalog.budget.total} are its budget", cure, catalog.name)


@check("threshold-unused", "warning")
def threshold_unused(inputs: Inputs) -> Iterator[Problem]:
    """A threshold that no condition or panel uses.

    It can be set, but setting it changes nothing, which misleads whoever relies on it. Use it in a condition, draw it, or remove it from the
    catalog.
    """
    used = {threshold.name for _, threshold in inputs.bundle.thresholds()}
    off = (node for alert in inputs.bundle.switched_off for node in alert.condition.whole.walk() if isinstance(node, Comparison))
    used |= {node.threshold.name for node in off}
    for threshold in inputs.bundle.catalog.thresholds:
        if threshold.name not in used:
            yield Problem(f"catalog {inputs.bundle.catalog.name}", "is a threshold that nothing uses", "use it or take it out", threshold.name)
