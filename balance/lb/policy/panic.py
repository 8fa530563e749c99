"""Panic mode: ignores health when too few backends of a pool are healthy.

Theory. If most of a pool fails its checks, the remaining backends would be overloaded by all the requests, and a wrong check (or a
network fault) is more likely than that all others are down. So below a threshold health is ignored, as in Envoy: all backends get their
share again, and some requests succeed instead of none. Ignored are active checks and ejections. Limits, open circuit breakers (they let
probes pass, so they close by themselves) and draining (an operator's decision, not an observation) still apply.
"""

from __future__ import annotations

from collections.abc import Iterable


def panics(threshold: int, tiers: Iterable[tuple[int, int]]) -> bool:
    """True if health is to be ignored. `threshold`: percent, 0 for never. `tiers`: for the main backends and for the backups, the number
    of healthy ones (by checks and ejections; weights do not matter) and their total. One tier above the threshold is enough for False."""
    filled = [(available, total) for available, total in tiers if total]
    return bool(filled) and all(available * 100 < threshold * total for available, total in filled)
