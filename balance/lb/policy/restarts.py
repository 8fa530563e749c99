"""How long a worker process that has ended is waited for: at once the first time, ever longer while it keeps ending."""

from __future__ import annotations

MIN_PAUSE, MAX_PAUSE = 0.1, 30.0
"""Seconds of the shortest and of the longest pause."""
STABLE_SECONDS = 60.0
"""Seconds after which a worker is taken for sound again."""


def ended(failures: int, lived: float) -> tuple[int, float]:
    """A worker has ended after so many seconds: its failures in a row now, and the pause before the next start, in seconds."""
    failures = 1 if lived >= STABLE_SECONDS else failures + 1
    return failures, min(MAX_PAUSE, MIN_PAUSE * 2 ** min(failures - 1, 16))
