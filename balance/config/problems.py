"""Collect the problems of a file, each with its file, line and key path, and report all of them at once."""

from __future__ import annotations

from balance.errors import BalanceError, Problem


class Problems:
    """The problems of one file, and the position of each key, for problems that are found after reading.

    `source` is the name of the file in messages; without one, problems have a key path only.
    """

    def __init__(self, source: str = "") -> None:
        self.source = source
        self.found: list[Problem] = []
        self.places: dict[str, str] = {}
        """By key path: the file and line, or the environment variable or option that set the value."""
        self._wrong: list[str] = []
        """Key paths of problems."""

    def add(self, path: str, what: str, cure: str, place: str = "") -> None:
        """Record a problem of a key path, at `place` or else at the position of the key or of the nearest key above it."""
        self._wrong.append(path)
        above = path
        while above and above not in self.places:
            above = above[: max(above.rfind("."), above.rfind("["), 0)]
        where = place or self.places.get(above, self.source)
        self.found.append(Problem(": ".join(filter(None, (where, path))), what, cure))

    def has_problem(self, path: str) -> bool:
        """True if there is a problem with the key path or below it."""
        return any(f"{wrong}.".startswith((f"{path}.", f"{path}[")) for wrong in self._wrong)

    def raise_if_any(self, error: type[BalanceError]) -> None:
        """Raise `error` with all problems, if there are any."""
        if self.found:
            raise error(problems=self.found)
