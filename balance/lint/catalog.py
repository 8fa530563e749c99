"""Checks of the catalog: names, as promlint checks them, and the number of series. What constructors reject is not checked again."""

from __future__ import annotations

from collections.abc import Iterator

from balance.catalog import naming
from balance.catalog.model import Metric
from balance.errors import Problem
from balance.lint.check import Inputs, check
from balance.promql.ast import Comparison


def _metric_problem(inputs: Inputs, metric: Metric, problem: str, cure: str) -> Problem:
    return Problem(f"catalog {inputs.bundle.catalog.name}", problem, cure, metric.name)


def _naming_findings(inputs: Inputs, check_id: str) -> Iterator[Problem]:
    """The findings of a naming check, for the metrics that are named in this catalog, not elsewhere (foreign)."""
    own = (metric for metric in inputs.bundle.catalog if not metric.foreign)
    return (
        _metric_problem(inputs, metric, problem, cure)
        for metric in own
        for found, problem, cure in naming.naming_problems(metric)
        if found == check_id
    )


@check("metric-camel-case", "error")
def metric_camel_case(inputs: Inputs) -> Iterator[Problem]:
    """A metric or label name in camelCase.

    Prometheus names are snake_case, and people guess them when they type a query (promlint: camelCase). Rename it.
    """
    return _naming_findings(inputs, naming.CAMEL_CASE)


@check("metric-type-in-name", "error")
def metric_type_in_name(inputs: Inputs) -> Iterator[Problem]:
    """A metric name that contains the metric's type.

    The type is in the scrape, and `rate` in a query shows it; a name with the type becomes wrong when the type changes (promlint: metric type in
    name). Leave the type out.
    """
    return _naming_findings(inputs, naming.TYPE_IN_NAME)


@check("metric-unit-abbreviated", "error")
def metric_unit_abbreviated(inputs: Inputs) -> Iterator[Problem]:
    """A metric name that abbreviates a unit.

    `_s`, `_ms`, `_mb`: does `m` mean minutes or metres? Write units out: `_seconds`, `_bytes` (promlint: unit abbreviations).
    """
    return _naming_findings(inputs, naming.UNIT_ABBREVIATED)


@check("metric-base-unit", "error")
def metric_base_unit(inputs: Inputs) -> Iterator[Problem]:
    """A metric in a unit other than a base unit.

    A query that mixes milliseconds and seconds is wrong by a factor of a thousand. Prometheus' convention is base units: seconds, bytes, metres,
    grams, joules, volts, amperes (promlint: base units). Convert in the service; Grafana picks a readable unit for display.
    """
    return _naming_findings(inputs, naming.BASE_UNIT)


@check("metric-cardinality", "error")
def metric_cardinality(inputs: Inputs) -> Iterator[Problem]:
    """A metric that may have more series than its budget.

    The number of series per instance is the product of the sizes of its labels, for a histogram times its buckets; each series costs memory in the
    service and in Prometheus. Drop a label, lower a bound, use fewer buckets, or waive the finding with the reason why so many never occur. The
    budget is `Catalog(budget=Budget(metric=...))`.
    """
    limit = inputs.bundle.catalog.budget.metric
    for metric in inputs.bundle.catalog:
        if metric.cardinality > limit:
            yield _metric_problem(
                inputs, metric, f"may have {metric.cardinality} series per instance, its budget is {limit}", "fewer labels, values or buckets"
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
        largest = max(catalog, key=lambda metric: metric.cardinality)
        cure = f"start with {largest.name}: {largest.cardinality}"
        yield Problem(f"catalog {catalog.name}", f"may have {total} series per instance, its budget is {catalog.budget.total}", cure, catalog.name)


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
            yield Problem(f"catalog {inputs.bundle.catalog.name}", "is an unused threshold", "use it or remove it", threshold.name)
