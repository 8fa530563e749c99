"""Counts something per client, up to a limit: requests in flight, for example."""

from __future__ import annotations


class Tally:
    """Counts per client, each at most `limit`, 0 for no limit. Only clients with a count above 0 take memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Tally of {len(self)} clients, at most {self._limit or 'any number'} each>"

    def __len__(self) -> int:
        return len(self._counts)

    def enter(self, client: str) -> bool:
        """Increment and return True, or return False at the limit."""
        count = self._counts.get(client, 0)
        if 0 < self._limit <= count:
            return False
        self._counts[client] = count + 1
        return True

    def leave(self, client: str) -> None:
        """Decrement, once for each successful `enter`."""
        count = self._counts[client]
        if count > 1:
            self._counts[client] = count - 1
        else:
            del self._counts[client]
