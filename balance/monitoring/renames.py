"""Recording rules for renamed metrics, while both names are in use."""

from __future__ import annotations

from collections.abc import Iterator

from balance.catalog.model import Histogram, Metric
from balance.catalog.registry import Catalog
from balance.monitoring.alerts import RecordingRule
from balance.promql.ast import RenamedSeries
from balance.promql.selectors import Selector


def bridges(catalog: Catalog) -> tuple[RecordingRule, ...]:
    """Recording rules that store each series of a renamed metric under one name, whichever name an instance exposes.

    That name has the whole history: before the rename, of instances that are not upgraded yet, and after the removal of the former name.
    """
    return tuple(rule for metric in catalog if metric.renamed_from for rule in _bridges(metric))


def _bridges(metric: Metric) -> Iterator[RecordingRule]:
    for suffix in ("_bucket", "_count", "_sum") if isinstance(metric, Histogram) else ("",):
        expr = RenamedSeries(Selector(metric, suffix=suffix))
        labels = sorted(expr.labels | ({"le"} if suffix == "_bucket" else set()))
        yield RecordingRule(f"{'_'.join(labels)}:{metric.name}{suffix}:bridge", expr)
