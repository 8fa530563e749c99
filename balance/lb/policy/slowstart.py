"""Slow start: a new or recovered backend gets few requests at first, while its caches are cold and its connections not open."""

from __future__ import annotations

FLOOR = 0.1
"""Share of the weight at the start, as in Envoy: with 0 it would never warm up."""


def effective(weight: float, since: float, now: float, window: float) -> float:
    """The weight at `now` of a backend that is available since `since`: linear from a tenth to all of it in `window` seconds; 0: at once."""
    if now - since >= window:
        return weight
    return weight * max(FLOOR, (now - since) / window)
