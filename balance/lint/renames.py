"""Checks of metrics that are on their way out."""

from __future__ import annotations

from collections.abc import Iterator

from balance.catalog.model import version
from balance.errors import Problem
from balance.lint.check import Inputs, check


@check("removal-due", "warning")
def removal_due(inputs: Inputs) -> Iterator[Problem]:
    """A name that was to be shown up to a version of the catalog which has passed.

    Everybody had the time that was promised; the old name costs memory and misleads whoever finds it. Take out `renamed_from`, `deprecated_since`
    and `remove_after`; of a metric that goes without a successor, the whole metric.
    """
    catalog = inputs.bundle.catalog
    for metric in catalog:
        if metric.remove_after and version(metric.remove_after) < version(catalog.version):
            name = metric.renamed_from or metric.name
            problem = f"was to be shown until version {metric.remove_after}, the catalog is at {catalog.version}"
            yield Problem(f"catalog {catalog.name}", problem, f"take {name} out", name)


@check("deprecated-in-use", "error")
def deprecated_in_use(inputs: Inputs) -> Iterator[Problem]:
    """A panel, an alert or a recording rule that asks for a metric which is to go.

    On the day that it goes the panel would be empty and the alert silent. Ask for what takes its place. (Of a renamed metric both names are read,
    and this is not about it.)
    """
    for where, expr in inputs.bundle.expressions():
        for metric in sorted((metric for metric in expr.metrics() if metric.going), key=lambda metric: metric.name):
            yield Problem(where, f"is asked for and is to go after version {metric.remove_after}", "ask for what takes its place", metric.name)
