"""Consistent hashing with bounded loads: a key goes to the same backend while that is available and not overloaded.

Theory. A Maglev table (Eisenbud et al., Maglev, NSDI 2016, section 3.4): backends take turns, by weight, to claim slots, each in an order
that depends only on its name. The slot of a key names its backend. Compared with a ring of points, shares are exact to a slot instead of
some percent, a lookup is one index, and the cost does not depend on weights; in return, when one of n leaves, about a percent of the
other keys move too. Balancers with the same backends have the same table.

Bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018): a backend with `factor` times its fair share of the requests in progress is
skipped for the next one in the table, so a popular key spreads no farther than needed. Slots follow the configured weights, bounds the
effective ones: a backend in slow start keeps its keys and takes as many of their requests as its bound allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from heapq import heapify, heapreplace
from typing import Generic

from balance.lb.policy.pickers.base import C

SLOTS = 16381
"""A prime, so that any step visits every slot. Never change it: all keys would move."""


def digest(text: bytes, secret: bytes = b"") -> int:
    """A key from 0 to 2**64 - 1 for `Picker.candidates`. With a `secret` (at most 64 bytes) nobody else can search for keys of one slot;
    balancers with the same secret agree."""
    return int.from_bytes(blake2b(text, digest_size=8, key=secret).digest())


def claim(weights: Sequence[tuple[str, int]]) -> Sequence[int]:
    """The index of the owner of each slot, given names and weights; their order does not matter. Takes about 12 milliseconds."""
    place, step, turns = [0] * len(weights), [0] * len(weights), []
    for rank, index in enumerate(sorted(range(len(weights)), key=lambda index: weights[index][0])):
        name, weight = weights[index]
        mark = digest(name.encode())
        place[index], step[index] = mark % SLOTS, mark // SLOTS % (SLOTS - 1) + 1
        turns.append((1 / weight, rank, index))
    heapify(turns)
    owners = [-1] * SLOTS
    for _slot in owners if turns else ():
        due, rank, index = turns[0]
        slot = place[index]
        while owners[slot] >= 0:
            slot = (slot + step[index]) % SLOTS
        owners[slot] = index
        place[index] = slot
        heapreplace(turns, (due + 1 / weights[index][1], rank, index))
    return owners


class MaglevTable(Generic[C]):
    """A table of candidates; `factor`: how far above the average a candidate may be loaded, for example 1.25."""

    def __init__(self, candidates: Sequence[C], factor: float) -> None:
        self._candidates = candidates
        self._factor = factor
        self._owners = claim([(candidate.config.name, candidate.config.weight) for candidate in candidates])

    def candidates(self, key: int, now: float, average: float) -> Iterator[C]:
        """The owner of the key's slot, then the owners of the next slots; those over their bound come last."""
        bound = self._factor * average
        full: list[C] = []
        for candidate in self._walk(key % SLOTS):
            if candidate.active < bound * candidate.weight:
                yield candidate
            else:
                full.append(candidate)
        yield from full

    def reweigh(self) -> None:
        """Does nothing: weights are read at each choice."""

    def _walk(self, start: int) -> Iterator[C]:
        candidates, owners = self._candidates, self._owners
        if not candidates:
            return
        seen: set[int] = set()
        for slot in range(start, start + SLOTS):
            index = owners[slot % SLOTS]
            if index not in seen:
                seen.add(index)
                yield candidates[index]
                if len(seen) == len(candidates):
                    return
        yield from (candidate for index, candidate in enumerate(candidates) if index not in seen)  # too light for a slot
