"""The catalog as JSON, for programs in other languages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from balance.catalog.model import Histogram, Label, Metric, StateSet, Threshold, scrape_type
from balance.catalog.registry import Catalog
from balance.monitoring.settings import Settings
from balance.monitoring.slo import Slo


def catalog_json(catalog: Catalog, settings: Settings, slos: Iterable[Slo] = ()) -> str:
    """The catalog's metrics, thresholds (with their values under the settings) and objectives as JSON text."""
    document = {
        "name": catalog.name,
        "version": catalog.version,
        "metrics": [_metric(metric) for metric in catalog.metrics],
        "external": [_metric(metric) for metric in catalog.external],
        "thresholds": [_threshold(threshold, settings) for threshold in catalog.thresholds],
        "objectives": [{"name": slo.name, "objective": str(slo.objective), "days": slo.days} for slo in slos],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _metric(metric: Metric) -> dict[str, Any]:
    labels = [_label(label) for label in metric.labels]
    if isinstance(metric, StateSet):
        labels.append(_label(metric.label(metric.state_label)))
    model = {
        "name": metric.name,
        "kind": metric.kind,
        "type": scrape_type(metric),
        "help": metric.help,
        "unit": str(metric.unit),
        "labels": labels,
        "series": list(metric.samples),
        "max_series": metric.cardinality,
        "merge": metric.merge.value,
    }
    if isinstance(metric, Histogram):
        model["buckets"] = list(metric.buckets)
    chosen = ("stability", "renamed_from", "deprecated_since", "remove_after")
    model |= {name: value for name in chosen if (value := getattr(metric, name)) not in ("", "stable")}
    return model


def _label(label: Label) -> dict[str, Any]:
    closed = {"values": list(label.values)} if label.values else {"bound": label.bound}
    return {"name": label.name, "help": label.help, **closed}


def _threshold(threshold: Threshold, settings: Settings) -> dict[str, Any]:
    return {
        "name": threshold.name,
        "value": settings.value(threshold),
        "unit": str(threshold.unit),
        "fixed": threshold.fixed,
        "reason": threshold.reason,
    }
