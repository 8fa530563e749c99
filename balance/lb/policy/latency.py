"""The latency of a backend: a moving average that follows increases at once and decreases slowly.

Theory. Peak EWMA, as in Finagle and Linkerd: a sample above the average replaces it; a sample below draws it down, the more the older the
average is. Without samples the value decays, so that a backend that was slow once is tried again, with a request now and then.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

DECAY = 10.0
"""Seconds in which the average decays to 1/e, as in Finagle."""
FAILURE = 1.0
"""Minimum seconds that a failed attempt counts as: a backend that fails fast must not look fast."""


class Peak(NamedTuple):
    """The average at one moment: `seconds` as of the time `stamp`. A new backend has `UNKNOWN`, so it is tried soon."""

    seconds: float = 0.0
    stamp: float = 0.0

    def at(self, now: float) -> float:
        """The decayed average at `now`, in seconds."""
        return self.seconds * exp((self.stamp - now) / DECAY)


UNKNOWN = Peak()


def observed(peak: Peak, seconds: float, now: float, *, failed: bool = False) -> Peak:
    """The average after an attempt whose response began, or that `failed`, after `seconds`. `now`: seconds on a monotonic clock."""
    if failed:
        seconds = max(seconds, FAILURE)
    kept = exp((peak.stamp - now) / DECAY)
    if seconds >= peak.seconds * kept:
        return Peak(seconds, now)
    return Peak(peak.seconds * kept + seconds * (1 - kept), now)
