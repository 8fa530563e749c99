"""Outlier detection: ejects a backend from rotation for a while when its requests fail.

Theory. An active check requests one page; clients use all the others. A backend is ejected after `consecutive_failures` in a row, at
once, or for `error_percent` of at least `minimum_requests`, at the end of each `interval`. The first ejection lasts `base_ejection`, the
n-th in a row n times as long, up to `max_ejection`; each interval without an ejection takes one off. The ejected share of a pool is
limited, because if most backends look bad, none is an outlier; but one at a time is always allowed, or small pools would have none.

A passing check does not end an ejection (in Envoy it does by default): that the checked page works while requests fail is the very case
that outlier detection is for. Failures during an ejection belong to requests that began before it and are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from balance.lb.config.model import OutlierDetection


class EjectionReason(Enum):
    """Why a backend is ejected; the values are those of the metric's `reason` label and of the log."""

    CONSECUTIVE_FAILURES = "consecutive_failures"
    ERROR_RATIO = "error_ratio"


@dataclass(frozen=True, slots=True)
class OutlierState:
    """A backend at one moment (immutable). `streak`: failures in a row. `until`: when its ejection ends, in seconds of the caller's clock,
    0 if it is not ejected. `ejections`: ejections in a row, which lengthen the next one."""

    streak: int = 0
    until: float = 0.0
    ejections: int = 0

    @property
    def ejected(self) -> bool:
        """True while it is out of rotation."""
        return self.until > 0


CLEAN = OutlierState()


def success(state: OutlierState) -> OutlierState:
    """The state after a successful request; the same object if nothing changes."""
    return replace(state, streak=0) if state.streak else state


def failure(state: OutlierState) -> OutlierState:
    """The state after a request that failed because of the backend."""
    return state if state.ejected else replace(state, streak=state.streak + 1)


def suspicion(state: OutlierState, policy: OutlierDetection) -> EjectionReason | None:
    """After a failure: the reason to eject it if there were too many in a row, else None. `consecutive_failures` 0: never."""
    return EjectionReason.CONSECUTIVE_FAILURES if 0 < policy.consecutive_failures <= state.streak else None


def judge(policy: OutlierDetection, requests: int, failures: int) -> EjectionReason | None:
    """At the end of an interval: the reason to eject it if too many of its requests failed, else None. `error_percent` 0: never."""
    if policy.error_percent and requests >= max(1, policy.minimum_requests) and failures * 100 >= policy.error_percent * requests:
        return EjectionReason.ERROR_RATIO
    return None


def may_eject(policy: OutlierDetection, ejected: int, total: int) -> bool:
    """True if one more backend may be ejected. `ejected`: backends of the pool that are already ejected, of `total`; both include backups."""
    return ejected == 0 or (ejected + 1) * 100 <= policy.max_ejected_percent * total


def eject(state: OutlierState, policy: OutlierDetection, now: float) -> OutlierState:
    """The state after an ejection at `now`. Once `max_ejection` is reached, ejections are no longer counted, so that a backend that failed
    all night does not have to work that off during the next day."""
    longest = policy.base_ejection * state.ejections >= policy.max_ejection
    ejections = state.ejections + (not longest)
    return OutlierState(until=now + min(policy.base_ejection * ejections, policy.max_ejection), ejections=ejections)


def readmit(state: OutlierState, now: float) -> OutlierState:
    """The state at `now`: back in rotation once the ejection is over; the same object until then. Call it regularly."""
    return replace(state, until=0.0) if state.ejected and now >= state.until else state


def forgive(state: OutlierState) -> OutlierState:
    """The state after an interval in rotation without a reason to eject it: one ejection less; the same object if there was none."""
    return state if state.ejected or not state.ejections else replace(state, ejections=state.ejections - 1)
