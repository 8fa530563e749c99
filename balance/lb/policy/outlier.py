"""Outlier detection: the outcomes of requests take a backend out of rotation for a while.

Theory. An active check asks for one page; clients see the rest. A backend is suspected for `consecutive_failures` in a row, at once, or
for `error_percent` of at least `minimum_requests`, at the end of each `interval`. The first ejection lasts `base_ejection`, the
n-th in short order n times as long, up to `max_ejection`; each interval without one forgives one. Ejections are capped, because if everyone
looks bad, nobody is an outlier; but one at a time is always allowed, or small pools would have none.

A check that passes does not end an ejection (in Envoy it does unless told otherwise): that the one page is fine while requests fail is the
very case this is for. Failures that arrive during an ejection belong to requests from before it and count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from balance.lb.config.model import OutlierDetection


class EjectionReason(Enum):
    """Why a backend is suspected; the values are also those of the metric and the words of the log."""

    CONSECUTIVE_FAILURES = "consecutive_failures"
    ERROR_RATIO = "error_ratio"


@dataclass(frozen=True, slots=True)
class OutlierState:
    """One moment of a backend. `streak`: failures in a row. `until`: when its ejection ends, 0 if it is in rotation. `ejections`: how many of
    them weigh on the next."""

    streak: int = 0
    until: float = 0.0
    ejections: int = 0

    @property
    def ejected(self) -> bool:
        return self.until > 0


CLEAN = OutlierState()


def success(state: OutlierState) -> OutlierState:
    """A request ended well; the same object if that changes nothing."""
    return replace(state, streak=0) if state.streak else state


def failure(state: OutlierState) -> OutlierState:
    """A request failed by the fault of the backend."""
    return state if state.ejected else replace(state, streak=state.streak + 1)


def suspicion(state: OutlierState, policy: OutlierDetection) -> EjectionReason | None:
    """After each failure: whether it is one too many in a row (0 in the policy: never). If it may not be ejected, the next failure asks again."""
    return EjectionReason.CONSECUTIVE_FAILURES if 0 < policy.consecutive_failures <= state.streak else None


def judge(policy: OutlierDetection, requests: int, failures: int) -> EjectionReason | None:
    """At the end of each interval: whether too many of its requests failed (0 percent in the policy: never too many)."""
    if policy.error_percent and requests >= max(1, policy.minimum_requests) and failures * 100 >= policy.error_percent * requests:
        return EjectionReason.ERROR_RATIO
    return None


def may_eject(policy: OutlierDetection, ejected: int, total: int) -> bool:
    """Whether the pool can do without one more. `ejected`: how many are out already, of `total`, backups included in both."""
    return ejected == 0 or (ejected + 1) * 100 <= policy.max_ejected_percent * total


def eject(state: OutlierState, policy: OutlierDetection, now: float) -> OutlierState:
    """It is taken out. Ejections beyond the one that reaches the longest are not counted, so that a backend that was bad for a whole night does
    not pay for it all of the next day."""
    longest = policy.base_ejection * state.ejections >= policy.max_ejection
    ejections = state.ejections + (not longest)
    return OutlierState(until=now + min(policy.base_ejection * ejections, policy.max_ejection), ejections=ejections)


def readmit(state: OutlierState, now: float) -> OutlierState:
    """It comes back when its time is over; the same object until then. To be asked every now and then."""
    return replace(state, until=0.0) if state.ejected and now >= state.until else state


def forgive(state: OutlierState) -> OutlierState:
    """An interval ended in which it was in rotation and gave no reason to eject it; the same object if there is nothing to forgive."""
    return state if state.ejected or not state.ejections else replace(state, ejections=state.ejections - 1)
