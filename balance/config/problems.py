"""What is wrong with a file: gathered, and told at once, each problem with its file, line and key path."""

from __future__ import annotations

from balance.errors import BalanceError, Problem


class Problems:
    """The problems of one file. It remembers where each key is, for those who find something wrong once the file is read.

    `source` is the name of the file in messages; empty: there is none, and key paths alone say where.
    """

    def __init__(self, source: str = "") -> None:
        self.source = source
        self.found: list[Problem] = []
        self.places: dict[str, str] = {}
        """By key path: the file and line, or the name of what was laid over it."""
        self._wrong: list[str] = []
        """Key paths of problems."""

    def complain(self, path: str, what: str, cure: str, place: str = "") -> None:
        """Note a problem with the key path: at the place, or else where the key or the nearest one above it is."""
        self._wrong.append(path)
        above = path
        while above and above not in self.places:
            above = above[: max(above.rfind("."), above.rfind("["), 0)]
        where = place or self.places.get(above, self.source)
        self.found.append(Problem(": ".join(filter(None, (where, path))), what, cure))

    def spoiled(self, path: str) -> bool:
        """Whether something is wrong with the key path or below it: then nothing follows from what is there."""
        return any(f"{wrong}.".startswith((f"{path}.", f"{path}[")) for wrong in self._wrong)

    def end(self, error: type[BalanceError]) -> None:
        """Raise `error` if anything is wrong."""
        if self.found:
            raise error(problems=self.found)
