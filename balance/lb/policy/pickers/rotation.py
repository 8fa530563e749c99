"""Smooth weighted round robin in logarithmic time.

Theory. Earliest deadline first: on a common time line each candidate has a turn every ``1 / weight``, and the earliest turn is served.
Shares are exactly by weight. Smoothness depends on where the turns begin: if all began at once, weights 5, 1, 1 would give a a a a a b c,
so candidates of equal weight begin evenly spread over their period, which gives a b a a a c a. In any stretch, no candidate is off by
two turns or more.

A turn that is offered and not taken is lost. So skipped candidates (unhealthy, full, tried before) cannot save up turns for a burst, the
others share by their weights, and a candidate that comes back continues in its own rhythm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, heappushpop
from math import floor
from random import Random
from typing import Generic

from balance.lb.policy.pickers.base import C

Turn = tuple[float, int, C]
"""When it is due, the candidate's index (the lower one goes first if both are due), the candidate."""


class Rotation(Generic[C]):
    """Round robin; `random` decides where in the cycle to begin, so that workers and reloads do not all begin with the same backend."""

    def __init__(self, candidates: Sequence[C], random: Random) -> None:
        start = random.random()
        rank: Counter[float] = Counter()
        equals = Counter(candidate.weight for candidate in candidates)
        self._turns: list[Turn[C]] = []
        for place, candidate in enumerate(candidates):
            phase = (rank[candidate.weight] + 0.5) / equals[candidate.weight] + start
            self._turns.append(((phase % 1) / candidate.weight, place, candidate))
            rank[candidate.weight] += 1
        heapify(self._turns)
        self._offered: list[Turn[C]] = []
        """turns of the last order, not yet put back; the last one is the current position on the time line"""

    def candidates(self, key: int, now: float, average: float) -> Iterator[C]:
        """Candidates by their next turn. The weight is read at each turn, so it may change."""
        offered = self._offered
        if len(offered) == 1:  # the first was taken last time: by far the most common
            due, place, candidate = offered.pop()
            turn = heappushpop(self._turns, (due + 1 / candidate.weight, place, candidate))
        elif self._turns or offered:
            self._rejoin()
            turn = heappop(self._turns)
        else:
            return
        offered.append(turn)
        yield turn[2]
        while self._turns:
            turn = heappop(self._turns)
            offered.append(turn)
            yield turn[2]

    def reweigh(self) -> None:
        """Does nothing: weights are read at each turn."""

    def _rejoin(self) -> None:
        """Give each offered candidate the next turn of its own rhythm."""
        time = self._offered[-1][0] if self._offered else 0.0
        for due, place, candidate in self._offered:
            missed = floor((time - due) * candidate.weight)
            heappush(self._turns, (due + (missed + 1) / candidate.weight, place, candidate))
        self._offered.clear()
