"""How many of something each client has at present: connections, requests in flight."""

from __future__ import annotations


class Tally:
    """Counts per client, 0 for no limit. There is an entry only for who has some, so what is counted bounds it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Tally of {len(self)} clients, at most {self._limit or 'any number'} each>"

    def __len__(self) -> int:
        return len(self._counts)

    def enter(self, client: str) -> bool:
        """One more, if that is within the limit; only then there is one to `leave`."""
        count = self._counts.get(client, 0)
        if 0 < self._limit <= count:
            return False
        self._counts[client] = count + 1
        return True

    def leave(self, client: str) -> None:
        """One less."""
        count = self._counts[client]
        if count > 1:
            self._counts[client] = count - 1
        else:
            del self._counts[client]
