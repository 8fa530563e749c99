"""The decisions of the balancer, as pure functions of state and time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balance.lb.config import parse
from balance.lb.config.model import CircuitBreaker, HealthCheck, Retry
from balance.lb.policy import breaker as breakers
from balance.lb.policy import health as healths
from balance.lb.policy import restarts, shares
from balance.lb.policy import retry as retries
from balance.lb.policy.breaker import Breaker, BreakerState
from balance.lb.policy.ending import RequestPhase, termination
from balance.lb.policy.faults import Fault
from balance.lb.policy.health import CheckOutcome, Health
from balance.lb.policy.latency import UNKNOWN, Peak, observed
from balance.lb.policy.panic import panics
from balance.lb.policy.retry import Decision
from balance.lb.policy.slowstart import effective

BREAKER = CircuitBreaker(failure_threshold=2, success_threshold=2, open_for=10.0)


def run(breaker: Breaker, steps: str) -> Breaker:
    """Apply steps: f a failure at 100, s a success, F and S those of a probe, b the start of a probe, x a probe without a result."""
    for step in steps:
        if step in "fF":
            breaker = breakers.failure(breaker, BREAKER, 100.0, probe=step == "F")
        elif step in "sS":
            breaker = breakers.success(breaker, BREAKER, probe=step == "S")
        elif step == "b":
            breaker = breakers.begin(breaker)
        else:
            breaker = breakers.forget(breaker, probe=True)
    return breaker


STEPS = {
    "": BreakerState.CLOSED, "f": BreakerState.CLOSED, "ff": BreakerState.OPEN, "fsf": BreakerState.CLOSED, "ffs": BreakerState.OPEN, "ffb": BreakerState.HALF_OPEN, "ffbS": BreakerState.HALF_OPEN,
    "ffbSbS": BreakerState.CLOSED, "ffbF": BreakerState.OPEN, "ffbs": BreakerState.HALF_OPEN, "ffbf": BreakerState.HALF_OPEN, "ffbx": BreakerState.HALF_OPEN, "ffbbSF": BreakerState.OPEN,
}  # fmt: skip


@pytest.mark.parametrize("steps", STEPS)
def test_breaker_states(steps: str) -> None:
    assert run(breakers.CLOSED, steps).state is STEPS[steps]


ADMISSIONS = [
    ("", 0.0, True),
    ("ff", 109.9, False),
    ("ff", 110.0, True),
    ("ffb", 111.0, True),
    ("ffbb", 111.0, False),
    ("ffbbx", 111.0, True),
    ("ffbbS", 111.0, True),
]


@pytest.mark.parametrize(("steps", "now", "expected"), ADMISSIONS)
def test_breaker_admits_few_probes_after_open_period(steps: str, now: float, expected: bool) -> None:
    assert breakers.admits(run(breakers.CLOSED, steps), BREAKER, now) is expected


def test_success_leaves_closed_breaker_alone() -> None:
    assert run(breakers.CLOSED, "bs") is breakers.CLOSED


HEALTH = HealthCheck(type="tcp", path="/", interval=1.0, timeout=1.0, healthy_threshold=2, unhealthy_threshold=3)
CHECKS = {"": True, "+": True, "-": False, "+--": True, "+---": False, "+--+--": True, "-+": False, "-++": True, "-+-+": False}


@pytest.mark.parametrize("checks", CHECKS)
def test_health_follows_streaks(checks: str) -> None:
    """The first check decides at once."""
    health = Health()
    for check in checks:
        health = healths.checked(health, HEALTH, passed=check == "+")
    assert health.up is CHECKS[checks]


ANSWERS: list[tuple[dict[str, object], int, bytes, CheckOutcome]] = [
    ({}, 200, b"", CheckOutcome.PASSED),
    ({}, 399, b"anything", CheckOutcome.PASSED),
    ({}, 400, b"", CheckOutcome.WRONG_STATUS),
    ({}, 199, b"", CheckOutcome.WRONG_STATUS),
    ({"expected_status": ((200, 200), (401, 403))}, 402, b"", CheckOutcome.PASSED),
    ({"expected_status": ((200, 200), (401, 403))}, 204, b"", CheckOutcome.WRONG_STATUS),
    ({"expected_body": "grün"}, 200, "alles grün!".encode(), CheckOutcome.PASSED),
    ({"expected_body": "grün"}, 200, b"down for maintenance", CheckOutcome.WRONG_BODY),
    ({"expected_body": "grün"}, 500, "grün".encode(), CheckOutcome.WRONG_STATUS),
]


@pytest.mark.parametrize(("change", "status", "body", "expected"), ANSWERS)
def test_http_check_judges_status_and_body(change: dict[str, object], status: int, body: bytes, expected: CheckOutcome) -> None:
    assert healths.judge(replace(HEALTH, **change), status, body) is expected  # type: ignore[arg-type]


PANICS = [
    (50, [(1, 2)], False),
    (50, [(0, 1)], True),
    (50, [(4, 10)], True),
    (50, [(5, 10)], False),
    (50, [(0, 2), (1, 1)], False),
    (50, [(2, 2), (0, 1)], False),
    (50, [(0, 2), (0, 1)], True),
    (50, [(0, 2), (0, 0)], True),
    (50, [(0, 0), (0, 0)], False),
    (0, [(0, 5)], False),
    (100, [(4, 5)], True),
    (100, [(5, 5)], False),
]


@pytest.mark.parametrize(("threshold", "tiers", "expected"), PANICS)
def test_panic_when_no_tier_is_healthy_enough(threshold: int, tiers: list[tuple[int, int]], expected: bool) -> None:
    assert panics(threshold, tiers) is expected


@pytest.mark.parametrize(("seconds", "expected"), [(0, 1.0), (1, 1.0), (2, 2.0), (5, 5.0), (9.5, 9.5), (10, 10.0), (99, 10.0)])
def test_slow_start_is_linear_with_minimum(seconds: float, expected: float) -> None:
    assert effective(10, 100.0, 100.0 + seconds, 10.0) == pytest.approx(expected)


def test_weight_without_slow_start() -> None:
    assert effective(10, 100.0, 100.0, 0.0) == 10


def test_latency_rises_at_once_and_decays_slowly() -> None:
    peak = observed(observed(UNKNOWN, 0.1, 1.0), 2.0, 1.0)
    assert peak == Peak(2.0, 1.0)
    soon, later = observed(peak, 0.1, 1.1), observed(peak, 0.1, 21.0)
    assert 1.9 < soon.seconds < 2.0
    assert later.seconds == pytest.approx(2.0 * 0.1353 + 0.1 * 0.8647, abs=0.001)


def test_latency_decays_without_samples() -> None:
    assert Peak(2.0, 0.0).at(10.0) == pytest.approx(2.0 / 2.71828, abs=0.001)


def test_fast_failure_does_not_lower_latency() -> None:
    assert observed(Peak(0.1, 0.0), 0.001, 0.0, failed=True).seconds >= 1.0


RETRY = Retry(max_attempts=3, backoff_base=0.1, backoff_max=0.3, budget_percent=20, budget_per_second=3)
SAFE = {"fault": Fault.CONNECT_REFUSED, "method": "GET", "replayable": True, "attempts": 1}
DECISIONS: list[tuple[dict[str, object], Decision]] = [
    ({}, Decision.RETRY),
    ({"method": "POST"}, Decision.RETRY),
    ({"fault": Fault.CLOSED_EARLY}, Decision.RETRY),
    ({"fault": Fault.CLOSED_EARLY, "method": "POST"}, Decision.UNSAFE),
    ({"fault": Fault.CLOSED_EARLY, "replayable": False}, Decision.UNSAFE),
    ({"fault": Fault.FIRST_BYTE_TIMEOUT}, Decision.UNSAFE),
    ({"fault": Fault.INVALID_RESPONSE}, Decision.UNSAFE),
    ({"fault": Fault.BAD_STATUS}, Decision.RETRY),
    ({"fault": Fault.BAD_STATUS, "method": "PATCH"}, Decision.UNSAFE),
    ({"fault": Fault.BAD_STATUS, "replayable": False}, Decision.UNSAFE),
    ({"attempts": 2}, Decision.RETRY),
    ({"attempts": 3}, Decision.ATTEMPTS),
]


@pytest.mark.parametrize(("change", "expected"), DECISIONS)
def test_only_safe_attempts_are_retried(change: dict[str, object], expected: Decision) -> None:
    assert retries.permit(RETRY, **{**SAFE, **change}) is expected  # type: ignore[arg-type]


def test_retry_off() -> None:
    assert retries.permit(None, **SAFE) is Decision.OFF  # type: ignore[arg-type]


PER_TRY = replace(RETRY, per_try_timeout=1.0)
PERMISSIONS: list[tuple[Retry, dict[str, object], Decision]] = [
    (PER_TRY, {"fault": Fault.FIRST_BYTE_TIMEOUT}, Decision.RETRY),
    (RETRY, {"fault": Fault.FIRST_BYTE_TIMEOUT}, Decision.UNSAFE),
    (PER_TRY, {"fault": Fault.FIRST_BYTE_TIMEOUT, "method": "POST"}, Decision.UNSAFE),
    (PER_TRY, {"fault": Fault.FIRST_BYTE_TIMEOUT, "replayable": False}, Decision.UNSAFE),
    (PER_TRY, {"fault": Fault.RESPONSE_TIMEOUT}, Decision.UNSAFE),
    (RETRY, {"elsewhere": False}, Decision.NO_BACKEND),
    (RETRY, {"elsewhere": False, "attempts": 3}, Decision.ATTEMPTS),
    (RETRY, {"elsewhere": False, "fault": Fault.RESPONSE_TRUNCATED}, Decision.UNSAFE),
]


@pytest.mark.parametrize(("policy", "change", "expected"), PERMISSIONS)
def test_retry_permission_without_budget(policy: Retry, change: dict[str, object], expected: Decision) -> None:
    case: dict[str, object] = {"fault": Fault.CONNECT_REFUSED, "method": "GET", "replayable": True, "attempts": 1}
    assert retries.permit(policy, **{**case, **change}) is expected  # type: ignore[arg-type]


def afforded(moments: list[float], per_second: int = 3, **load: int) -> list[bool]:
    """For each of these times, whether the budget permits a retry."""
    next_free_at, found = 0.0, []
    for now in moments:
        next_free_at, decision = retries.afford(next_free_at, replace(RETRY, budget_per_second=per_second), now, **load)
        found.append(decision is Decision.RETRY)
    return found


def test_retry_budget_is_share_of_requests_in_flight() -> None:
    assert afforded([100.0] * 9, retrying=19, in_flight=100) == [True] * 9
    assert afforded([100.0], per_second=0, retrying=20, in_flight=100) == [False]


def test_retry_budget_per_second_beyond_share() -> None:
    assert afforded([100.0] * 4, retrying=20, in_flight=100) == [True, True, True, False]
    assert afforded([100.0] * 3 + [100.3, 100.34, 100.35, 101.34, 101.34, 101.34, 101.34], retrying=0, in_flight=1) == (
        [True] * 3 + [False, True, False] + [True] * 3 + [False]
    )


def test_retries_within_share_cost_no_budget() -> None:
    assert retries.afford(7.0, RETRY, 100.0, retrying=0, in_flight=100) == (7.0, Decision.RETRY)


@pytest.mark.parametrize(("attempts", "longest"), [(1, 0.1), (2, 0.2), (3, 0.3), (9, 0.3)])
def test_backoff_doubles_up_to_limit(attempts: int, longest: float) -> None:
    """With full jitter."""
    assert retries.backoff(RETRY, attempts, 0.0) == 0
    assert retries.backoff(RETRY, attempts, 1.0) == pytest.approx(longest)


PAUSES = {
    "the first time": ([5.0], [0.1]),
    "repeatedly": ([0.0] * 11, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]),
    "after a long run": ([0.0, 0.0, 0.0, 60.0, 0.0], [0.1, 0.2, 0.4, 0.1, 0.2]),
    "after a shorter run": ([0.0, 59.9], [0.1, 0.2]),
    "endlessly": ([0.0] * 5000, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, *[30] * 4991]),
}


@pytest.mark.parametrize("case", PAUSES)
def test_failing_worker_restarts_ever_later(case: str) -> None:
    lives, expected = PAUSES[case]
    failures, pauses = 0, []
    for lived in lives:
        failures, pause = restarts.ended(failures, lived)
        pauses.append(pause)
    assert pauses == pytest.approx(expected)


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(10, 3, [4, 3, 3]), (9, 3, [3, 3, 3]), (1, 3, [1, 1, 1]), (10_000, 1, [10_000]), (0, 3, [0, 0, 0])]
)
def test_limits_are_split_among_workers(total: int, count: int, expected: list[int]) -> None:
    assert [shares.share(total, index, count) for index in range(count)] == expected


def test_every_limit_is_split_and_nothing_else() -> None:
    text = """\
listen: 127.0.0.1:8080
limits: {max_connections: 100, max_queue: 10, max_connections_per_client: 3}
backends: [{name: a, address: "127.0.0.1:1", max_connections: 9}, {name: b, address: "127.0.0.1:2", max_connections: 1, weight: 3}]
retry: {budget_per_second: 20}
routes: [{name: r, match: {path: /}, pool: default, rate_limit: {rate: 6/s, burst: 4, per: client}}]
"""
    whole = parse(text, "balance.yaml", {})
    part = shares.for_worker(whole, 1, 2)
    limits, rate, retry = part.limits, part.routes[0].rate_limit, part.pools[0].retry
    assert rate
    assert retry
    assert (limits.max_connections, limits.max_queue, limits.max_connections_per_client, limits.max_requests_per_client) == (50, 5, 1, 0)
    assert [(backend.max_connections, backend.weight) for backend in part.backends] == [(4, 1), (1, 3)]
    assert (rate.rate, rate.burst, retry.budget_per_second) == (3, 2, 10)
    assert shares.for_worker(whole, 0, 1) == whole


def test_every_termination_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "load-balancer.md").read_text()
    words = {termination(fault, phase) for fault in Fault for phase in RequestPhase}
    assert all(f"`..._{word.partition('_')[2]}`" in page for word in words - {"complete"})
    assert {word.partition("_")[0] for word in words} == {"complete", "client", "balancer", "backend"}
    assert [fault for fault in Fault if termination(fault, RequestPhase.BODY) == "complete"] == [Fault.OK, Fault.BAD_STATUS]


@pytest.mark.parametrize("phase", RequestPhase)
def test_request_fault_ends_in_request_phase(phase: RequestPhase) -> None:
    """Whatever the phase of the exchange."""
    assert termination(Fault.BODY_TOO_LARGE, phase) == "client_request"
    assert termination(Fault.CLIENT_ABORT, phase) == f"client_{phase.value}"
