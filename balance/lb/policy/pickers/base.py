"""What a picker needs to know of a backend, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from balance.lb.config.model import BackendConfig
from balance.lb.policy.latency import Peak


class Candidate(Protocol):
    """A backend, as far as a choice depends on it. All are plain attributes: a pick reads them in a hot loop.

    `weight`: the effective one, above 0; slow start moves it. `active`: requests under way. `latency`: how long it takes, for peak-ewma.
    """

    @property
    def config(self) -> BackendConfig: ...
    @property
    def weight(self) -> float: ...
    @property
    def active(self) -> int: ...
    @property
    def latency(self) -> Peak: ...


C = TypeVar("C", bound=Candidate)
C_co = TypeVar("C_co", bound=Candidate, covariant=True)


class Picker(Protocol[C_co]):
    """Made for a fixed list of candidates; another list needs another picker."""

    def candidates(self, key: int, now: float, average: float) -> Iterator[C_co]:
        """All candidates, each once, the one to prefer first. The caller takes the first that is healthy and has room; whoever comes before
        that is passed over. Lazy: ask for no more than are needed, and use one order up before the next is begun.

        `key`: what consistent-hash goes by, see `table.digest`. `now`: seconds, on the clock of `latency`. `average`: requests under way, this
        one included, per unit of weight of those that are available; consistent-hash bounds loads by it, `math.inf` for no bound.
        """
        ...

    def reweigh(self) -> None:
        """Effective weights have changed."""
        ...
