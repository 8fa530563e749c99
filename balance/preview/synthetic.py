"""Synthetic samples for previews: a service over some hours, with a daily wave and an incident, the same on every machine.

Theory. Each series has its own random generator, seeded with its name and labels, so a new metric changes no other. Counters add up a rate,
gauges follow a level, histograms count a log-normal distribution. All follow the wave, and deviate in the incident as their `Shape` says. A
metric without a shape in the bundle's `Samples` gets a default one by its kind and unit.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product

from balance.catalog import standard
from balance.catalog.model import INFO, STATE, Counter, Histogram, Label, Metric, StateSet
from balance.monitoring.alerts import Alert
from balance.monitoring.bundle import Bundle
from balance.monitoring.samples import Samples, Shape
from balance.monitoring.settings import Settings
from balance.preview.curves import Span
from balance.promql.ast import OverTime
from balance.promql.evaluate import STALE, Database, Labels, Series, evaluate, without_name
from balance.promql.selectors import Expr
from balance.promql.text import Scope, quoted

SPAN = Span(1768467600, 1768489200, 120)
"""Six hours of 2026-01-15, 09:00 to 15:00 UTC."""
LEAD, SCRAPE = 7200, 30
"""Seconds of samples before the span, and seconds between samples."""
INCIDENT = (SPAN.start + 13500, SPAN.start + 16200)
"""Start and end of the incident, in seconds since 1970."""

_STANDARD: dict[Metric, Shape] = {
    standard.PROCESS_CPU: Shape(0.42, during=1.5),
    standard.PROCESS_RESIDENT: Shape(131 * 2**20, wave=0.08, noise=0.01, during=1.25),
    standard.PROCESS_VIRTUAL: Shape(420 * 2**20, wave=0.02, noise=0),
    standard.PROCESS_START: Shape(since=15 * 86400),
    standard.PROCESS_OPEN_FDS: Shape(4600, during=1.5),
    standard.PROCESS_MAX_FDS: Shape(65536, wave=0, noise=0),
    standard.PYTHON_TASKS: Shape(4100, during=1.6),
    standard.PYTHON_GC_COLLECTIONS: Shape(1.6, {"generation": {"0": 0.9, "1": 0.09, "2": 0.01}}),
    standard.UP: Shape(1, wave=0, noise=0),
}
"""Shapes of the metrics that any service may have."""


def database(bundle: Bundle, settings: Settings) -> Database:
    """Samples of every queried metric and recorded series, and of ``ALERTS`` for the alerts that fire over them."""
    exprs = tuple(_expressions(bundle))
    metrics = {metric.name: metric for expr in exprs for metric in expr.metrics() if metric is not standard.ALERTS}
    series = (one for _, metric in sorted(metrics.items()) for one in _series(metric, settings.job, bundle.samples or Samples()))
    scope = Scope(f"job={quoted(settings.job)}", "", settings.thresholds, settings.keep, f"job={quoted(settings.job)}")
    made = Database(series, scope, (3, 0))
    stored = {node.series.record: node for expr in exprs for node in expr.walk() if isinstance(node, OverTime)}
    for record, node in sorted(stored.items()):
        made.by_name[record] = list(_recorded_series(node, made))
    made.by_name[standard.ALERTS.name] = [series for alert in bundle.alerts for series in _alert_series(alert, made, settings.job)]
    return made


def _expressions(bundle: Bundle) -> Iterator[Expr]:
    """The expressions of panels, rules and annotations."""
    yield from (expr for _, expr in bundle.expressions())
    yield from (annotation.expr for dashboard in bundle.dashboards for annotation in dashboard.annotations)


def _alert_series(alert: Alert, made: Database, job: str) -> Iterator[Series]:
    """The ``ALERTS`` series of an alert: it fires once its condition has held for its ``for``."""
    since: dict[Labels, int] = {}
    firing: dict[Labels, list[tuple[float, float | None]]] = {}
    for at in SPAN.times:
        held = {without_name(labels) for labels in evaluate(alert.condition.whole, made, at)}
        since = {labels: since.get(labels, at) for labels in held}
        for labels in held | firing.keys():
            fires = labels in since and at - since[labels] >= alert.wait
            if fires or labels in firing:
                firing.setdefault(labels, []).append((at, 1.0 if fires else STALE))
    fixed = {"alertname": alert.name, "alertstate": "firing", "severity": alert.severity}
    for labels, samples in firing.items():
        yield Series(standard.ALERTS.name, {"job": job, **dict(labels), **fixed}, samples)


def _recorded_series(node: OverTime, made: Database) -> Iterator[Series]:
    """A recorded series, one sample every five minutes. Before the raw samples begin it has the mean of their first hour."""
    moments = range(SPAN.start - 3600, SPAN.end + 1, 300)
    found: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    for at in moments:
        for labels, value in evaluate(node.series, made, at).items():
            found.setdefault(labels, []).append((at, value))
    for labels, samples in found.items():
        calm = math.fsum(value for _, value in samples[:12]) / len(samples[:12])
        before = ((float(at), calm) for at in range(moments.start - node.window.seconds, moments.start, 300))
        pairs = {name: value for name, value in labels if name != "__name__"}
        yield Series(node.series.record, pairs, (*before, *samples))


def _series(metric: Metric, job: str, samples: Samples) -> Iterator[Series]:
    shape = samples.shapes.get(metric) or _STANDARD.get(metric) or _default_shape(metric)
    for values in product(*(_shares(label, shape, samples) for label in metric.labels)):
        labels = {label.name: value for label, (value, _) in zip(metric.labels, values, strict=True)}
        if labels.get("from", "") == labels.get("to"):
            continue
        share = math.prod(share for _, share in values)
        factor = shape.during * math.prod(shape.values.get(value, 1) for value in labels.values())
        for instance in samples.instances or (f"{job}-1", f"{job}-2"):
            everything = {**labels, "job": job, "instance": instance}
            yield from _metric_series(metric, everything, replace(shape, level=shape.level * share, during=factor), samples.victim)


def _shares(label: Label, shape: Shape, samples: Samples) -> list[tuple[str, float]]:
    """The values of a label, and the share of each in the level of a metric."""
    if label.name in shape.shares:
        return list(shape.shares[label.name].items())
    names = samples.values.get(label.name) or label.values[:3] or (f"{label.name}-1", f"{label.name}-2")
    return [(name, 1.0 if not shape.shares and shape.wave == 0 else 1 / len(names)) for name in names]


def _default_shape(metric: Metric) -> Shape:
    if isinstance(metric, Counter):
        return Shape(2)
    if isinstance(metric, Histogram):
        return Shape(20, median=metric.buckets[len(metric.buckets) // 3], spread=1)
    return Shape(1 if metric.unit in (STATE, INFO) else 50, wave=0 if metric.unit in (STATE, INFO) else 0.35, noise=0.03)


def _metric_series(metric: Metric, labels: Mapping[str, str], shape: Shape, victim: str) -> Iterator[Series]:
    times = range(SPAN.start - LEAD, SPAN.end + 1, SCRAPE)
    levels = list(_levels(metric, labels, shape, times))
    if isinstance(metric, Histogram):
        yield from _histogram(metric, labels, shape, times, levels)
    elif isinstance(metric, Counter):
        yield Series(metric.name, labels, zip(times, _running_total(levels), strict=True))
    elif isinstance(metric, StateSet):
        failing = victim in labels.values()
        for place, state in enumerate(metric.states):
            held = (1.0 if (place == (1 if failing and INCIDENT[0] <= at < INCIDENT[1] else 0)) else 0.0 for at in times)
            yield Series(metric.name, {**labels, metric.state_label: state}, zip(times, held, strict=True))
    elif shape.since is not None:
        yield Series(metric.name, labels, ((at, _timestamp(shape.since, at)) for at in times))
    else:
        whole = not dict(metric.unit.powers).get("seconds") and shape.level >= 1
        yield Series(metric.name, labels, ((at, float(round(level)) if whole else level) for at, level in zip(times, levels, strict=True)))


def _timestamp(since: float, at: int) -> float:
    """A timestamp `since` seconds before the end of the span, and three hours earlier before that time. Less than a minute counts from `at`."""
    if 0 < since < 60:
        return at - since
    moment = SPAN.end - since
    return moment if at >= moment else moment - 10800


def _levels(metric: Metric, labels: Mapping[str, str], shape: Shape, times: range) -> Iterator[float]:
    drawn = random.Random(zlib.crc32(repr((metric.name, sorted(labels.items()))).encode()))  # noqa: S311 (a picture)
    unrest, own = 0.0, 1 + 0.08 * (2 * drawn.random() - 1) * (shape.noise > 0)
    for at in times:
        wave = 1 + shape.wave * math.sin(2 * math.pi * (at % 86400 / 86400 - 0.36))
        unrest = 0.94 * unrest + 0.34 * shape.noise * drawn.gauss(0, 1)
        yield max(0.0, shape.level * own * wave * (1 + unrest) * (1 + (shape.during - 1) * _incident_depth(at, sudden=not shape.noise)))


def _incident_depth(at: int, *, sudden: bool) -> float:
    """The intensity of the incident from 0 to 1; it rises and falls within minutes unless `sudden`."""
    if not INCIDENT[0] <= at < INCIDENT[1]:
        return 0.0
    return 1.0 if sudden else min(1.0, (at - INCIDENT[0]) / 240 + 0.1, (INCIDENT[1] - at) / 600)


def _running_total(levels: Iterable[float]) -> Iterator[float]:
    total = 0.0
    for level in levels:
        total += level * SCRAPE
        yield total


def _histogram(metric: Histogram, labels: Mapping[str, str], shape: Shape, times: range, levels: list[float]) -> Iterator[Series]:
    bounds = (*metric.buckets, math.inf)
    rows: list[list[float]] = [[] for _ in bounds]
    totals = [0.0] * len(bounds)
    for at, level in zip(times, levels, strict=True):
        median = shape.median * (1 + (shape.slower - 1) * _incident_depth(at, sudden=False)) * (1 + 0.1 * math.sin(at / 900))
        for place, bound in enumerate(bounds):
            below = 1.0 if bound == math.inf else 0.5 * math.erfc(-math.log(bound / median) / (shape.spread * math.sqrt(2)))
            totals[place] += level * SCRAPE * below
            rows[place].append(totals[place])
    for bound, row in zip(bounds, rows, strict=True):
        text = "+Inf" if bound == math.inf else f"{bound:g}" if bound % 1 else f"{bound:.1f}"
        yield Series(f"{metric.name}_bucket", {**labels, "le": text}, zip(times, row, strict=True))
    yield Series(f"{metric.name}_count", labels, zip(times, rows[-1], strict=True))
    middle = shape.median * math.exp(shape.spread**2 / 2)
    yield Series(f"{metric.name}_sum", labels, ((at, value * middle) for at, value in zip(times, rows[-1], strict=True)))
