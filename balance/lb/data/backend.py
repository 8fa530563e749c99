"""One backend as it is now: its health, its breaker, its connections, its series."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from balance.lb.config.model import BackendConfig, CircuitBreaker, HealthCheck
from balance.lb.data.clock import Clock
from balance.lb.data.keyring import Identity
from balance.lb.data.meters import BackendMeters
from balance.lb.logs import EventLog
from balance.lb.policy import breaker as breakers
from balance.lb.policy import health as healths
from balance.lb.policy.breaker import Breaker, State
from balance.lb.policy.health import Health

if TYPE_CHECKING:
    from balance.lb.data.upstream import Upstream

IDLE_SECONDS = 4.0
"""How long an idle connection is kept: less than the common 5 s of origin servers, so that they rarely close it first."""


class Backend:
    """Decisions are those of `balance.lb.policy`; this object remembers, counts and logs them."""

    def __init__(
        self, config: BackendConfig, breaker_policy: CircuitBreaker | None, meters: BackendMeters, clock: Clock, log: EventLog,
        identity: Identity | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.identity = identity
        """what TLS to it needs; None: it speaks plain HTTP"""
        self.name = config.name
        self.health = Health()
        self.breaker = breakers.CLOSED
        self.calm = True
        """healthy, its breaker closed: requests may pass without further questions"""
        self.meters = meters
        self.open = 0
        """connections, those being opened included; at most `config.max_connections`"""
        self.idle: list[Upstream] = []
        self._policy = breaker_policy
        self._clock = clock
        self._log = log
        self._loop = asyncio.get_running_loop()
        meters.healthy.set(1)

    def __repr__(self) -> str:
        health = "up" if self.health.up else "down"
        return f"<Backend {self.name} {health}, breaker {self.breaker.state.value}, {self.open} connections, {len(self.idle)} idle>"

    @property
    def available(self) -> bool:
        """Whether its health and its breaker let a request pass."""
        if self.calm or not self.health.up:
            return self.calm
        return self._policy is not None and breakers.admits(self.breaker, self._policy, self._loop.time())

    @property
    def has_room(self) -> bool:
        """Whether a request finds or may open a connection."""
        return bool(self.idle) or self.open < self.config.max_connections

    def checked(self, policy: HealthCheck, *, passed: bool, cause: str) -> None:
        """An active check has ended; `cause` says why it failed."""
        was = self.health
        self.health = healths.checked(was, policy, passed=passed)
        self.calm = self.health.up and self.breaker.state is State.CLOSED
        if self.health.up != was.up:
            self.meters.healthy.set(float(self.health.up))
            self._log("info" if passed else "warning", "backend_up" if passed else "backend_down", backend=self.name, cause=cause or "check passed")

    def begin(self) -> int:
        """An attempt sets out: the period of the breaker whose probe it is, 0 if it is none."""
        if self.breaker.state is State.CLOSED:
            return 0
        self._turn(breakers.begin(self.breaker))
        return self.breaker.period

    def succeeded(self, *, probe: int) -> None:
        """An attempt ended well."""
        if self._policy and (self.breaker.failures or self.breaker.state is not State.CLOSED):
            self._turn(breakers.success(self.breaker, self._policy, probe=probe))

    def failed(self, *, probe: int) -> None:
        """An attempt failed by the backend's fault."""
        if self._policy:
            self.meters.failures.value += 1
            self._turn(breakers.failure(self.breaker, self._policy, self._loop.time(), probe=probe))

    def forgotten(self, *, probe: int) -> None:
        """An attempt ended without a verdict."""
        self._turn(breakers.forget(self.breaker, probe=probe))

    def _turn(self, breaker: Breaker) -> None:
        was, self.breaker = self.breaker, breaker
        self.calm = self.health.up and breaker.state is State.CLOSED
        if breaker.state is not was.state:
            self.meters.breaker.set(breaker.state.value)
            self._log("warning" if breaker.state is State.OPEN else "info", "breaker", backend=self.name, state=breaker.state.value)

    def take(self) -> Upstream | None:
        """The idle connection that was used last, if there is one."""
        while self.idle:
            upstream = self.idle.pop()
            if not upstream.closing:
                upstream.deadline = 0.0
                return upstream
        return None

    def give(self, upstream: Upstream) -> None:
        """A connection has become idle."""
        self.idle.append(upstream)
        self._clock.set(upstream, IDLE_SECONDS)

    def close_idle(self) -> None:
        """Close every idle connection."""
        while self.idle:
            self.idle.pop().close()
