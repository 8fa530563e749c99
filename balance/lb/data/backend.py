"""One backend as it is now: its health, its breaker, its connections, its series."""

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
"""How long an idle connection is kept: less than the common 5 s of origin servers, so that they rarely close it first."""


class Backend:
    """Decisions are those of `balance.lb.policy`; this object remembers, counts and logs them."""

    def __init__(self, config: BackendConfig, pool: PoolConfig, meters: BackendMeters, clock: Clock, log: EventLog, since: float = -math.inf) -> None:
        self.config = config
        self.identity: Identity | None = None
        """what TLS to it needs; None: it speaks plain HTTP"""
        self.name = config.name
        self.health = Health()
        self.breaker = breakers.CLOSED
        self.outlier_state = outlier.CLEAN
        self.ready = True
        """healthy, not ejected, its breaker closed, not drained: requests may pass without further questions"""
        self.weight: float = config.weight
        """the effective one: less than the configured one while it starts slowly"""
        self.latency = latency.UNKNOWN
        self.since = since
        """when it came into rotation, on the loop's clock; one that was there from the start has nothing to warm up"""
        self._requests = self._failures = 0  # in the present interval of outlier detection
        self.meters = meters
        self.open = 0
        """connections, those being opened included; at most `config.max_connections`"""
        self.idle: list[Upstream] = []
        self._policy = pool.circuit_breaker
        self._retired = False
        self.drained = False
        """taken out of rotation by an operator: it gets no further requests"""
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
        """Whether this configuration means this very backend: the same place, spoken to in the same way."""
        return (self.config.name, self.config.address, self.config.tls) == (config.name, config.address, config.tls)

    def configure(self, config: BackendConfig, pool: PoolConfig, identity: Identity | None) -> None:
        """Go on under this configuration."""
        self.config, self.identity, self._policy = config, identity, pool.circuit_breaker
        self.meters.join(pool.name)
        if pool.circuit_breaker is None and self.breaker.state is not BreakerState.CLOSED:
            self._turn(breakers.CLOSED)
        if pool.health_check is None and not self.health.up:  # nobody is left who would revise that
            self.health = Health()
            self.meters.healthy.set(1)
        if pool.outlier_detection is None:
            self.outlier_state = outlier.CLEAN
        self._settle()

    def drain(self, *, drained: bool) -> None:
        """Send it no further requests, or send it some again; those under way go on."""
        if drained != self.drained:
            self.drained = drained
            self._settle()
            self._log("info", "backend_drained" if drained else "backend_enabled", backend=self.name)
        if drained:
            self.close_idle()

    def _settle(self) -> None:
        """Something about it has changed. The states are `balance.lb.catalog.metrics.BACKEND_STATES`."""
        was, self.ready = self.ready, self.passes_health and self.breaker.state is BreakerState.CLOSED and not self.drained
        if self.ready and not was:
            self.since = self._loop.time()
        self._note_state()

    def retire(self) -> None:
        """It is no longer configured: requests under way may finish, no connection is kept for others."""
        self._retired = True
        self.close_idle()

    @property
    def available(self) -> bool:
        """Whether its health and its breaker let a request pass."""
        return self.ready or (self.passes_health and self.breaker_admits)

    @property
    def passes_health(self) -> bool:
        """Whether checks and outcomes speak for it."""
        return self.health.up and not self.outlier_state.ejected

    @property
    def breaker_admits(self) -> bool:
        """Whether a request may pass, leaving aside what checks and ejections say."""
        if self.drained:
            return False
        if self.breaker.state is BreakerState.CLOSED:
            return True
        return self._policy is not None and breakers.admits(self.breaker, self._policy, self._loop.time())

    @property
    def active(self) -> int:
        """Requests under way."""
        return self.open - len(self.idle)

    @property
    def has_room(self) -> bool:
        """Whether a request finds or may open a connection."""
        return bool(self.idle) or self.open < self.config.max_connections

    def checked(self, policy: HealthCheck, *, passed: bool, cause: str, seconds: float) -> bool:
        """An active check has ended after so many seconds; `cause` says why it failed. Whether that changed the verdict."""
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
        """An attempt sets out: the period of the breaker whose probe it is, 0 if it is none."""
        if self.breaker.state is BreakerState.CLOSED:
            return 0
        self._turn(breakers.begin(self.breaker))
        return self.breaker.period

    def succeeded(self, *, probe: int) -> None:
        """An attempt ended well."""
        self._requests += 1
        if self.outlier_state.streak:
            self.outlier_state = outlier.success(self.outlier_state)
        if self._policy and (self.breaker.failures or self.breaker.state is not BreakerState.CLOSED):
            self._turn(breakers.success(self.breaker, self._policy, probe=probe))

    def failed(self, *, probe: int) -> None:
        """An attempt failed by the backend's fault."""
        self._requests += 1
        self._failures += 1
        self.outlier_state = outlier.failure(self.outlier_state)
        if self._policy:
            self.meters.failures.value += 1
            self._turn(breakers.failure(self.breaker, self._policy, self._loop.time(), probe=probe))

    def forgotten(self, *, probe: int) -> None:
        """An attempt ended without a verdict."""
        self._turn(breakers.forget(self.breaker, probe=probe))

    def interval(self) -> tuple[int, int]:
        """Requests and failures since the last call."""
        ended, self._requests, self._failures = (self._requests, self._failures), 0, 0
        return ended

    def eject(self, policy: OutlierDetection, reason: outlier.EjectionReason, now: float) -> None:
        """Take it out of rotation for a while."""
        self.outlier_state = outlier.eject(self.outlier_state, policy, now)
        self.meters.ejections[reason].value += 1
        self._settle()
        self._log("warning", "backend_ejected", backend=self.name, reason=reason.value, seconds=round(self.outlier_state.until - now, 3))

    def readmit(self, now: float) -> None:
        """Bring it back if its time is over."""
        if self.outlier_state.ejected:
            self.outlier_state = outlier.readmit(self.outlier_state, now)
            if not self.outlier_state.ejected:
                self._settle()
                self._log("info", "backend_readmitted", backend=self.name)

    def _turn(self, breaker: Breaker) -> None:
        was, self.breaker = self.breaker, breaker
        self._settle()
        if breaker.state is not was.state and not self._retired:  # whose series are those of its successor
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
        """When an open breaker lets a request try, on the loop's clock."""
        return self.breaker.since + (self._policy.open_for if self._policy else 0.0)

    def take(self) -> Upstream | None:
        """The idle connection that was used last, if there is one."""
        while self.idle:
            upstream = self.idle.pop()
            if upstream.transport is not None and not upstream.transport.is_closing():
                upstream.deadline = 0.0
                self.meters.reused.value += 1
                return upstream
        return None

    def give(self, upstream: Upstream) -> None:
        """A connection has become idle."""
        if self._retired or self.drained:
            upstream.close()
            return
        self.idle.append(upstream)
        self._clock.set(upstream, IDLE_SECONDS)

    def close_idle(self) -> None:
        """Close every idle connection."""
        while self.idle:
            self.idle.pop().close()
