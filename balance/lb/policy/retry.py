"""Whether a failed attempt may be repeated, and after which pause.

Theory. A repetition is safe if the backend cannot have acted on the request (it never got it), or if acting twice is the same as
acting once (RFC 9110 section 9.2.2) and the request can be sent again in full. It is wise only while few are under way: the
budget keeps retries a small share of the requests in flight, so that they cannot bury a service that is already failing.
"""

from __future__ import annotations

from enum import Enum

from balance.lb.config.model import Retry
from balance.lb.policy.faults import UNSENT, Fault

IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})
ALWAYS_ALLOWED = 3
"""Retries at any moment that the budget cannot forbid."""


class Decision(Enum):
    """What to do about a failed attempt; the values are words of the log."""

    RETRY = "retry"
    OFF = "retries_off"
    UNSAFE = "unsafe"
    EXHAUSTED = "attempts_exhausted"
    BUDGET = "budget_exhausted"


def may_repeat(fault: Fault, method: str, *, replayable: bool) -> bool:
    """Whether repeating cannot do harm. `replayable`: the request can be sent again in full."""
    if not replayable:
        return False
    return fault in UNSENT or (fault is Fault.CLOSED_EARLY and method in IDEMPOTENT)


def decide(policy: Retry | None, fault: Fault, method: str, *, replayable: bool, attempts: int, retrying: int, in_flight: int) -> Decision:
    """What to do after `attempts` attempts, the last of which ended in `fault` before any byte of a response was passed on."""
    if policy is None:
        return Decision.OFF
    if not may_repeat(fault, method, replayable=replayable):
        return Decision.UNSAFE
    if attempts >= policy.max_attempts:
        return Decision.EXHAUSTED
    if retrying >= max(ALWAYS_ALLOWED, in_flight * policy.budget_percent / 100):
        return Decision.BUDGET
    return Decision.RETRY


def backoff(policy: Retry, attempts: int, chance: float) -> float:
    """Seconds to wait after `attempts` attempts: full jitter, `chance` is a random number from 0 to 1."""
    longest: float = min(policy.backoff_max, policy.backoff_base * 2 ** (attempts - 1))
    return chance * longest
