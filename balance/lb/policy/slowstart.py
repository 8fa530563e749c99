"""A backend that has just come or come back gets little at first: caches are cold, code is not compiled, connections are not open."""

from __future__ import annotations

FLOOR = 0.1
"""Share of the weight to begin with, as in Envoy: with nothing at all it would never warm up."""


def effective(weight: float, since: float, now: float, window: float) -> float:
    """The weight at `now` of a backend that has been available since then: linear from a tenth to all of it in `window` seconds, 0 for at once."""
    if now - since >= window:
        return weight
    return weight * max(FLOOR, (now - since) / window)
