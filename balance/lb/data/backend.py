"""A backend in use: its health, circuit breaker, connections and metrics."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from balance.lb.config.model import BackendConfig, HealthCheck, OutlierDetection, PoolConfig
from balance.lb.data.clock import Clock
from balance.lb.data.keyring import Identity
from balance.lb.data.meters import BackendMeters
from balance.lb.logs import EventLog
from balance.lb.policy import breaker as breakers
from balance.lb.policy import health as healths
from balance.lb.policy import latency, outlier
from balance.lb.policy.breaker import Breaker, BreakerState
from balance.lb.policy.health import Health

if TYPE_CHECKING:
    from balance.lb.data.upstream import Upstream

IDLE_SECONDS = 4.0
"""Seconds that an idle connection is kept: less than the usual 5 s of origin servers, so that they rarely close it first."""


class Backend:
    """A backend of a pool. `balance.lb.policy` decides; this object keeps the state, counts and logs.

    `since`: when it came into rotation, on the loop's clock, for slow start.
    """

    def __init__(self, config: BackendConfig, pool: PoolConfig, meters: BackendMeters, clock: Clock, log: EventLog, since: float = -math.inf) -> None:
        self.config = config
        self.identity: Identity | None = None
        """TLS context for connections to it; None for plain HTTP"""
        self.name = config.name
        self.health = Health()
        self.breaker = breakers.CLOSED
        self.outlier_state = outlier.CLEAN
        self.ready = True
        """True if it is healthy, not ejected, not drained, and its breaker is closed: requests may pass without further checks"""
        self.weight: float = config.weight
        """the effective weight: below the configured one during slow start"""
        self.latency = latency.UNKNOWN
        self.since = since
        """when it came into rotation, on the loop's clock; minus infinity: no slow start"""
        self._requests = self._failures = 0  # in the current interval of outlier detection
        self.meters = meters
        self.open = 0
        """open connections, including those being opened; at most `config.max_connections`"""
        self.idle: list[Upstream] = []
        self._policy = pool.circuit_breaker
        self._retired = False
        self.drained = False
        """True if an operator has taken it out of rotation: it gets no more requests"""
        self._clock = clock
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.state = "available"
        """one of `balance.lb.catalog.metrics.BACKEND_STATES`"""
        meters.healthy.set(1)
        meters.breaker.set(self.breaker.state.value)
        meters.idle(lambda: len(self.idle))

    def __repr__(self) -> str:
        health = "up" if self.health.up else "down"
        return f"<Backend {self.name} {health}, breaker {self.breaker.state.value}, {self.open} connections, {len(self.idle)} idle>"

    def same(self, config: BackendConfig) -> bool:
        """True if the configuration means this backend: the same name, address and TLS settings."""
        return (self.config.name, self.config.address, self.config.tls) == (config.name, config.address, config.tls)

    def configure(self, config: BackendConfig, pool: PoolConfig, identity: Identity | None) -> None:
        """Apply a changed configuration of the backend and its pool."""
        self.config, self.identity, self._policy = config, identity, pool.circuit_breaker
        self.meters.join(pool.name)
        if pool.circuit_breaker is None and self.breaker.state is not BreakerState.CLOSED:
            self._turn(breakers.CLOSED)
        if pool.health_check is None and not self.health.up:  # no check is left that could change that
            self.health = Health()
            self.meters.healthy.set(1)
        if pool.outlier_detection is None:
            self.outlier_state = outlier.CLEAN
        self._settle()

    def drain(self, *, drained: bool) -> None:
        """Take it out of rotation, or back in; requests in progress continue."""
        if drained != self.drained:
            self.drained = drained
            self._settle()
            self._log("info", "backend_drained" if drained else "backend_enabled", backend=self.name)
        if drained:
            self.close_idle()

    def _settle(self) -> None:
        """Update `ready`, `since` and the state after a change."""
        was, self.ready = self.ready, self.passes_health and self.breaker.state is BreakerState.CLOSED and not self.drained
        if self.ready and not was:
            self.since = self._loop.time()
        self._note_state()

    def retire(self) -> None:
        """Retire it, since it is no longer configured: requests in progress may finish, idle connections are closed."""
        self._retired = True
        self.close_idle()

    @property
    def available(self) -> bool:
        """True if its health and its circuit breaker let a request pass."""
        return self.ready or (self.passes_health and self.breaker_admits)

    @property
    def passes_health(self) -> bool:
        """True if it passes its health checks and is not ejected."""
        return self.health.up and not self.outlier_state.ejected

    @property
    def breaker_admits(self) -> bool:
        """True if it is not drained and its circuit breaker lets a request pass; checks and ejections are ignored."""
        if self.drained:
            return False
        if self.breaker.state is BreakerState.CLOSED:
            return True
        return self._policy is not None and breakers.admits(self.breaker, self._policy, self._loop.time())

    @property
    def active(self) -> int:
        """Requests in progress."""
        return self.open - len(self.idle)

    @property
    def has_room(self) -> bool:
        """True if it has an idle connection or may open another."""
        return bool(self.idle) or self.open < self.config.max_connections

    def checked(self, policy: HealthCheck, *, passed: bool, cause: str, seconds: float) -> bool:
        """Take the result of an active check that took `seconds`; `cause`: why it failed. Returns True if the backend went up or down."""
        was = self.health
        self.meters.checked(seconds, passed=passed)
        self.health = healths.checked(was, policy, passed=passed)
        self._settle()
        changed = self.health.up != was.up
        if changed:
            self.meters.healthy.set(float(self.health.up))
            self._log("info" if passed else "warning", "backend_up" if passed else "backend_down", backend=self.name, cause=cause or "check passed")
        return changed

    def begin(self) -> int:
        """Start an attempt. Returns the breaker's period if the attempt is a probe, else 0."""
        if self.breaker.state is BreakerState.CLOSED:
            return 0
        self._turn(breakers.begin(self.breaker))
        return self.breaker.period

    def succeeded(self, *, probe: int) -> None:
        """Count a successful attempt; `probe`: from `begin`."""
        self._requests += 1
        if self.outlier_state.streak:
            self.outlier_state = outlier.success(self.outlier_state)
        if self._policy and (self.breaker.failures or self.breaker.state is not BreakerState.CLOSED):
            self._turn(breakers.success(self.breaker, self._policy, probe=probe))

    def failed(self, *, probe: int) -> None:
        """Count an attempt that failed because of the backend; `probe`: from `begin`."""
        self._requests += 1
        self._failures += 1
        self.outlier_state = outlier.failure(self.outlier_state)
        if self._policy:
            self.meters.failures.value += 1
            self._turn(breakers.failure(self.breaker, self._policy, self._loop.time(), probe=probe))

    def forgotten(self, *, probe: int) -> None:
        """Drop an attempt that says nothing about the backend; `probe`: from `begin`."""
        self._turn(breakers.forget(self.breaker, probe=probe))

    def interval(self) -> tuple[int, int]:
        """Number of requests and failures since the last call."""
        ended, self._requests, self._failures = (self._requests, self._failures), 0, 0
        return ended

    def eject(self, policy: OutlierDetection, reason: outlier.EjectionReason, now: float) -> None:
        """Eject it at `now` (the loop's clock)."""
        self.outlier_state = outlier.eject(self.outlier_state, policy, now)
        self.meters.ejections[reason].value += 1
        self._settle()
        self._log("warning", "backend_ejected", backend=self.name, reason=reason.value, seconds=round(self.outlier_state.until - now, 3))

    def readmit(self, now: float) -> None:
        """End its ejection if the time is over."""
        if self.outlier_state.ejected:
            self.outlier_state = outlier.readmit(self.outlier_state, now)
            if not self.outlier_state.ejected:
                self._settle()
                self._log("info", "backend_readmitted", backend=self.name)

    def _turn(self, breaker: Breaker) -> None:
        was, self.breaker = self.breaker, breaker
        self._settle()
        if breaker.state is not was.state and not self._retired:  # a retired backend's series belong to its successor
            self.meters.breaker.set(breaker.state.value)
            self._log("warning" if breaker.state is BreakerState.OPEN else "info", "breaker", backend=self.name, state=breaker.state.value)

    def _note_state(self) -> None:
        state = "available"
        if self.drained:
            state = "drained"
        elif not self.health.up:
            state = "unhealthy"
        elif self.outlier_state.ejected:
            state = "ejected"
        elif self.breaker.state is not BreakerState.CLOSED:
            state = f"breaker_{self.breaker.state.value}"
        if state != self.state and not self._retired:
            self.meters.moved(self.state, state)
            self.state = state

    @property
    def retry_at(self) -> float:
        """When an open breaker lets a request through, on the loop's clock."""
        return self.breaker.since + (self._policy.open_for if self._policy else 0.0)

    def take(self) -> Upstream | None:
        """Take the most recently used idle connection; None if there is none."""
        while self.idle:
            upstream = self.idle.pop()
            if upstream.transport is not None and not upstream.transport.is_closing():
                upstream.deadline = 0.0
                self.meters.reused.value += 1
                return upstream
        return None

    def give(self, upstream: Upstream) -> None:
        """Put back a connection that has become idle."""
        if self._retired or self.drained:
            upstream.close()
            return
        self.idle.append(upstream)
        self._clock.set(upstream, IDLE_SECONDS)

    def close_idle(self) -> None:
        """Close every idle connection."""
        while self.idle:
            self.idle.pop().close()
