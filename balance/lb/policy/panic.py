"""When so many backends are out that their health is no longer believed.

Theory. If most of a pool fails its checks, the few that are left would be buried by everyone's requests, and it is likelier that the check is
wrong (or the network) than that all are dead. So below a threshold health is ignored, as in Envoy: all take their share again, and some
requests succeed instead of none. What is ignored: active checks and ejections. What still holds: limits, open circuit breakers (they let
probes pass, so they end by themselves) and draining, which is somebody's wish and no finding.
"""

from __future__ import annotations

from collections.abc import Iterable


def panics(threshold: int, tiers: Iterable[tuple[int, int]]) -> bool:
    """Whether to ignore health. `threshold`: percent, 0 for never. `tiers`: for the main backends and for the backups, how many are
    available (by checks and ejections; weights do not matter) and how many there are. One tier in order is enough to go on with."""
    filled = [(available, total) for available, total in tiers if total]
    return bool(filled) and all(available * 100 < threshold * total for available, total in filled)
