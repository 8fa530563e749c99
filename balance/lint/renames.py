"""Checks of deprecated metrics."""

from __future__ import annotations

from collections.abc import Iterator

from balance.catalog.model import version
from balance.errors import Problem
from balance.lint.check import Inputs, check


@check("removal-due", "warning")
def removal_due(inputs: Inputs) -> Iterator[Problem]:
    """A deprecated name whose last version has passed.

    The announced time is over; the old name costs memory and misleads whoever finds it. Remove `renamed_from`, `deprecated_since` and
    `remove_after`; if the metric has no successor, remove the whole metric.
    """
    catalog = inputs.bundle.catalog
    for metric in catalog:
        if metric.remove_after and version(metric.remove_after) < version(catalog.version):
            name = metric.renamed_from or metric.name
            problem = f"was to be kept up to version {metric.remove_after}, and the catalog is at {catalog.version}"
            yield Problem(f"catalog {catalog.name}", problem, f"remove {name}", name)


@check("deprecated-in-use", "error")
def deprecated_in_use(inputs: Inputs) -> Iterator[Problem]:
    """A panel, alert or recording rule that uses a metric that will be removed.

    When the metric is removed, the panel becomes empty and the alert silent. Use its replacement. (Of a renamed metric both names are read, so
    renames are not reported here.)
    """
    for where, expr in inputs.bundle.expressions():
        for metric in sorted((metric for metric in expr.metrics() if metric.to_be_removed), key=lambda metric: metric.name):
            yield Problem(where, f"is in use and will be removed after version {metric.remove_after}", "use its replacement", metric.name)
