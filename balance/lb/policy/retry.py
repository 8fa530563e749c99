"""Whether a failed attempt may be repeated, and after which pause.

Theory. A repetition is safe if the backend cannot have acted on the request (it never got it), or if acting twice is the same as
acting once (RFC 9110 section 9.2.2) and the request can be sent again in full. It is wise only while few are under way: the
budget keeps retries a small share of the requests in flight, so that they cannot bury a service that is already failing. Where little is
in flight that share would be nothing, so some retries per second are allowed whatever the share.
"""

from __future__ import annotations

from enum import Enum

from balance.lb.config.model import Retry
from balance.lb.policy import ratelimit
from balance.lb.policy.faults import UNSENT, Fault

IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})
_ANSWERED_BADLY = frozenset({Fault.CLOSED_EARLY, Fault.BAD_STATUS})
"""The backend may have acted on the request."""


class Decision(Enum):
    """What to do about a failed attempt; all but the first are reasons why retries ended, for the metric and the log. Why one was made is the
    `Fault` before it."""

    RETRY = "retry"
    OFF = "off"
    UNSAFE = "unsafe"
    ATTEMPTS = "attempts"
    NO_BACKEND = "no_backend"
    BUDGET = "budget"


def may_repeat(fault: Fault, method: str, *, replayable: bool) -> bool:
    """Whether repeating cannot do harm. `replayable`: the request can be sent again in full."""
    if not replayable:
        return False
    return fault in UNSENT or (fault in _ANSWERED_BADLY and method in IDEMPOTENT)


def permit(policy: Retry | None, fault: Fault, method: str, *, replayable: bool, attempts: int, elsewhere: bool = True) -> Decision:
    """What to do after `attempts` attempts, the last of which ended in `fault` before any byte of a response was passed on, leaving the budget
    aside. `elsewhere`: there is a backend to send it to. A response that does not begin in time is waited for elsewhere only
    if there is a time for each try: without one, the client has waited as long as it may already."""
    if policy is None:
        return Decision.OFF
    late = fault is Fault.FIRST_BYTE_TIMEOUT and policy.per_try_timeout > 0 and replayable and method in IDEMPOTENT
    if not late and not may_repeat(fault, method, replayable=replayable):
        return Decision.UNSAFE
    if attempts >= policy.max_attempts:
        return Decision.ATTEMPTS
    return Decision.RETRY if elsewhere else Decision.NO_BACKEND


def afford(next_free_at: float, policy: Retry, now: float, *, retrying: int, in_flight: int) -> tuple[float, Decision]:
    """For what `permit` lets pass: whether the budget does. `next_free_at`: the retries beyond the share, 0 at first; it comes back changed if one of
    them was used. `retrying`: other requests in flight that are being repeated."""
    if (retrying + 1) * 100 <= in_flight * policy.budget_percent:
        return next_free_at, Decision.RETRY
    if not policy.budget_per_second:
        return next_free_at, Decision.BUDGET
    next_free_at, wait = ratelimit.ask(next_free_at, policy.budget_per_second, policy.budget_per_second, now)
    return next_free_at, Decision.BUDGET if wait else Decision.RETRY


def allowance(next_free_at: float, policy: Retry | None, now: float, in_flight: int) -> float:
    """How many retries may be under way: the share of the requests in flight, and what is left of the next_free_at."""
    if policy is None:
        return 0
    per_second = policy.budget_per_second
    return in_flight * policy.budget_percent // 100 + max(0.0, per_second - max(0.0, next_free_at - now) * per_second)


def backoff(policy: Retry, attempts: int, chance: float) -> float:
    """Seconds to wait after `attempts` attempts: full jitter, `chance` is a random number from 0 to 1."""
    longest: float = min(policy.backoff_max, policy.backoff_base * 2 ** (attempts - 1))
    return chance * longest
