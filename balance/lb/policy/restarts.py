"""How long a worker process that has ended is waited for: at once the first time, ever longer while it keeps ending."""

from __future__ import annotations

FIRST, LONGEST = 0.1, 30.0
"""Seconds of the shortest and of the longest pause."""
GOOD_LIFE = 60.0
"""Seconds after which a worker is taken for sound again."""


def ended(failures: int, lived: float) -> tuple[int, float]:
    """A worker has ended after so many seconds: its failures in a row now, and the pause before the next start, in seconds."""
    failures = 1 if lived >= GOOD_LIFE else failures + 1
    return failures, min(LONGEST, FIRST * 2 ** min(failures - 1, 16))
