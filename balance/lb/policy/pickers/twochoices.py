"""The better of two drawn at random: least-requests and peak-ewma.

Theory. The best of all by a figure that is a moment old is where everyone goes at once; the better of two random ones avoids the herd and is
nearly as good as the best (Mitzenmacher, The Power of Two Choices, 2001). Both are drawn by weight and without replacement, and the
first wins a tie, so shares under equal load are exactly by weight; load counts per weight, so they stay so when load rises.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import Generic

from balance.lb.policy.pickers.base import C, Candidate

DRAWS = 3
"""Further pairs to draw while those drawn are passed over, before all that are left are ranked: that costs more."""

UNPROVEN = 1e6
"""Seconds that are longer than any request takes."""

Load = Callable[[Candidate, float, float], float]
"""How loaded a candidate is, given `now` and the mean weight; less is better."""


def requests(candidate: Candidate, _now: float, _mean: float) -> float:
    """Requests under way, per weight."""
    return candidate.active / candidate.weight


def latency(candidate: Candidate, now: float, mean: float) -> float:
    """How long a further request would take: what one takes, times those it would share with. Equal weights give Finagle's rule. Of whom
    nothing is known gets one request; until that is answered, others go before."""
    active, seconds = candidate.active, candidate.latency.at(now)
    if active and not seconds:
        seconds = UNPROVEN
    return seconds * (active * mean / candidate.weight + 1)


class TwoChoices(Generic[C]):
    """`load` tells the better one."""

    def __init__(self, candidates: Sequence[C], load: Load, random: Random) -> None:
        self._candidates = candidates
        self._load = load
        self._random = random.random
        self.reweigh()

    def reweigh(self) -> None:
        """Draw by the new weights."""
        self._bounds = list(accumulate(candidate.weight for candidate in self._candidates))
        self._total = self._bounds[-1] if self._bounds else 0.0
        self._mean = self._total / max(1, len(self._bounds))

    def candidates(self, key: int, now: float, average: float) -> Iterator[C]:
        """Pairs, the better one first; if all those are passed over, the rest by load."""
        candidates, load, mean = self._candidates, self._load, self._mean
        if len(candidates) < 2:
            yield from candidates
            return
        one, two = self._pair()
        if load(candidates[two], now, mean) < load(candidates[one], now, mean):
            one, two = two, one
        yield candidates[one]
        yield candidates[two]

        def by_load(index: int) -> float:
            return load(candidates[index], now, mean)

        seen = {one, two}
        for _draw in range(DRAWS):
            for index in sorted(self._pair(), key=by_load):
                if index not in seen:
                    seen.add(index)
                    yield candidates[index]
        everyone = [*range(one, len(candidates)), *range(one)]  # from anywhere, so that the first of equals is not always the same
        for index in sorted(everyone, key=by_load):
            if index not in seen:
                yield candidates[index]

    def _pair(self) -> tuple[int, int]:
        """Two different indices, drawn by weight: the second from what is left without the first's share."""
        bounds, random = self._bounds, self._random
        last = len(bounds) - 1  # also where rounding takes a point to the very end
        first = bisect_right(bounds, random() * self._total, 0, last)
        start = bounds[first - 1] if first else 0.0
        share = bounds[first] - start
        point = random() * (self._total - share)
        if point >= start:
            point += share
        second = bisect_right(bounds, point, 0, last)
        if second == first:  # by rounding, again
            second = first - 1 if first else 1
        return first, second
