"""Samples for pictures: a load balancer over some hours, with its daily wave and an incident, the same on every machine.

Theory. Each series draws from a generator of its own, seeded with its name and labels, so that a metric more changes no other. A counter adds up a
rate, a gauge follows a level, a histogram counts a log-normal distribution; all follow the wave, and leave it in the incident as their `Shape`
says. A metric without a shape gets a plain one by its kind and unit.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from balance.catalog import metrics as m
from balance.catalog.model import INFO, STATE, Counter, Histogram, Label, Metric, StateSet
from balance.monitoring.alerts import Alert
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.preview.curves import Span
from balance.promql.ast import OverTime
from balance.promql.evaluate import STALE, Database, Labels, Series, evaluate, unnamed
from balance.promql.selectors import Expr
from balance.promql.text import Scope, quoted
from balance.record import Record

SPAN = Span(1768467600, 1768489200, 120)
"""Six hours of a winter's day, 09:00 to 15:00 UTC."""
LEAD, SCRAPE = 7200, 30
"""Seconds of samples before the span, and between two of them."""
INCIDENT = (SPAN.start + 13500, SPAN.start + 16200)
INSTANCES = ("lb-1:9090", "lb-2:9090")
VICTIM = "api-3"
_NAMES = {"backend": ("api-1", "api-2", VICTIM, "api-4"), "pool": ("api",), "worker": ("0", "1"), "certificate": ("www.example.com",)}


class Shape(Record):
    """How a metric behaves: `level` is the rate of a counter or a histogram, or the value of a gauge, of each instance. `shares` split it by
    the values of labels. `during` is what the level is multiplied by in the incident, `values` the same for series with that label value.
    `wave` is how much of it follows the time of day, `noise` its unrest. `median` and `slower` are of a histogram; `since` says that a
    gauge holds a moment: so many seconds before the span's end, or after it.
    """

    level: float = 1.0
    shares: Mapping[str, Mapping[str, float]] = {}
    during: float = 1.0
    values: Mapping[str, float] = {}
    wave: float = 0.35
    noise: float = 0.06
    median: float = 0.0
    spread: float = 1.0
    slower: float = 1.0
    since: float | None = None


_STATUS = {"200": 0.9595, "204": 0.02, "404": 0.017, "429": 0.003, "500": 0.0001, "502": 0.0002, "503": 0.0002}
_METHODS = {"GET": 0.8, "POST": 0.2}
_TROUBLE = {"502": 120.0, "503": 60.0, "500": 8.0}
_CLASS = {"2xx": 0.98, "4xx": 0.0194, "5xx": 0.0006, "none": 0.0002}

SHAPES: dict[Metric, Shape] = {
    m.HTTP_REQUESTS: Shape(620, {"method": _METHODS, "status": _STATUS}, values=_TROUBLE),
    m.HTTP_REQUEST_DURATION: Shape(620, {"method": _METHODS, "status_class": {"2xx": 1}}, median=0.03, spread=1.0, slower=5),
    m.HTTP_REQUESTS_IN_FLIGHT: Shape(26, during=4),
    m.HTTP_REQUEST_SIZE: Shape(120, median=900, spread=1.4),
    m.HTTP_RESPONSE_SIZE: Shape(620, median=9000, spread=1.5),
    m.PROXY_OVERHEAD: Shape(620, median=0.00012, spread=0.6, slower=1.4),
    m.REQUEST_FAILURES: Shape(
        0.9,
        {"source": {"client": 1}, "reason": {"client_abort": 0.8, "no_route": 0.2}},
    ),
    m.RETRIED: Shape(0.4, {"reason": {"connect_refused": 0.5, "first_byte_timeout": 0.3, "closed_early": 0.2}}, during=60),
    m.RETRY_SUCCESS: Shape(0.38, during=50),
    m.RETRIES_EXHAUSTED: Shape(0.05, {"reason": {"unsafe": 0.6, "attempts": 0.3, "budget": 0.1}}, during=60),
    m.RETRY_BUDGET: Shape(140, during=0.3, noise=0.03),
    m.BACKEND_HEALTHY: Shape(1, values={VICTIM: 0}, wave=0, noise=0),
    m.BACKEND_REQUESTS: Shape(620, {"status_class": _CLASS}, values={VICTIM: 0.02, "5xx": 25, "none": 60}),
    m.BACKEND_RETRIES: Shape(0.4, during=60, values={VICTIM: 0.02}),
    m.BACKEND_CONNECTIONS: Shape(180, values={VICTIM: 0.05}),
    m.UPSTREAM_IDLE: Shape(130, values={VICTIM: 0.0}),
    m.UPSTREAM_CONNECTIONS: Shape(640, {"state": {"opened": 0.01, "reused": 0.98, "closed": 0.01}}, values={VICTIM: 0.02}),
    m.BACKEND_FIRST_BYTE: Shape(620, median=0.022, spread=0.9, slower=3),
    m.BACKEND_CONNECT_DURATION: Shape(7, median=0.0016, spread=0.6, slower=3),
    m.QUEUE_DEPTH: Shape(0.4, during=45, noise=0.5),
    m.QUEUE_DURATION: Shape(2, median=0.004, spread=0.9, slower=20, during=20),
    m.QUEUE_REJECTED: Shape(0.01, during=250),
    m.BACKENDS_AVAILABLE: Shape(4, during=0.75, wave=0, noise=0),
    m.BACKEND_TRANSITIONS: Shape(0.002, {"from": {"available": 0.5, "unhealthy": 0.5}, "to": {"available": 0.5, "unhealthy": 0.5}}, wave=0),
    m.HEALTH_CHECKS: Shape(0.4, {"result": {"passed": 0.999, "failed": 0.001}}, values={"failed": 250}, wave=0, noise=0.01),
    m.HEALTH_CHECK_DURATION: Shape(0.4, median=0.0022, spread=0.4, slower=2, wave=0),
    m.POOL_PANICKING: Shape(0, wave=0, noise=0),
    m.EJECTIONS: Shape(0.0002, during=20),
    m.ACTIVE_CONNECTIONS: Shape(3900, during=1.6),
    m.CONNECTIONS_LIMIT: Shape(10000, wave=0, noise=0),
    m.CONNECTIONS_ACCEPTED: Shape(22, during=1.8),
    m.CONNECTIONS_REJECTED: Shape(0.02, {"reason": {"client_limit": 0.7, "denied": 0.3}}),
    m.CIRCUIT_BREAKER_STATE: Shape(values={VICTIM: 1}, wave=0, noise=0),
    m.CIRCUIT_BREAKER_FAILURES: Shape(0.02, values={VICTIM: 180}),
    m.TLS_NOT_AFTER: Shape(since=-41 * 86400),
    m.TLS_HANDSHAKE_FAILURES: Shape(0.3, {"reason": {"plain_http": 0.5, "no_tls": 0.2, "closed_by_client": 0.3}}),
    m.CONFIG_SUCCESSFUL: Shape(1, wave=0, noise=0),
    m.CONFIG_TIMESTAMP: Shape(since=9000),
    m.DISCOVERY_TIMESTAMP: Shape(since=4),
    m.DISCOVERY_BACKENDS: Shape(4, wave=0, noise=0),
    m.DISCOVERY_LOOKS: Shape(0.033, {"result": {"unchanged": 0.999, "changed": 0.001}}, wave=0, noise=0),
    m.EVENT_LOOP_LAG: Shape(4, median=0.0006, spread=0.9, slower=3, wave=0),
    m.ACCESS_LOG_DROPPED: Shape(0, wave=0, noise=0),
    m.WORKERS: Shape(2, wave=0, noise=0),
    m.WORKERS_CONFIGURED: Shape(2, wave=0, noise=0),
    m.WORKER_RESTARTS: Shape(0, wave=0, noise=0),
    m.WORKER_CONNECTIONS: Shape(3900, during=1.6),
    m.WORKER_IN_FLIGHT: Shape(26, during=4),
    m.WORKER_MEMORY: Shape(118 * 2**20, wave=0.06, noise=0.01),
    m.PROCESS_CPU: Shape(0.42, during=1.5),
    m.PROCESS_RESIDENT: Shape(131 * 2**20, wave=0.08, noise=0.01, during=1.25),
    m.PROCESS_VIRTUAL: Shape(420 * 2**20, wave=0.02, noise=0),
    m.PROCESS_START: Shape(since=15 * 86400),
    m.PROCESS_OPEN_FDS: Shape(4600, during=1.5),
    m.PROCESS_MAX_FDS: Shape(65536, wave=0, noise=0),
    m.PYTHON_TASKS: Shape(4100, during=1.6),
    m.PYTHON_GC_COLLECTIONS: Shape(1.6, {"generation": {"0": 0.9, "1": 0.09, "2": 0.01}}),
    m.TUNNELS_ACTIVE: Shape(340),
    m.TUNNELS: Shape(1.4),
    m.TUNNEL_BYTES: Shape(900_000, {"direction": {"in": 0.2, "out": 0.8}}),
    m.UP: Shape(1, wave=0, noise=0),
}
"""The shapes of balance's own metrics."""


def database(bundle: Bundle, settings: Settings) -> Database:
    """Samples of every metric that is asked for, of what is taken from recording rules, and of the alerts that fire over all this."""
    exprs = tuple(_asked(bundle))
    metrics = {metric.name: metric for expr in exprs for metric in expr.metrics() if metric is not m.ALERTS}
    series = (one for _, metric in sorted(metrics.items()) for one in _series(metric, settings.job))
    scope = Scope(f"job={quoted(settings.job)}", "", settings.thresholds, settings.keep, f"job={quoted(settings.job)}")
    made = Database(series, scope, (3, 0))
    stored = {node.series.record: node for expr in exprs for node in expr.walk() if isinstance(node, OverTime)}
    for record, node in sorted(stored.items()):
        made.by_name[record] = list(_recorded(node, made))
    made.by_name[m.ALERTS.name] = [series for alert in bundle.alerts for series in _fired(alert, made, settings.job)]
    return made


def _asked(bundle: Bundle) -> Iterator[Expr]:
    """What panels, alerts and annotations ask for."""
    yield from (expr for _, expr in bundle.expressions())
    yield from (annotation.expr for dashboard in bundle.dashboards for annotation in dashboard.annotations)


def _fired(alert: Alert, made: Database, job: str) -> Iterator[Series]:
    """When an alert fires over the span: its condition has held for as long as it waits."""
    since: dict[Labels, int] = {}
    firing: dict[Labels, list[tuple[float, float | None]]] = {}
    for at in SPAN.times:
        held = {unnamed(labels) for labels in evaluate(alert.condition.whole, made, at)}
        since = {labels: since.get(labels, at) for labels in held}
        for labels in held | firing.keys():
            fires = labels in since and at - since[labels] >= alert.wait
            if fires or labels in firing:
                firing.setdefault(labels, []).append((at, 1.0 if fires else STALE))
    fixed = {"alertname": alert.name, "alertstate": "firing", "severity": alert.severity}
    for labels, samples in firing.items():
        yield Series(m.ALERTS.name, {"job": job, **dict(labels), **fixed}, samples)


def _recorded(node: OverTime, made: Database) -> Iterator[Series]:
    """What a rule has recorded every five minutes: before there are samples, as in their first hour."""
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


def _series(metric: Metric, job: str) -> Iterator[Series]:
    shape = SHAPES.get(metric) or _plain(metric)
    for values in product(*(_shares(label, shape) for label in metric.labels)):
        labels = {label.name: value for label, (value, _) in zip(metric.labels, values, strict=True)}
        if labels.get("from", "") == labels.get("to"):
            continue
        share = math.prod(share for _, share in values)
        factor = shape.during * math.prod(shape.values.get(value, 1) for value in labels.values())
        for instance in INSTANCES:
            everything = {**labels, "job": job, "instance": instance}
            yield from _made(metric, everything, shape.replace(level=shape.level * share, during=factor))


def _shares(label: Label, shape: Shape) -> list[tuple[str, float]]:
    """The values that a label has, and the share of each in the level of a metric that is split."""
    if label.name in shape.shares:
        return list(shape.shares[label.name].items())
    names = _NAMES.get(label.name) or label.values[:3] or (f"{label.name}-1", f"{label.name}-2")
    return [(name, 1.0 if not shape.shares and shape.wave == 0 else 1 / len(names)) for name in names]


def _plain(metric: Metric) -> Shape:
    if isinstance(metric, Counter):
        return Shape(2)
    if isinstance(metric, Histogram):
        return Shape(20, median=metric.buckets[len(metric.buckets) // 3], spread=1)
    return Shape(1 if metric.unit in (STATE, INFO) else 50, wave=0 if metric.unit in (STATE, INFO) else 0.35, noise=0.03)


def _made(metric: Metric, labels: Mapping[str, str], shape: Shape) -> Iterator[Series]:
    times = range(SPAN.start - LEAD, SPAN.end + 1, SCRAPE)
    levels = list(_levels(metric, labels, shape, times))
    if isinstance(metric, Histogram):
        yield from _histogram(metric, labels, shape, times, levels)
    elif isinstance(metric, Counter):
        yield Series(metric.name, labels, zip(times, _added(levels), strict=True))
    elif isinstance(metric, StateSet):
        victim = VICTIM in labels.values()
        for place, state in enumerate(metric.states):
            held = (1.0 if (place == (1 if victim and INCIDENT[0] <= at < INCIDENT[1] else 0)) else 0.0 for at in times)
            yield Series(metric.name, {**labels, metric.state_label: state}, zip(times, held, strict=True))
    elif shape.since is not None:
        yield Series(metric.name, labels, ((at, _moment(shape.since, at)) for at in times))
    else:
        whole = not dict(metric.unit.powers).get("seconds") and shape.level >= 1
        yield Series(metric.name, labels, ((at, float(round(level)) if whole else level) for at, level in zip(times, levels, strict=True)))


def _moment(since: float, at: int) -> float:
    """A moment some time before the end of the span; one within it was another, three hours earlier, until then. A short distance stays."""
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
        yield max(0.0, shape.level * own * wave * (1 + unrest) * (1 + (shape.during - 1) * _trouble(at, sudden=not shape.noise)))


def _trouble(at: int, *, sudden: bool) -> float:
    """How deep in the incident: it comes and goes within minutes."""
    if not INCIDENT[0] <= at < INCIDENT[1]:
        return 0.0
    return 1.0 if sudden else min(1.0, (at - INCIDENT[0]) / 240 + 0.1, (INCIDENT[1] - at) / 600)


def _added(levels: Iterable[float]) -> Iterator[float]:
    total = 0.0
    for level in levels:
        total += level * SCRAPE
        yield total


def _histogram(metric: Histogram, labels: Mapping[str, str], shape: Shape, times: range, levels: list[float]) -> Iterator[Series]:
    bounds = (*metric.buckets, math.inf)
    rows: list[list[float]] = [[] for _ in bounds]
    totals = [0.0] * len(bounds)
    for at, level in zip(times, levels, strict=True):
        median = shape.median * (1 + (shape.slower - 1) * _trouble(at, sudden=False)) * (1 + 0.1 * math.sin(at / 900))
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
