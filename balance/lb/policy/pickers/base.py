"""The interfaces of candidates and pickers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from balance.lb.config.model import BackendConfig
from balance.lb.policy.latency import Peak


class Candidate(Protocol):
    """The parts of a backend that a choice depends on. All are plain attributes, because a picker reads them in a hot loop."""

    @property
    def config(self) -> BackendConfig:
        """Its configuration."""
        ...

    @property
    def weight(self) -> float:
        """Effective weight, above 0; slow start changes it."""
        ...

    @property
    def active(self) -> int:
        """Requests in progress."""
        ...

    @property
    def latency(self) -> Peak:
        """Its average latency, for peak-ewma."""
        ...


C = TypeVar("C", bound=Candidate)
C_co = TypeVar("C_co", bound=Candidate, covariant=True)


class Picker(Protocol[C_co]):
    """Orders a fixed list of candidates; another list needs another picker."""

    def candidates(self, key: int, now: float, average: float) -> Iterator[C_co]:
        """All candidates, each once, the preferred one first. The caller takes the first that is healthy and has room; those before it are
        skipped. Lazy: take no more than needed, and finish with one order before starting the next.

        `key`: the hash key for consistent-hash, see `table.digest`. `now`: seconds on the clock of `latency`. `average`: requests in progress,
        this one included, per unit of weight of the available candidates; the load bound of consistent-hash, `math.inf` for no bound.
        """
        ...

    def reweigh(self) -> None:
        """Adapt to changed effective weights."""
        ...
