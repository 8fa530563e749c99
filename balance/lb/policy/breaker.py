"""The circuit breaker of one backend: keeps requests away from it while it fails.

Theory. *Closed*: requests pass; `failure_threshold` failures in a row open it. *Open*: nothing passes for `open_for`; then the
first request that asks becomes a probe. *Half open*: at most `success_threshold` probes at a time; so many successes close it,
one failure opens it again. Results of requests that began before the state changed say nothing about the new state, so only
those of probes count in half open and none count in open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from balance.lb.config.model import CircuitBreaker


class BreakerState(Enum):
    """The values are also those of the metric and the words of the log."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """One moment of a breaker. `since`: when it opened. `probes`: how many are under way. `period`: how often it has been half
    open; a probe is known by the period in which it set out, so that one that ends later says nothing about the next."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    successes: int = 0
    since: float = 0.0
    probes: int = 0
    period: int = 0


CLOSED = Breaker()


def admits(breaker: Breaker, policy: CircuitBreaker, now: float) -> bool:
    """Whether a request may pass."""
    if breaker.state is BreakerState.CLOSED:
        return True
    if breaker.state is BreakerState.OPEN:
        return now - breaker.since >= policy.open_for
    return breaker.probes < policy.success_threshold


def begin(breaker: Breaker) -> Breaker:
    """An admitted request sets out; it is a probe unless the breaker is closed."""
    if breaker.state is BreakerState.CLOSED:
        return breaker
    if breaker.state is BreakerState.OPEN:
        return Breaker(BreakerState.HALF_OPEN, probes=1, period=breaker.period + 1)
    return replace(breaker, probes=breaker.probes + 1)


def success(breaker: Breaker, policy: CircuitBreaker, *, probe: int) -> Breaker:
    """A request ended well. `probe`: the period in which it set out as a probe, 0 if it was none."""
    if breaker.state is BreakerState.CLOSED:
        return replace(breaker, failures=0) if breaker.failures else breaker
    if breaker.state is BreakerState.OPEN or probe != breaker.period:
        return breaker
    if breaker.successes + 1 >= policy.success_threshold:
        return Breaker(period=breaker.period)
    return replace(breaker, successes=breaker.successes + 1, probes=max(0, breaker.probes - 1))


def failure(breaker: Breaker, policy: CircuitBreaker, now: float, *, probe: int) -> Breaker:
    """A request failed by the fault of the backend."""
    if breaker.state is BreakerState.CLOSED:
        if breaker.failures + 1 < policy.failure_threshold:
            return replace(breaker, failures=breaker.failures + 1)
        return Breaker(BreakerState.OPEN, since=now, period=breaker.period)
    if breaker.state is BreakerState.OPEN or probe != breaker.period:
        return breaker
    return Breaker(BreakerState.OPEN, since=now, period=breaker.period)


def forget(breaker: Breaker, *, probe: int) -> Breaker:
    """A request ended without a verdict on the backend: the client went away."""
    if breaker.state is BreakerState.HALF_OPEN and probe == breaker.period:
        return replace(breaker, probes=max(0, breaker.probes - 1))
    return breaker
