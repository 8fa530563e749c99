"""How the metrics of a service behave on a day with an incident, for previews without a Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from balance.catalog.model import Metric


@dataclass(frozen=True)
class Shape:
    """How a metric behaves: `level` is the rate of a counter or a histogram, or the value of a gauge, of each instance. `shares` split it by
    the values of labels. `during` is what the level is multiplied by in the incident, `values` the same for series with that label value.
    `wave` is how much of it follows the time of day, `noise` its unrest. `median` and `slower` are of a histogram; `since` says that a
    gauge holds a moment: so many seconds before the span's end, or after it.
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
    """What previews show of a service: the `shapes` of its metrics (others get one by kind and unit), `values` of labels by the label's name,
    and the names of its `instances` (default: two, named after the job). `victim` is the label value that fails in the incident.
    """

    shapes: Mapping[Metric, Shape] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    instances: tuple[str, ...] = ()
    victim: str = ""
