"""The circuit breaker of one backend: keeps requests away from the backend while it fails.

Theory. *Closed*: requests pass; `failure_threshold` failures in a row open it. *Open*: no request passes for `open_for` seconds; then
the next request becomes a probe. *Half open*: at most `success_threshold` probes at a time; that many successes close the breaker, one
failure opens it again. Results of requests that began before the state changed say nothing about the new state, so only the results of
probes count in half open, and none count in open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from balance.lb.config.model import CircuitBreaker


class BreakerState(Enum):
    """State of a circuit breaker; the values are those of the metric's `state` label and of the log."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker at one moment (immutable).

    `failures`: failures in a row while closed. `successes`: successful probes while half open. `since`: when it opened, in seconds of the
    caller's clock. `probes`: probes in progress. `period`: how many times it has been half open; a probe carries the period in which it
    started, so that a late result does not count in the next one.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    successes: int = 0
    since: float = 0.0
    probes: int = 0
    period: int = 0


CLOSED = Breaker()


def admits(breaker: Breaker, policy: CircuitBreaker, now: float) -> bool:
    """True if a request may pass. `now`: seconds on the clock of `Breaker.since`."""
    if breaker.state is BreakerState.CLOSED:
        return True
    if breaker.state is BreakerState.OPEN:
        return now - breaker.since >= policy.open_for
    return breaker.probes < policy.success_threshold


def begin(breaker: Breaker) -> Breaker:
    """The breaker after an admitted request was started; the request is a probe unless the breaker is closed."""
    if breaker.state is BreakerState.CLOSED:
        return breaker
    if breaker.state is BreakerState.OPEN:
        return Breaker(BreakerState.HALF_OPEN, probes=1, period=breaker.period + 1)
    return replace(breaker, probes=breaker.probes + 1)


def success(breaker: Breaker, policy: CircuitBreaker, *, probe: int) -> Breaker:
    """The breaker after a successful request. `probe`: the period in which it started as a probe, 0 if it was not a probe."""
    if breaker.state is BreakerState.CLOSED:
        return replace(breaker, failures=0) if breaker.failures else breaker
    if breaker.state is BreakerState.OPEN or probe != breaker.period:
        return breaker
    if breaker.successes + 1 >= policy.success_threshold:
        return Breaker(period=breaker.period)
    return replace(breaker, successes=breaker.successes + 1, probes=max(0, breaker.probes - 1))


def failure(breaker: Breaker, policy: CircuitBreaker, now: float, *, probe: int) -> Breaker:
    """The breaker after a request that failed because of the backend. `probe`: as for `success`."""
    if breaker.state is BreakerState.CLOSED:
        if breaker.failures + 1 < policy.failure_threshold:
            return replace(breaker, failures=breaker.failures + 1)
        return Breaker(BreakerState.OPEN, since=now, period=breaker.period)
    if breaker.state is BreakerState.OPEN or probe != breaker.period:
        return breaker
    return Breaker(BreakerState.OPEN, since=now, period=breaker.period)


def forget(breaker: Breaker, *, probe: int) -> Breaker:
    """The breaker after a request that says nothing about the backend, for example because the client left. `probe`: as for `success`."""
    if breaker.state is BreakerState.HALF_OPEN and probe == breaker.period:
        return replace(breaker, probes=max(0, breaker.probes - 1))
    return breaker
