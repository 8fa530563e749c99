"""Metrics that have got another name: what bridges the time in which both are in use."""

from __future__ import annotations

from collections.abc import Iterator

from balance.catalog.model import Histogram, Metric
from balance.catalog.registry import Catalog
from balance.monitoring.alerts import RecordingRule
from balance.promql.ast import RenamedSeries
from balance.promql.selectors import Selector


def bridges(catalog: Catalog) -> tuple[RecordingRule, ...]:
    """For each series of a renamed metric a recording rule that stores it under one name, whichever name an instance shows it by.

    So one name has the whole history: from before the rename, of instances that are not upgraded yet, and after the old name is gone.
    """
    return tuple(rule for metric in catalog if metric.renamed_from for rule in _bridges(metric))


def _bridges(metric: Metric) -> Iterator[RecordingRule]:
    for suffix in ("_bucket", "_count", "_sum") if isinstance(metric, Histogram) else ("",):
        expr = RenamedSeries(Selector(metric, suffix=suffix))
        labels = sorted(expr.labels | ({"le"} if suffix == "_bucket" else set()))
        yield RecordingRule(f"{'_'.join(labels)}:{metric.name}{suffix}:bridge", expr)
