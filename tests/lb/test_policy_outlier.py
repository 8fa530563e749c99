"""Outlier detection: which backends are suspect, whether they may be ejected, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balance.lb.config.model import OutlierDetection
from balance.lb.policy import outlier
from balance.lb.policy.outlier import CLEAN, EjectionReason, OutlierState

POLICY = OutlierDetection(
    consecutive_failures=3, error_percent=50, minimum_requests=20, interval=10.0, base_ejection=30.0, max_ejection=100.0, max_ejected_percent=30,
)  # fmt: skip


def run(steps: str, record: OutlierState = CLEAN) -> OutlierState:
    """Apply steps: s a success, f a failure, e an ejection at 100, r the readmission when its time is over, i an interval without suspicion."""
    for step in steps:
        match step:
            case "s":
                record = outlier.success(record)
            case "f":
                record = outlier.failure(record)
            case "e":
                record = outlier.eject(record, POLICY, 100.0)
            case "r":
                record = outlier.readmit(record, record.until)
            case "i":
                record = outlier.forgive(record)
    return record


STREAKS = {"": False, "ff": False, "fff": True, "ffsf": False, "ffsfff": True, "ffff": True, "fffe": False, "fffefff": False, "fffefffr": False}


@pytest.mark.parametrize("steps", STREAKS)
def test_consecutive_failures_are_suspect(steps: str) -> None:
    expected = EjectionReason.CONSECUTIVE_FAILURES if STREAKS[steps] else None
    assert outlier.suspicion(run(steps), POLICY) is expected


def test_zero_disables_consecutive_failures() -> None:
    assert outlier.suspicion(run("f" * 100), replace(POLICY, consecutive_failures=0)) is None


def test_success_leaves_clean_state_alone() -> None:
    assert run("s") is CLEAN


RATIOS = [
    ({}, 20, 10, True),
    ({}, 20, 9, False),
    ({}, 19, 19, False),
    ({}, 1000, 500, True),
    ({}, 0, 0, False),
    ({"minimum_requests": 0}, 0, 0, False),
    ({"error_percent": 0}, 100, 100, False),
    ({"error_percent": 100}, 100, 99, False),
    ({"error_percent": 100}, 100, 100, True),
]


@pytest.mark.parametrize(("change", "requests", "failures", "expected"), RATIOS)
def test_error_ratio_needs_minimum_requests(change: dict[str, int], requests: int, failures: int, expected: bool) -> None:
    verdict = outlier.judge(replace(POLICY, **change), requests, failures)
    assert verdict is (EjectionReason.ERROR_RATIO if expected else None)


LENGTHS = {
    "e": 30,
    "ere": 60,
    "erere": 90,
    "ererere": 100,
    "er" * 50 + "e": 100,
    "erie": 30,
    "ereriie": 30,
    "er" * 50 + "ie": 100,
    "er" * 50 + "iiiie": 30,
}


@pytest.mark.parametrize("steps", LENGTHS)
def test_ejection_time_grows_and_recovers(steps: str) -> None:
    assert run(steps).until == 100 + LENGTHS[steps]


def test_interval_in_ejection_forgives_nothing() -> None:
    assert run("eii") == run("e")
    assert run("ii") is CLEAN


def test_ejection_ends_on_time() -> None:
    out = run("fffe")
    assert out.ejected
    assert outlier.readmit(out, 129.9) is out
    back = outlier.readmit(out, 130.0)
    assert not back.ejected
    assert back.streak == 0


CAPS = [(0, 1, True), (0, 2, True), (1, 3, False), (1, 6, False), (1, 7, True), (2, 10, True), (3, 10, False)]


@pytest.mark.parametrize(("ejected", "total", "expected"), CAPS)
def test_ejected_share_is_capped(ejected: int, total: int, expected: bool) -> None:
    """One backend may always be ejected."""
    assert outlier.may_eject(POLICY, ejected, total) is expected


def test_zero_percent_still_allows_one() -> None:
    policy = replace(POLICY, max_ejected_percent=0)
    assert outlier.may_eject(policy, 0, 5)
    assert not outlier.may_eject(policy, 1, 5)
