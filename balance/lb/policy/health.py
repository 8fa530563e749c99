"""Whether a backend is in rotation, by its active checks: down after some failures in a row, up again after some successes.

A backend starts in rotation; the result of its very first check decides at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from balance.lb.config.model import HealthCheck


class CheckOutcome(Enum):
    """How a check ended; the values are also those of the metric and the words of the log."""

    PASSED = "passed"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    INVALID_RESPONSE = "invalid_response"
    WRONG_STATUS = "wrong_status"
    WRONG_BODY = "wrong_body"


@dataclass(frozen=True, slots=True)
class Health:
    """One moment. `streak`: checks in a row that speak against the present verdict. `checked`: there has been a check."""

    up: bool = True
    streak: int = 0
    checked: bool = False


def checked(health: Health, policy: HealthCheck, *, passed: bool) -> Health:
    """The verdict after one more check."""
    if not health.checked:
        return Health(passed, checked=True)
    if passed == health.up:
        return replace(health, streak=0)
    needed = policy.healthy_threshold if passed else policy.unhealthy_threshold
    if health.streak + 1 >= needed:
        return Health(passed, checked=True)
    return replace(health, streak=health.streak + 1)


def judge(policy: HealthCheck, status: int, body: bytes) -> CheckOutcome:
    """What the answer to an http check means. `body`: what was read of it, at most the first 64 KiB; it needs reading only if
    `expected_body` is set."""
    if not any(low <= status <= high for low, high in policy.expected_status):
        return CheckOutcome.WRONG_STATUS
    return CheckOutcome.PASSED if policy.expected_body.encode() in body else CheckOutcome.WRONG_BODY
