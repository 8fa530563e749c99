"""Smooth weighted round robin in logarithmic time.

Theory. Earliest deadline first: on a common time line each candidate has a turn every ``1 / weight``, and the next turn on the line is served.
Shares come out exactly by weight. Where the turns begin decides about smoothness: if all began at once, weights 5, 1, 1 would give a a a a
a b c, so those of equal weight begin evenly spread over their period, which gives a b a a a c a; nobody gets two turns too many or
too few in any stretch.

A turn that is offered and not taken is lost. So those passed over (unhealthy, full, tried before) cannot save up for a burst, the rest
share in proportion to their weights, and whoever comes back finds itself in rhythm.
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
"""When it is due, the place in the configuration (the first of equals goes first), whose it is."""


class Rotation(Generic[C]):
    """`random`: where in the cycle to begin, so that workers and reloads do not all begin with the same backend."""

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
        """by the last order, and not yet back among the turns: its end is where the time line has got to"""

    def candidates(self, key: int, now: float, average: float) -> Iterator[C]:
        """Those whose turn comes first. The weight is read at each turn, so a change needs no more."""
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
        """Nothing to do."""

    def _rejoin(self) -> None:
        """Everyone who was offered gets the first turn in his own rhythm that is still to come."""
        time = self._offered[-1][0] if self._offered else 0.0
        for due, place, candidate in self._offered:
            missed = floor((time - due) * candidate.weight)
            heappush(self._turns, (due + (missed + 1) / candidate.weight, place, candidate))
        self._offered.clear()
