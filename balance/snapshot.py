"""What a process has counted, as plain numbers, and how the numbers of several processes become one service's.

Theory. Every series is a number for a counter or a gauge, and otherwise a row of numbers: the counts of the buckets and the sum for a histogram, a
0 or 1 per state for a state set. A metric's rule (`Merge`, in the catalog) is then applied column by column. What has ended leaves its counters
and histograms behind (`lasting`), which are merged with those of the living for ever: so no counter goes back.

Which series there are changes rarely, and their labels weigh more than their numbers: a process that sends snapshot after snapshot `Packer`
tells them anew only when they have changed, so that of 1,000 backends it sends the numbers, in a tenth of the time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable
from typing import Any

from balance.catalog.model import Counter, Histogram, Merge, StateSet
from balance.catalog.registry import Catalog

Key = tuple[str, ...]
"""The values of a metric's labels, in declared order."""
Row = Any
"""A number or a tuple of them; of an exemplar: the id of the trace, the observed value, when that was."""
Snapshot = dict[str, dict[Key, Row]]
"""Metric names to label values to numbers; nothing that `marshal` could not write."""
EXEMPLARS = "exemplars"
"""Under this name a snapshot has the exemplars of all histograms: name of the metric, label values, index of the bucket, to the exemplar."""

_RULES: dict[Merge, Callable[[float, float], float]] = {Merge.SUM: operator.add, Merge.MIN: min, Merge.MAX: max}


def merge(catalog: Catalog, snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of all, by the catalog's rules; a series that only some of them show has the value of those."""
    merged: Snapshot = {metric.name: {} for metric in catalog}
    merged[EXEMPLARS] = {}
    for snapshot in snapshots:
        merged[EXEMPLARS].update(snapshot.get(EXEMPLARS, {}))
        for metric in catalog:
            rule, rows, theirs = _RULES[metric.merge], merged[metric.name], snapshot.get(metric.name, {})
            if not rows:
                rows.update(theirs)
                continue
            single = not isinstance(metric, Histogram | StateSet)
            for key, row in theirs.items():
                present = rows.get(key)
                if present is None:
                    rows[key] = row
                else:
                    rows[key] = rule(present, row) if single else tuple(map(rule, present, row))
    return merged


def shared(catalog: Catalog, snapshot: Snapshot, living: Collection[Snapshot], label: str) -> Snapshot:
    """The series but those in which the label has a value that the same metric has in none of the living: they stand for what is no more."""
    kept = dict(snapshot)
    for metric in catalog:
        if label in metric.label_names and metric.name in kept:
            position = metric.label_names.index(label)
            values = {key[position] for one in living for key in one.get(metric.name, ())}
            kept[metric.name] = {key: row for key, row in kept[metric.name].items() if key[position] in values}
    return kept


def lasting(catalog: Catalog, snapshot: Snapshot) -> Snapshot:
    """What outlives its process: counters and histograms. How things stood with it does not."""
    names = (metric.name for metric in catalog if isinstance(metric, Counter | Histogram))
    return {name: snapshot[name] for name in names if name in snapshot}


Packed = dict[str, tuple[tuple[Key, ...] | None, list[Row]]]
"""Metric names to label values, None where they are as in the snapshot before, and to numbers."""


class Packer:
    """What one end of a channel has told of its series."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Key, ...]] = {}

    def pack(self, snapshot: Snapshot) -> Packed:
        """A snapshot for whoever has got all those before."""
        packed: Packed = {}
        for name, rows in snapshot.items():
            keys = tuple(rows)
            packed[name] = None if self._told.get(name) == keys else keys, list(rows.values())
            self._told[name] = keys
        return packed


class Unpacker:
    """What the other end has heard."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[Key, ...]] = {}

    def unpack(self, packed: Packed) -> Snapshot:
        """The snapshot that was packed."""
        self._heard.update((name, keys) for name, (keys, _rows) in packed.items() if keys is not None)
        return {name: dict(zip(self._heard[name], rows, strict=True)) for name, (_keys, rows) in packed.items()}
