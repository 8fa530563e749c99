"""The decisions of the balancer: pure functions, time is an argument."""

from __future__ import annotations

from collections import Counter

import pytest

from balance.lb.config.model import CircuitBreaker, HealthCheck, Retry
from balance.lb.policy import breaker as breakers
from balance.lb.policy import health as healths
from balance.lb.policy import retry as retries
from balance.lb.policy import select
from balance.lb.policy.breaker import Breaker, State
from balance.lb.policy.faults import Fault
from balance.lb.policy.health import Health
from balance.lb.policy.retry import Decision


def chosen(weights: tuple[int, ...], count: int, down: frozenset[int] = frozenset()) -> list[int]:
    """Whom `count` requests get, when some are passed over."""
    accounts: object = (0,) * len(weights)
    found = []
    for _request in range(count):
        ranking = select.order(accounts, weights)  # type: ignore[arg-type]
        position = next(position for position, index in enumerate(ranking) if index not in down)
        accounts = select.charge(accounts, weights, ranking, position)  # type: ignore[arg-type]
        found.append(ranking[position])
    return found


ROTATIONS = {
    "one": ((3,), [0, 0, 0]),
    "equal": ((1, 1, 1), [0, 1, 2, 0, 1, 2]),
    "smooth, not in blocks": ((5, 1, 1), [0, 0, 1, 0, 2, 0, 0]),
}


@pytest.mark.parametrize("case", ROTATIONS)
def test_round_robin_is_smooth(case: str) -> None:
    weights, expected = ROTATIONS[case]
    assert chosen(weights, len(expected)) == expected


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 2, 1), (3, 3, 1, 1)])
@pytest.mark.parametrize("down", [frozenset[int](), frozenset({0}), frozenset({1})])
def test_those_that_are_up_share_by_weight(weights: tuple[int, ...], down: frozenset[int]) -> None:
    total = sum(weight for index, weight in enumerate(weights) if index not in down)
    counts = Counter(chosen(weights, total * 100, down))
    for index, weight in enumerate(weights):
        expected = 0 if index in down else weight * 100
        assert abs(counts[index] - expected) <= max(weights)


def test_a_ranking_names_everyone_once() -> None:
    assert sorted(select.order((3, -1, 0), (1, 2, 3))) == [0, 1, 2]


BREAKER = CircuitBreaker(failure_threshold=2, success_threshold=2, open_for=10.0)


def run(breaker: Breaker, steps: str) -> Breaker:
    """Applies steps: f a failure at 100, s a success, F and S those of a probe, b a beginning, x a probe without verdict."""
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
    "": State.CLOSED, "f": State.CLOSED, "ff": State.OPEN, "fsf": State.CLOSED, "ffs": State.OPEN, "ffb": State.HALF_OPEN, "ffbS": State.HALF_OPEN,
    "ffbSbS": State.CLOSED, "ffbF": State.OPEN, "ffbs": State.HALF_OPEN, "ffbf": State.HALF_OPEN, "ffbx": State.HALF_OPEN, "ffbbSF": State.OPEN,
}  # fmt: skip


@pytest.mark.parametrize("steps", STEPS)
def test_the_breaker_goes_through_its_states(steps: str) -> None:
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
def test_the_breaker_admits_only_a_few_probes_and_only_in_time(steps: str, now: float, expected: bool) -> None:
    assert breakers.admits(run(breakers.CLOSED, steps), BREAKER, now) is expected


def test_success_in_a_closed_breaker_changes_nothing() -> None:
    assert run(breakers.CLOSED, "bs") is breakers.CLOSED


HEALTH = HealthCheck(type="tcp", path="/", interval=1.0, timeout=1.0, healthy_threshold=2, unhealthy_threshold=3)
CHECKS = {"": True, "+": True, "-": False, "+--": True, "+---": False, "+--+--": True, "-+": False, "-++": True, "-+-+": False}


@pytest.mark.parametrize("checks", CHECKS)
def test_health_follows_streaks_and_the_first_check_decides(checks: str) -> None:
    health = Health()
    for check in checks:
        health = healths.checked(health, HEALTH, passed=check == "+")
    assert health.up is CHECKS[checks]


RETRY = Retry(max_attempts=3, backoff_base=0.1, backoff_max=0.3, budget_percent=20)
SAFE = {"fault": Fault.CONNECT_REFUSED, "method": "GET", "replayable": True, "attempts": 1, "retrying": 0, "in_flight": 1}
DECISIONS: list[tuple[dict[str, object], Decision]] = [
    ({}, Decision.RETRY),
    ({"method": "POST"}, Decision.RETRY),
    ({"fault": Fault.CLOSED_EARLY}, Decision.RETRY),
    ({"fault": Fault.CLOSED_EARLY, "method": "POST"}, Decision.UNSAFE),
    ({"fault": Fault.CLOSED_EARLY, "replayable": False}, Decision.UNSAFE),
    ({"fault": Fault.FIRST_BYTE_TIMEOUT}, Decision.UNSAFE),
    ({"fault": Fault.INVALID_RESPONSE}, Decision.UNSAFE),
    ({"attempts": 2}, Decision.RETRY),
    ({"attempts": 3}, Decision.EXHAUSTED),
    ({"retrying": 2}, Decision.RETRY),
    ({"retrying": 3}, Decision.BUDGET),
    ({"retrying": 3, "in_flight": 20}, Decision.RETRY),
    ({"retrying": 4, "in_flight": 20}, Decision.BUDGET),
]


@pytest.mark.parametrize(("change", "expected"), DECISIONS)
def test_only_safe_and_affordable_attempts_are_repeated(change: dict[str, object], expected: Decision) -> None:
    assert retries.decide(RETRY, **{**SAFE, **change}) is expected  # type: ignore[arg-type]


def test_without_a_policy_nothing_is_repeated() -> None:
    assert retries.decide(None, **SAFE) is Decision.OFF  # type: ignore[arg-type]


@pytest.mark.parametrize(("attempts", "longest"), [(1, 0.1), (2, 0.2), (3, 0.3), (9, 0.3)])
def test_backoff_doubles_up_to_a_limit_with_full_jitter(attempts: int, longest: float) -> None:
    assert retries.backoff(RETRY, attempts, 0.0) == 0
    assert retries.backoff(RETRY, attempts, 1.0) == pytest.approx(longest)
