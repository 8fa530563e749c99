"""Synthetic behaviour of the metrics of a service on a day with an incident, for previews without a Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from balance.catalog.model import Metric


@dataclass(frozen=True)
class Shape:
    """The behaviour of a metric.

    `level`: rate per second of a counter or histogram, or value of a gauge, of each instance. `shares`: shares of the level by label and label
    value. `during`: factor of the level in the incident; `values`: the same for series with that label value. `wave`: share that follows the
    time of day; `noise`: relative noise. For histograms, `median` and `spread` (log-normal), and `slower`: factor of the median in the incident.
    `since`: the gauge is a time, that many seconds before (negative: after) the end of the shown span.
    """

    level: float = 1.0
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    during: float = 1.0
    values: Mapping[str, float] = field(default_factory=dict)
    wave: float = 0.35
    noise: float = 0.06
    median: float = 0.0
    spread: float = 1.0
    slower: float = 1.0
    since: float | None = None


@dataclass(frozen=True)
class Samples:
    """Synthetic data of a service: the `shapes` of its metrics (default: by kind and unit), `values` by label name, and the names of its
    `instances` (default: two, named after the job). `victim` is the label value that fails in the incident.
    """

    shapes: Mapping[Metric, Shape] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    instances: tuple[str, ...] = ()
    victim: str = ""
