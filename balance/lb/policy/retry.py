"""Whether a failed attempt may be retried, and after which pause.

Theory. A retry is safe if the backend cannot have acted on the request (it never received it), or if the method is idempotent (RFC 9110
section 9.2.2) and the request can be sent again in full. The budget keeps retries a small share of the requests in flight, so that they
cannot overload a service that is already failing. With few requests in flight that share would be 0, so some retries per second are
always allowed.
"""

from __future__ import annotations

from enum import Enum

from balance.lb.config.model import Retry
from balance.lb.policy import ratelimit
from balance.lb.policy.faults import UNSENT, Fault

IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})
_ANSWERED_BADLY = frozenset({Fault.CLOSED_EARLY, Fault.BAD_STATUS})
"""Faults after which the backend may have acted on the request."""


class Decision(Enum):
    """What to do after a failed attempt: retry, or the reason not to. The values are those of the metric's `reason` label."""

    RETRY = "retry"
    OFF = "off"
    UNSAFE = "unsafe"
    ATTEMPTS = "attempts"
    NO_BACKEND = "no_backend"
    BUDGET = "budget"


def may_repeat(fault: Fault, method: str, *, replayable: bool) -> bool:
    """True if sending the request again is safe. `replayable`: the request can be sent again in full."""
    if not replayable:
        return False
    return fault in UNSENT or (fault in _ANSWERED_BADLY and method in IDEMPOTENT)


def permit(policy: Retry | None, fault: Fault, method: str, *, replayable: bool, attempts: int, elsewhere: bool = True) -> Decision:
    """Decide, apart from the budget, after `attempts` attempts of which the last ended with `fault` before any byte of a response was passed on.

    `elsewhere`: there is a backend to send it to. A late response is retried only with a `per_try_timeout`: without one, the client
    has already waited as long as it may.
    """
    if policy is None:
        return Decision.OFF
    late = fault is Fault.FIRST_BYTE_TIMEOUT and policy.per_try_timeout > 0 and replayable and method in IDEMPOTENT
    if not late and not may_repeat(fault, method, replayable=replayable):
        return Decision.UNSAFE
    if attempts >= policy.max_attempts:
        return Decision.ATTEMPTS
    return Decision.RETRY if elsewhere else Decision.NO_BACKEND


def afford(next_free_at: float, policy: Retry, now: float, *, retrying: int, in_flight: int) -> tuple[float, Decision]:
    """Apply the budget to a retry that `permit` allows. Returns the new `next_free_at` and the decision.

    `next_free_at`: state of the retries per second (when their token bucket will be full again, see `ratelimit.ask`), 0 at first.
    `retrying`: other requests in flight that are being retried.
    """
    if (retrying + 1) * 100 <= in_flight * policy.budget_percent:
        return next_free_at, Decision.RETRY
    if not policy.budget_per_second:
        return next_free_at, Decision.BUDGET
    next_free_at, wait = ratelimit.ask(next_free_at, policy.budget_per_second, policy.budget_per_second, now)
    return next_free_at, Decision.BUDGET if wait else Decision.RETRY


def allowance(next_free_at: float, policy: Retry | None, now: float, in_flight: int) -> float:
    """Retries that may be in progress: the share of the requests in flight, plus what is left of the retries per second."""
    if policy is None:
        return 0
    per_second = policy.budget_per_second
    return in_flight * policy.budget_percent // 100 + max(0.0, per_second - max(0.0, next_free_at - now) * per_second)


def backoff(policy: Retry, attempts: int, chance: float) -> float:
    """Seconds to wait after `attempts` attempts, with full jitter: `chance` is a random number from 0 to 1."""
    longest: float = min(policy.backoff_max, policy.backoff_base * 2 ** (attempts - 1))
    return chance * longest
