"""A pool in use: chooses backends, queues requests, and counts those in flight."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING

from balance.lb.config.model import PoolConfig, Retry
from balance.lb.data.backend import Backend
from balance.lb.data.fields import name_of
from balance.lb.data.meters import PoolMeters
from balance.lb.policy import outlier, pickers, retry
from balance.lb.policy.faults import Fault, status_codes
from balance.lb.policy.panic import panics
from balance.lb.policy.slowstart import effective
from balance.lb.policy.sticky import CookieVerdict, Sessions, cookie

if TYPE_CHECKING:
    from balance.lb.data.exchange import Exchange
    from balance.lb.data.proxy import Proxy


class Pool:
    """A pool of backends. `in_flight`: its requests; `retrying`: those of them that are being retried.

    `secret` signs cookies; `first_byte`: seconds until the response to an attempt must begin.
    """

    def __init__(self, proxy: Proxy, meters: PoolMeters, config: PoolConfig, secret: bytes, first_byte: float) -> None:
        self.config = config
        self.name = config.name
        self.meters = meters
        self.queue: deque[Exchange] = deque()
        self.in_flight = 0
        self.retrying = 0
        self.panicking = False
        """True while health is ignored, because too few backends are healthy"""
        policy = config.load_balancer
        self.hashes = policy.algorithm == "consistent-hash"
        self.recognises = self.hashes or policy.sticky is not None
        """True if the choice depends on the client"""
        self.learns = policy.algorithm == "peak-ewma"
        """True if the choice depends on the latency of backends"""
        self.first_byte = min(first_byte, (config.retry.per_try_timeout if config.retry else 0) or math.inf)
        """seconds that an attempt may wait for a response"""
        self.failure_statuses = status_codes(config.failing_status)
        """statuses that count as failures of the backend"""
        self.retry_statuses = status_codes(config.retry.on_status if config.retry else ())
        """statuses after which a request may be retried"""
        self._proxy = proxy
        self._random = Random()  # noqa: S311 -- not a secret
        self._next_free_at = 0.0
        self._judge_at = 0.0
        self._secret = secret
        self.sessions: Sessions | None = None
        self.backends: list[Backend] = []

    def __repr__(self) -> str:
        return f"<Pool {self.name}: {self.in_flight} requests, {len(self.queue)} queued, {self.backends}>"

    def follow(self, backends: Iterable[Backend]) -> None:
        """Replace its backends."""
        self.backends = list(backends)
        policy = self.config.load_balancer
        self._warm_up(self._proxy.loop.time())
        self._picker = pickers.make(policy, self.backends, self._random)
        self._by_name = {backend.name: backend for backend in self.backends}
        if policy.sticky:
            self.sessions = Sessions(self._secret, self._by_name, policy.sticky.max_age)
        self.settle()

    def show(self) -> None:
        """Make the metrics of the pool's name show this pool."""
        self._proxy.meters.panicking(self.name, self.panicking)
        self.meters.computed(depth=lambda: len(self.queue), available=lambda: sum(backend.available for backend in self.backends))

    @property
    def budget(self) -> float:
        """Further retries that are allowed now."""
        allowed = retry.allowance(self._next_free_at, self.config.retry, self._proxy.loop.time(), self.in_flight)
        return max(0.0, allowed - self.retrying)

    # --- choosing a backend ---

    def choose(self, exchange: Exchange, tried: Sequence[Backend], *, first: bool) -> Backend | Fault:
        """The backend for the next attempt, preferably not one of `tried`; or the fault if there is none. `first`: the exchange is the first in
        the queue."""
        if self.queue and not first:  # never overtake the queue
            return Fault.QUEUE_TIMEOUT
        if exchange.session:
            backend = self._by_name.get(exchange.session)
            if backend is not None and backend not in tried and self._admits(backend) and backend.has_room:
                return backend
        key, average = (exchange.key, self._average()) if self.hashes else (0, math.inf)
        second: Backend | None = None
        full = False
        for backend in self._picker.candidates(key, self._proxy.clock.now, average):
            if not (backend.ready or self._admits(backend)):
                continue
            if not backend.idle and backend.open >= backend.config.max_connections:
                full = True
            elif not tried or backend not in tried:
                return backend
            else:
                second = second or backend
        return second or (Fault.QUEUE_TIMEOUT if full else Fault.NO_BACKEND)

    @property
    def open(self) -> bool:
        """True if at least one backend may get requests now, apart from connection limits."""
        return any(self._admits(backend) for backend in self.backends)

    def _admits(self, backend: Backend) -> bool:
        return backend.available or (self.panicking and backend.breaker_admits)

    def _average(self) -> float:
        """Requests in flight, including the next one, per unit of weight in rotation."""
        return self.in_flight / self._weight if self._weight else math.inf

    def key_of(self, lines: Sequence[bytes], target: bytes) -> bytes | None:
        """The bytes that consistent-hash hashes, from the head; None if they are not in it."""
        source, _colon, name = self.config.load_balancer.hash_key.partition(":")
        if source == "path":
            return target.partition(b"?")[0]
        if source == "header":
            return _header(lines, name)
        found = cookie(_cookies(lines), name) if source == "cookie" else None
        return found.encode("latin-1") if found is not None else None

    def session_of(self, lines: Sequence[bytes]) -> str:
        """The value of the sticky session's cookie; empty if there is none."""
        sticky = self.config.load_balancer.sticky
        return (cookie(_cookies(lines), sticky.cookie) or "") if sticky else ""

    def backend_of(self, session: str, now: float) -> str:
        """The name of the backend in a valid session cookie; empty otherwise. `now`: Unix time in seconds."""
        if self.sessions is None or not session:
            return ""
        verdict, name = self.sessions.check(session, now)
        return name if verdict is CookieVerdict.VALID else ""

    # --- health, ejections and retries ---

    def settle(self) -> None:
        """Update panic mode and the weight in rotation, after a change of a backend or regularly."""
        tiers = {backup: [one for one in self.backends if one.config.backup is backup and not one.drained] for backup in (False, True)}
        was, self.panicking = self.panicking, panics(
            self.config.load_balancer.panic_threshold,
            [(sum(backend.passes_health for backend in tier), len(tier)) for tier in tiers.values()],
        )  # fmt: skip
        if was is not self.panicking:
            self._proxy.panicked(self)
        self._weight = sum(backend.weight for backend in self.backends if backend.ready)

    def tick(self, now: float) -> None:
        """Do the regular work at `now` (the loop's clock): slow starts, ends of ejections, intervals of outlier detection."""
        if self.config.load_balancer.slow_start:
            self._warm_up(now)
            self._picker.reweigh()
        policy = self.config.outlier_detection
        if policy is not None:
            for backend in self.backends:
                backend.readmit(now)
            if now >= self._judge_at:
                self._judge_at = now + policy.interval
                for backend in self.backends:
                    reason = outlier.judge(policy, *backend.interval())
                    if reason is None:
                        backend.outlier_state = outlier.forgive(backend.outlier_state)
                    else:
                        self.suspect(backend, reason, now)
        self.settle()

    def _warm_up(self, now: float) -> None:
        for backend in self.backends:
            backend.weight = effective(backend.config.weight, backend.since, now, self.config.load_balancer.slow_start)

    def suspect(self, backend: Backend, reason: outlier.EjectionReason, now: float) -> None:
        """Eject a backend, unless too many backends of the pool are ejected already."""
        policy = self.config.outlier_detection
        out = sum(other.outlier_state.ejected for other in self.backends)
        if policy is not None and not backend.outlier_state.ejected and outlier.may_eject(policy, out, len(self.backends)):
            backend.eject(policy, reason, now)
            self.settle()

    def failed(self, backend: Backend) -> None:
        """Note an attempt that failed because of the backend; this may eject it."""
        policy = self.config.outlier_detection
        if policy is not None:
            reason = outlier.suspicion(backend.outlier_state, policy)
            if reason is not None:
                self.suspect(backend, reason, self._proxy.loop.time())

    def afford(self, policy: Retry, *, repeating: bool) -> retry.Decision:
        """Apply the retry budget to a request. `repeating`: it is already counted in `retrying`."""
        self._next_free_at, decision = retry.afford(
            self._next_free_at, policy, self._proxy.loop.time(), retrying=self.retrying - repeating, in_flight=self.in_flight
        )
        return decision

    # --- the queue ---

    @property
    def full(self) -> bool:
        """True if the queue has no room for another request."""
        return len(self.queue) >= self._proxy.active_config.config.limits.max_queue

    def enqueue(self, exchange: Exchange, *, first: bool) -> None:
        """Queue an exchange until a backend has room; `first`: put it back at the front."""
        exchange.waiting = True
        if first:
            self.queue.appendleft(exchange)
        else:
            self.queue.append(exchange)
        self._proxy.waiting.add(self)
        if not exchange.client.deadline:
            self._proxy.clock.set(exchange.client, exchange.active_config.timeouts.queue)

    def dequeue(self, exchange: Exchange) -> None:
        """Remove an exchange from the queue."""
        exchange.waiting = False
        self.queue.remove(exchange)

    def inherit(self, former: Pool) -> None:
        """Take over the queue and the panic mode of the previous pool of this name; waiting requests have not started yet."""
        self.panicking = former.panicking
        while former.queue:
            exchange = former.queue.popleft()
            exchange.move(self)
            self.queue.append(exchange)
        if self.queue:
            self._proxy.waiting.add(self)

    def resume(self) -> None:
        """Let the first in the queue try again, since a backend may have room."""
        if not self.queue:
            self._proxy.waiting.discard(self)
            return
        exchange = self.queue.popleft()
        exchange.waiting = False
        exchange.begin(first=True)
        if not exchange.waiting:
            self._proxy.wake()  # perhaps there is room for one more


def _header(lines: Sequence[bytes], name: str) -> bytes | None:
    wanted = name.lower().encode()
    return next((line.partition(b":")[2].strip() for line in lines if name_of(line) == wanted), None)


def _cookies(lines: Sequence[bytes]) -> list[bytes]:
    return [line[7:] for line in lines if line[:7].lower() == b"cookie:"]
