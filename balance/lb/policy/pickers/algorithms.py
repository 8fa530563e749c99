"""The algorithms by their names in the configuration; with all of them, backups come last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from random import Random
from typing import Any, Generic

from balance.lb.config.model import LoadBalancer
from balance.lb.policy.pickers.base import C, Picker
from balance.lb.policy.pickers.rotation import Rotation
from balance.lb.policy.pickers.table import MaglevTable
from balance.lb.policy.pickers.twochoices import TwoChoices, latency, requests


class First(Generic[C]):
    """Candidates in configured order: the second gets what the first cannot take."""

    def __init__(self, candidates: Sequence[C]) -> None:
        self._candidates = candidates

    def candidates(self, key: int, now: float, average: float) -> Iterator[C]:
        """All candidates, in configured order."""
        return iter(self._candidates)

    def reweigh(self) -> None:
        """Does nothing: weights do not matter here."""


class Tiers(Generic[C]):
    """Two pickers, one after the other."""

    def __init__(self, main: Picker[C], backup: Picker[C]) -> None:
        self._main, self._backup = main, backup

    def candidates(self, key: int, now: float, average: float) -> Iterator[C]:
        """All candidates of `main`, then those of `backup`."""
        return chain(self._main.candidates(key, now, average), self._backup.candidates(key, now, average))

    def reweigh(self) -> None:
        """Reweigh both."""
        self._main.reweigh()
        self._backup.reweigh()


ALGORITHMS: dict[str, Callable[[Sequence[Any], LoadBalancer, Random], Picker[Any]]] = {
    "round-robin": lambda candidates, _policy, random: Rotation(candidates, random),
    "least-requests": lambda candidates, _policy, random: TwoChoices(candidates, requests, random),
    "peak-ewma": lambda candidates, _policy, random: TwoChoices(candidates, latency, random),
    "consistent-hash": lambda candidates, policy, _random: MaglevTable(candidates, policy.balance_factor),
    "first": lambda candidates, _policy, _random: First(candidates),
}


def make(policy: LoadBalancer, candidates: Sequence[C], random: Random) -> Picker[C]:
    """The picker for the configured algorithm. A changed list of candidates needs a new picker; each candidate loses at most one turn then."""
    algorithm = ALGORITHMS[policy.algorithm]
    main, backup = ([candidate for candidate in candidates if candidate.config.backup is wanted] for wanted in (False, True))
    if main and backup:
        return Tiers(algorithm(main, policy, random), algorithm(backup, policy, random))
    return algorithm(main or backup, policy, random)
