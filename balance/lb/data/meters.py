"""The catalog's series that the data plane moves, resolved once, so that a request costs plain additions."""

from __future__ import annotations

from bisect import bisect_left

from balance.catalog import metrics
from balance.instruments import CounterChild, HistogramChild, Instruments
from balance.lb.config import Config
from balance.lb.policy.faults import Fault

_FRESH_STATUSES = (200, 400, 404, 502, 503, 504)


class Meters:
    """Series about clients and their requests. A fresh scrape shows each of them at zero."""

    def __init__(self, instruments: Instruments, config: Config) -> None:
        self._instruments = instruments
        self._answers: dict[tuple[str, int], tuple[CounterChild, HistogramChild]] = {}
        for status in _FRESH_STATUSES:
            instruments.counter(metrics.HTTP_REQUESTS, method="GET", status=str(status))
        self._resolve("GET", 200)
        self.request_size = instruments.histogram(metrics.HTTP_REQUEST_SIZE)
        self._without_body = self.request_size.counts
        self.response_size = instruments.histogram(metrics.HTTP_RESPONSE_SIZE)
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
        instruments.gauge(metrics.CONNECTIONS_LIMIT).set(config.limits.max_connections)
        if config.tls:
            for reason in metrics.HANDSHAKE_FAULTS:
                instruments.counter(metrics.TLS_HANDSHAKE_FAILURES, reason=reason)

    def handshake_failed(self, reason: str) -> None:
        """A client's connection ended before TLS was agreed on."""
        self._instruments.counter(metrics.TLS_HANDSHAKE_FAILURES, reason=reason).value += 1

    def answered(self, method: str, status: int, seconds: float, received: int, sent: int) -> None:
        """A client got an answer: its status, how long it took, the sizes of both bodies."""
        requests, duration = self._answers.get((method, status)) or self._resolve(method, status)
        requests.value += 1
        duration.counts[bisect_left(duration.bounds, seconds)] += 1  # as `observe` does, which costs a call
        duration.total += seconds
        if received:
            self.request_size.observe(received)
        else:
            self._without_body[0] += 1
        sizes = self.response_size
        sizes.counts[bisect_left(sizes.bounds, sent)] += 1
        sizes.total += sent

    def switched(self, method: str) -> None:
        """A client got a 101: what follows is no answer, and has neither size nor duration."""
        self._instruments.counter(metrics.HTTP_REQUESTS, method=method, status="101").value += 1
        self.tunnels.value += 1

    def failed(self, fault: Fault) -> None:
        """A request ended other than well."""
        self._failures[fault].value += 1

    def _resolve(self, method: str, status: int) -> tuple[CounterChild, HistogramChild]:
        counter = self._instruments.counter(metrics.HTTP_REQUESTS, method=method, status=str(status))
        histogram = self._instruments.histogram(metrics.HTTP_REQUEST_DURATION, method=method, status_class=f"{status // 100}xx")
        answer = self._answers[method, status] = counter, histogram
        return answer


class Unmetered(Meters):
    """The same with metrics switched off: nothing is counted per request."""

    def answered(self, method: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Not counted."""


class BackendMeters:
    """Series about one backend."""

    def __init__(self, instruments: Instruments, name: str) -> None:
        self._instruments, self._name = instruments, name
        self.healthy = instruments.gauge(metrics.BACKEND_HEALTHY, backend=name)
        self.connections = instruments.gauge(metrics.BACKEND_CONNECTIONS, backend=name)
        self.retries = instruments.counter(metrics.BACKEND_RETRIES, backend=name)
        self.breaker = instruments.states(metrics.CIRCUIT_BREAKER_STATE, backend=name)
        self.failures = instruments.counter(metrics.CIRCUIT_BREAKER_FAILURES, backend=name)
        self._outcomes: dict[int, CounterChild] = {}
        for status in (200, 500, 0):
            self._resolve(status // 100)

    def attempted(self, status: int) -> None:
        """An attempt ended: the status of the response, 0 for none."""
        (self._outcomes.get(status // 100) or self._resolve(status // 100)).value += 1

    def _resolve(self, hundred: int) -> CounterChild:
        outcome = f"{hundred}xx" if hundred else "none"
        counter = self._outcomes[hundred] = self._instruments.counter(metrics.BACKEND_REQUESTS, backend=self._name, status_class=outcome)
        return counter


class UnmeteredBackend(BackendMeters):
    """The same with metrics switched off."""

    def attempted(self, status: int) -> None:
        """Not counted."""
