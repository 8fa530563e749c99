"""How long a backend takes: a moving average that believes bad news at once and good news slowly.

Theory. Finagle's and Linkerd's peak EWMA: a sample above the average replaces it, one below draws it down by its age. Without samples the
figure fades, so that a backend that was slow once is tried again; with a half-life of some seconds that is one request now and then.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

DECAY = 10.0
"""Seconds in which a peak fades to 1/e, as in Finagle."""
FAILURE = 1.0
"""Seconds that a failed attempt counts as at least: who fails fast must not look fast."""


class Peak(NamedTuple):
    """One moment: `seconds` as of the time `stamp`. The first value of a backend is `UNKNOWN`: it is tried soon."""

    seconds: float = 0.0
    stamp: float = 0.0

    def at(self, now: float) -> float:
        """Seconds that a request takes, going by what is known at `now`."""
        return self.seconds * exp((self.stamp - now) / DECAY)


UNKNOWN = Peak()


def observed(peak: Peak, seconds: float, now: float, *, failed: bool = False) -> Peak:
    """After an attempt that took so long until its response began, or failed. The same clock as everywhere: `now` never goes back."""
    if failed:
        seconds = max(seconds, FAILURE)
    kept = exp((peak.stamp - now) / DECAY)
    if seconds >= peak.seconds * kept:
        return Peak(seconds, now)
    return Peak(peak.seconds * kept + seconds * (1 - kept), now)
