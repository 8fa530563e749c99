"""The metrics that the data plane updates, looked up once, so that a request only costs additions.

Theory. A request updates about thirty numbers, scattered over memory. So it only adds two entries to a journal, one for its attempt and one
for the response to the client, and the entries are counted `BATCH` at a time, at every tick of the clock and before each scrape: the
result is the same, but the numbers stay in the processor's cache.
"""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_left
from collections.abc import Callable

from balance.catalog.model import Counter
from balance.instruments import CounterChild, HistogramChild, Instruments
from balance.lb.catalog import metrics
from balance.lb.config import Config
from balance.lb.policy.faults import Fault
from balance.lb.policy.outlier import EjectionReason
from balance.lb.policy.retry import Decision

BATCH = 128
"""Entries that are counted at a time: well below a tenth of a millisecond of work."""
Answer = tuple[str, int, float, int, int, float, str]
"""A response to a client: method, status, duration in seconds, bytes of the request's and the response's body, the load balancer's overhead in
seconds (negative if no backend responded), trace id (or "")."""
Attempt = tuple["BackendMeters", int, float | None]
"""An attempt at a backend: its meters, the status of the response (0 for none), and the seconds until its first byte."""
_FRESH_STATUSES = (200, 400, 404, 502, 503, 504)


class Meters:
    """Metrics of clients and their requests. The first scrape shows all of them, at zero."""

    def __init__(self, instruments: Instruments, config: Config) -> None:
        self._instruments = instruments
        self.answers: list[Answer] = []
        self.attempts: list[Attempt] = []
        """the journal; code that adds to `answers` calls `count` when there is a batch"""
        instruments.before_snapshot = self.count
        self._answers: dict[tuple[str, int], tuple[CounterChild, HistogramChild]] = {}
        for status in _FRESH_STATUSES:
            instruments.counter(metrics.HTTP_REQUESTS, method="GET", status=str(status))
        self._resolve("GET", 200)
        self.request_size = instruments.histogram(metrics.HTTP_REQUEST_SIZE)
        self._without_body = self.request_size.counts
        self.response_size = instruments.histogram(metrics.HTTP_RESPONSE_SIZE)
        self.overhead = instruments.histogram(metrics.PROXY_OVERHEAD)
        self.dropped = instruments.counter(metrics.ACCESS_LOG_DROPPED)
        self.retried = {Fault(reason): instruments.counter(metrics.RETRIED, reason=reason) for reason in metrics.RETRY_REASON.values}
        self.exhausted = {Decision(reason): instruments.counter(metrics.RETRIES_EXHAUSTED, reason=reason) for reason in metrics.RETRY_END_REASONS}
        self.retry_success = instruments.counter(metrics.RETRY_SUCCESS)
        self.active = instruments.gauge(metrics.ACTIVE_CONNECTIONS)
        self.accepted = instruments.counter(metrics.CONNECTIONS_ACCEPTED)
        self.tunnels = instruments.counter(metrics.TUNNELS)
        self.tunnel_in = instruments.counter(metrics.TUNNEL_BYTES, direction="in")
        self.tunnel_out = instruments.counter(metrics.TUNNEL_BYTES, direction="out")
        self._failures = {
            Fault(reason): instruments.counter(metrics.REQUEST_FAILURES, source=source, reason=reason)
            for source, reasons in metrics.FAILURE_REASONS.items()
            for reason in reasons
        }
        self._rejected = {reason: instruments.counter(metrics.CONNECTIONS_REJECTED, reason=reason) for reason in metrics.REJECTIONS}
        self.limit = instruments.gauge(metrics.CONNECTIONS_LIMIT)
        if config.tls:
            for reason in metrics.HANDSHAKE_FAILURES:
                instruments.counter(metrics.TLS_HANDSHAKE_FAILURES, reason=reason)

    def rejected(self, reason: str) -> None:
        """Count a rejected connection."""
        self._rejected[reason].value += 1

    def panicking(self, pool: str, panicking: bool) -> None:
        """Set whether the health of a pool's backends is ignored."""
        self._instruments.gauge(metrics.POOL_PANICKING, pool=pool).set(float(panicking))

    def handshake_failed(self, reason: str) -> None:
        """Count a failed TLS handshake with a client."""
        self._instruments.counter(metrics.TLS_HANDSHAKE_FAILURES, reason=reason).value += 1

    def count(self) -> None:
        """Count and clear the journal."""
        answers, attempts, self.answers, self.attempts = self.answers, self.attempts, [], []
        for backend, status, first_byte in attempts:
            backend.attempted(status, first_byte)
        sizes, own = self.response_size, self.overhead
        for method, status, seconds, received, sent, overhead, trace in answers:
            requests, duration = self._answers.get((method, status)) or self._resolve(method, status)
            requests.value += 1
            index = bisect_left(duration.bounds, seconds)
            duration.counts[index] += 1  # `observe` without the call
            duration.total += seconds
            if trace:
                duration.exemplify(index, seconds, trace)
            if overhead >= 0:
                own.counts[bisect_left(own.bounds, overhead)] += 1
                own.total += overhead
            if received:
                self.request_size.observe(received)
            else:
                self._without_body[0] += 1
            sizes.counts[bisect_left(sizes.bounds, sent)] += 1
            sizes.total += sent

    def switched(self, method: str) -> None:
        """Count a 101 response; the tunnel that follows has neither size nor duration."""
        self._instruments.counter(metrics.HTTP_REQUESTS, method=method, status="101").value += 1
        self.tunnels.value += 1

    def failed(self, fault: Fault) -> None:
        """Count a failed request."""
        self._failures[fault].value += 1

    def _resolve(self, method: str, status: int) -> tuple[CounterChild, HistogramChild]:
        counter = self._instruments.counter(metrics.HTTP_REQUESTS, method=method, status=str(status))
        histogram = self._instruments.histogram(metrics.HTTP_REQUEST_DURATION, method=method, status_class=f"{status // 100}xx")
        answer = self._answers[method, status] = counter, histogram
        return answer


class DisabledMeters(Meters):
    """Meters for metrics that are switched off: nothing is counted per request."""

    def count(self) -> None:
        """Clear the journal without counting."""
        self.answers.clear()
        self.attempts.clear()


class BackendMeters:
    """Metrics of a backend, and those of its pool that it updates: histograms per backend would be too much with a thousand backends."""

    def __init__(self, instruments: Instruments, name: str, pool: str) -> None:
        self._instruments, self._name = instruments, name
        self.join(pool)
        self.healthy = instruments.gauge(metrics.BACKEND_HEALTHY, backend=name)
        self.connections = instruments.gauge(metrics.BACKEND_CONNECTIONS, backend=name)
        self.retries = instruments.counter(metrics.BACKEND_RETRIES, backend=name)
        self.breaker = instruments.states(metrics.CIRCUIT_BREAKER_STATE, backend=name)
        self.failures = instruments.counter(metrics.CIRCUIT_BREAKER_FAILURES, backend=name)
        self.ejections = {reason: instruments.counter(metrics.EJECTIONS, backend=name, reason=reason.value) for reason in EjectionReason}
        self.first_byte = instruments.histogram(metrics.BACKEND_FIRST_BYTE, backend=name)
        self.opened, self.reused, self.closed = (
            instruments.counter(metrics.UPSTREAM_CONNECTIONS, backend=name, state=word) for word in metrics.UPSTREAM_STATES
        )
        self._passed, self._failed = (instruments.counter(metrics.HEALTH_CHECKS, backend=name, result=word) for word in metrics.CHECK_RESULT.values)
        for state in metrics.BACKEND_STATES[1:]:
            self._transition("available", state)
            self._transition(state, "available")
        self._outcomes: dict[int, CounterChild] = {}
        for status in (200, 500, 0):
            self._resolve(status // 100)

    def join(self, pool: str) -> None:
        """Use the metrics of this pool from now on."""
        self.connect = self._instruments.histogram(metrics.BACKEND_CONNECT_DURATION, pool=pool)
        self._check_duration = self._instruments.histogram(metrics.HEALTH_CHECK_DURATION, pool=pool)

    def attempted(self, status: int, first_byte: float | None) -> None:
        """Count an attempt: status of the response, 0 for none; seconds until its first byte, if any."""
        (self._outcomes.get(status // 100) or self._resolve(status // 100)).value += 1
        if first_byte is not None:
            histogram = self.first_byte
            histogram.counts[bisect_left(histogram.bounds, first_byte)] += 1
            histogram.total += first_byte

    def checked(self, seconds: float, *, passed: bool) -> None:
        """Count an active health check that took `seconds`."""
        (self._passed if passed else self._failed).value += 1
        self._check_duration.observe(seconds)

    def moved(self, before: str, after: str) -> None:
        """Count a transition of the backend between two states."""
        self._transition(before, after).value += 1

    def idle(self, read: Callable[[], float]) -> None:
        """Read the number of idle connections at each scrape."""
        self._instruments.computed(metrics.UPSTREAM_IDLE, read, backend=self._name)

    def _transition(self, before: str, after: str) -> CounterChild:
        return self._counter(metrics.BACKEND_TRANSITIONS, **{"from": before, "to": after})

    def _resolve(self, hundred: int) -> CounterChild:
        outcome = f"{hundred}xx" if hundred else "none"
        counter = self._outcomes[hundred] = self._counter(metrics.BACKEND_REQUESTS, status_class=outcome)
        return counter

    def _counter(self, metric: Counter, **labels: str) -> CounterChild:
        """A counter of the backend; one that is not shown if the backend is no longer configured."""
        shown = self._instruments.shows(metrics.BACKEND_HEALTHY, backend=self._name)
        return self._instruments.counter(metric, backend=self._name, **labels) if shown else CounterChild()


class PoolMeters:
    """Metrics of a pool and its queue."""

    def __init__(self, instruments: Instruments, name: str) -> None:
        self._instruments, self._name = instruments, name
        self.duration = instruments.histogram(metrics.QUEUE_DURATION, pool=name)
        self.timed_out, self.full = (instruments.counter(metrics.QUEUE_REJECTED, pool=name, reason=word) for word in metrics.QUEUE_REJECTIONS)

    def computed(self, *, depth: Callable[[], float], available: Callable[[], float]) -> None:
        """Compute the depth of the queue and the number of available backends at each scrape."""
        self._instruments.computed(metrics.QUEUE_DEPTH, depth, pool=self._name)
        self._instruments.computed(metrics.BACKENDS_AVAILABLE, available, pool=self._name)


class ConfigMeters:
    """Metrics of the active configuration."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._successful = instruments.gauge(metrics.CONFIG_SUCCESSFUL)
        self._loaded_at = instruments.gauge(metrics.CONFIG_TIMESTAMP)

    def loaded(self, config: Config) -> None:
        """Note that this configuration is active."""
        digest = hashlib.sha256(repr(config).encode()).hexdigest()[:12]
        self._instruments.retain("hash", {digest})
        self._instruments.gauge(metrics.CONFIG_INFO, hash=digest).set(1)
        self._successful.set(1)
        self._loaded_at.set(time.time())

    def refused(self) -> None:
        """Note that a configuration could not be loaded; the previous one stays active."""
        self._successful.set(0)
