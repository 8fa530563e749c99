"""Errors that a person can cause. Each names what is wrong, where, and how to mend it; command lines print them and exit 2."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (file, line or key path), what, and the cure."""

    where: str
    what: str
    cure: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.cure})" if self.cure else text


class BalanceError(Exception):
    """Base of all errors that a user can cause; carries every problem found, not only the first."""

    def __init__(self, what: str = "", *, where: str = "", cure: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems) or (Problem(where, what, cure),)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CatalogError(BalanceError):
    """A metric, label, threshold or catalog that contradicts itself."""


class QueryError(BalanceError):
    """A PromQL expression that the catalog cannot answer."""


class MonitoringError(BalanceError):
    """A dashboard, alert or bundle that contradicts itself."""


class SettingsError(BalanceError):
    """A settings file or `--set` that names what does not exist or is out of range."""


class SourceError(BalanceError):
    """No source of dashboards and rules, or one that cannot be loaded."""


class RenderError(BalanceError):
    """A declaration that an output format cannot express."""


class StoreError(BalanceError):
    """An output directory that cannot be read or written."""


class LiveError(BalanceError):
    """A running system that cannot be reached, or is not what it should be."""


def choices(names: Iterable[str]) -> str:
    """A list for messages: sorted, comma-separated, or "none"."""
    return ", ".join(sorted(names)) or "none"


def suggestion(name: str, names: Iterable[str]) -> str:
    """The cure for an unknown name: the nearest known one and all choices."""
    from difflib import get_close_matches  # only on the way to a message: start-up counts

    known = sorted(names)
    near = get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"choices: {choices(known)}"
