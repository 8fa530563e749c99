"""Which panels a service starts with, by the names and types of its metrics: rate, errors, duration; saturation and use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from balance.catalog.model import BYTES, INFO, RATIO, SECONDS, Counter, Gauge, Histogram, Label, Metric
from balance.live.adopt import CLASSES, CODE, RUNTIME

_MAX_PANELS = 6
"""Per kind and row: a start, not an inventory."""
_ERRORS = re.compile(r".*(error|fail|reject|drop|timeout|abort|panic|exception|retr(y|ies)).*")
_WAITING = re.compile(
    r".*(queue|pending|waiting|backlog|in_flight|inflight|in_progress|active|connections|depth|lag|utili[sz]ation|saturation|usage).*"
)
_MAIN = re.compile(r".*(http|grpc|rpc|request|job|task|message|quer).*")
_TASKS = re.compile(r".*(goroutines|threads|tasks).*")
_LIMITS = (("_open_", "_max_"), ("_used", "_max"), ("", "_limit"), ("", "_max"), ("", "_capacity"), ("_used", "_limit"), ("_active", "_max"))
"""How the name of a gauge and that of its limit differ; a part that ends in ``_`` is anywhere in the name, others are at its end."""


@dataclass(frozen=True)
class StarterPanel:
    """A panel of a kind. ``error_ratio``, ``latency`` and ``saturation`` come with a condition, a threshold and an alert.

    `status` is the label of an error ratio, `limit` the gauge that `metric` is compared with.
    """

    kind: Literal["rate", "value", "quantile", "error_ratio", "latency", "saturation"]
    metric: Metric
    status: Label | None = None
    limit: Metric | None = None


def choose(metrics: Sequence[Metric]) -> dict[str, list[StarterPanel]]:
    """The panels of each row; metrics of requests and the like come first. A row may be empty."""
    ranked = sorted(metrics, key=lambda metric: not _MAIN.fullmatch(metric.name))
    own = [metric for metric in ranked if not RUNTIME.fullmatch(metric.name)]
    counters = [metric for metric in own if isinstance(metric, Counter)]
    errors = [metric for metric in counters if _ERRORS.fullmatch(metric.name)]
    saturation = _saturation([metric for metric in metrics if isinstance(metric, Gauge)])
    compared = {metric for panel in saturation for metric in (panel.metric, panel.limit)}
    gauges = [metric for metric in own if _plottable(metric) and metric not in compared]
    waiting = [metric for metric in gauges if _WAITING.fullmatch(metric.name)]
    return {
        "Rate": _panels("rate", [metric for metric in counters if metric not in errors]),
        "Errors": [*_error_ratio(counters), *_panels("rate", errors)],
        "Duration": _duration([metric for metric in own if isinstance(metric, Histogram)]),
        "Saturation": [*saturation, *_panels("value", waiting)],
        "Use": _use([metric for metric in ranked if metric not in own], [metric for metric in gauges if metric not in waiting]),
    }


def _panels(kind: Literal["rate", "value", "quantile"], metrics: Sequence[Metric], most: int = _MAX_PANELS) -> list[StarterPanel]:
    return [StarterPanel(kind, metric) for metric in metrics[:most]]


def _plottable(metric: Metric) -> bool:
    return isinstance(metric, Gauge) and metric.unit != INFO and not metric.name.endswith("timestamp_seconds")


def _error_ratio(counters: Iterable[Metric]) -> list[StarterPanel]:
    """The share of errors of the first counter that has a label for the status."""
    found = (
        StarterPanel("error_ratio", metric, status=label)
        for metric in counters
        for label in metric.labels
        if label.pattern == CODE or label.values == CLASSES
    )
    return [panel for panel in [next(found, None)] if panel]


def _duration(histograms: Sequence[Histogram]) -> list[StarterPanel]:
    """The latency by the first histogram of seconds with at least two buckets, then the other histograms."""
    main = next((metric for metric in histograms if metric.unit == SECONDS and metric.buckets[1:]), None)
    others = _panels("quantile", [metric for metric in histograms if metric is not main], _MAX_PANELS - 1)
    return [*([StarterPanel("latency", main)] if main else []), *others]


def _saturation(gauges: Iterable[Gauge]) -> list[StarterPanel]:
    """Gauges over their limits, where the names say which limit belongs to which gauge."""
    named = {metric.name: metric for metric in gauges}
    pairs: dict[str, str] = {}
    for limit in named:
        for used_mark, limit_mark in _LIMITS:
            within = limit_mark.endswith("_") and limit_mark in limit
            if within or limit.endswith(limit_mark):
                used = limit.replace(limit_mark, used_mark, 1) if within else limit.removesuffix(limit_mark) + used_mark
                if used in named and used != limit:
                    pairs.setdefault(used, limit)
    found = [(named[used], named[limit]) for used, limit in list(pairs.items())[:_MAX_PANELS]]
    return [
        StarterPanel("saturation", used, limit=limit)
        for used, limit in found
        if not (used.label_names or limit.label_names) and limit.unit == used.unit and limit.unit != RATIO
    ]


def _use(runtime: Sequence[Metric], gauges: Sequence[Metric]) -> list[StarterPanel]:
    """Processor time, memory and tasks of the runtime, and the other gauges."""
    cpu = [metric for metric in runtime if isinstance(metric, Counter) and "cpu" in metric.name]
    memory = [metric for metric in runtime if isinstance(metric, Gauge) and metric.unit == BYTES]
    tasks = [metric for metric in runtime if isinstance(metric, Gauge) and _TASKS.fullmatch(metric.name)]
    return [*_panels("rate", cpu), *_panels("value", [*memory[:2], *tasks[:1], *gauges])]
