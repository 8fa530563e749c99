"""Whether a backend is healthy by its active checks: down after some failures in a row, up again after some successes.

A backend starts as up; the result of its first check takes effect at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from balance.lb.config.model import HealthCheck


class CheckOutcome(Enum):
    """What the response to an http check means."""

    PASSED = "passed"
    WRONG_STATUS = "wrong status"
    WRONG_BODY = "wrong body"


@dataclass(frozen=True, slots=True)
class Health:
    """Health of a backend at one moment (immutable). `streak`: checks in a row that contradict `up`. `checked`: True after the first check."""

    up: bool = True
    streak: int = 0
    checked: bool = False


def checked(health: Health, policy: HealthCheck, *, passed: bool) -> Health:
    """The health after one more check."""
    if not health.checked:
        return Health(passed, checked=True)
    if passed == health.up:
        return replace(health, streak=0)
    needed = policy.healthy_threshold if passed else policy.unhealthy_threshold
    if health.streak + 1 >= needed:
        return Health(passed, checked=True)
    return replace(health, streak=health.streak + 1)


def judge(policy: HealthCheck, status: int, body: bytes) -> CheckOutcome:
    """Compare the response to an http check with `policy`. `body`: the first 64 KiB at most; needed only if `expected_body` is set."""
    if not any(low <= status <= high for low, high in policy.expected_status):
        return CheckOutcome.WRONG_STATUS
    return CheckOutcome.PASSED if policy.expected_body.encode() in body else CheckOutcome.WRONG_BODY
