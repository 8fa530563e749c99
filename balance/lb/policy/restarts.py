"""The pause before an ended worker process is restarted: short the first time, longer while it keeps ending."""

from __future__ import annotations

MIN_PAUSE, MAX_PAUSE = 0.1, 30.0
"""Shortest and longest pause, in seconds."""
STABLE_SECONDS = 60.0
"""Seconds after which a worker counts as stable: its failures start at 0 again."""


def ended(failures: int, lived: float) -> tuple[int, float]:
    """After a worker ended that had `lived` this many seconds: its failures in a row, and the pause before the next start, in seconds."""
    failures = 1 if lived >= STABLE_SECONDS else failures + 1
    return failures, min(MAX_PAUSE, MIN_PAUSE * 2 ** min(failures - 1, 16))
