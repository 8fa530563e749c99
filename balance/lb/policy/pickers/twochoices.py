"""The better of two drawn at random: least-requests and peak-ewma.

Theory. If all balancers choose the least loaded backend by slightly old figures, they all choose the same one; the better of two random
ones avoids that herd and is nearly as good (Mitzenmacher, The Power of Two Choices, 2001). Both are drawn by weight, without replacement,
and the first wins a tie, so shares under equal load are by weight; load is counted per weight, so that stays true when load rises.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import Generic

from balance.lb.policy.pickers.base import C, Candidate

DRAWS = 3
"""Further pairs to draw when the first is skipped, before all remaining candidates are sorted, which costs more."""

UNPROVEN = 1e6
"""Assumed latency in seconds of a busy backend without a measurement: longer than any request."""

Load = Callable[[Candidate, float, float], float]
"""Load of a candidate, given `now` and the mean weight; less is better."""


def requests(candidate: Candidate, _now: float, _mean: float) -> float:
    """Requests in progress, per weight."""
    return candidate.active / candidate.weight


def latency(candidate: Candidate, now: float, mean: float) -> float:
    """Expected seconds of a further request: the latency times the requests in progress (with equal weights, Finagle's rule). A candidate
    without a measurement gets one request; until that is answered, others are preferred."""
    active, seconds = candidate.active, candidate.latency.at(now)
    if active and not seconds:
        seconds = UNPROVEN
    return seconds * (active * mean / candidate.weight + 1)


class TwoChoices(Generic[C]):
    """Draws two random candidates and prefers the one with the lower `load`."""

    def __init__(self, candidates: Sequence[C], load: Load, random: Random) -> None:
        self._candidates = candidates
        self._load = load
        self._random = random.random
        self.reweigh()

    def reweigh(self) -> None:
        """Draw by the new weights from now on."""
        self._bounds = list(accumulate(candidate.weight for candidate in self._candidates))
        self._total = self._bounds[-1] if self._bounds else 0.0
        self._mean = self._total / max(1, len(self._bounds))

    def candidates(self, key: int, now: float, average: float) -> Iterator[C]:
        """Random pairs, the better one first; then all others by load."""
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
        """Two different indices, drawn by weight without replacement."""
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
