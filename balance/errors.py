"""Errors that a user can cause. Each says what is wrong, where, and how to fix it; command lines print them and exit with code 2."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

FindingSeverity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (file, line or key path), what, and the cure.

    A finding is a problem that a check found: it has a `subject` (a metric, an alert, a panel), the id of the `check` and a `severity`.
    """

    where: str
    what: str
    cure: str = ""
    subject: str = ""
    check: str = ""
    severity: FindingSeverity = "error"

    def __str__(self) -> str:
        what = f"{self.severity}: {self.subject} {self.what}" if self.check else self.what
        text = f"{self.where}: {what}" if self.where else what
        return text + (f" ({self.cure})" if self.cure else "") + (f" [{self.check}]" if self.check else "")


class BalanceError(Exception):
    """Base of all errors that a user can cause. `problems` are all that were found, not only the first."""

    def __init__(self, what: str = "", *, where: str = "", cure: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems) or (Problem(where, what, cure),)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CatalogError(BalanceError):
    """An invalid metric, label, threshold or catalog."""


class QueryError(BalanceError):
    """A PromQL expression that is invalid for the catalog."""


class MonitoringError(BalanceError):
    """An invalid dashboard, alert or bundle."""


class SettingsError(BalanceError):
    """A settings file or `--set` with an unknown key or an invalid value."""


class SourceError(BalanceError):
    """A source of dashboards and rules that is missing or cannot be loaded."""


class RenderError(BalanceError):
    """A declaration that an output format cannot express."""


class StoreError(BalanceError):
    """An output directory that cannot be read or written."""


class LiveError(BalanceError):
    """A running system that cannot be reached or gives an unexpected response."""


def choices(names: Iterable[str]) -> str:
    """The names sorted and comma-separated, or "none"."""
    return ", ".join(sorted(names)) or "none"


def few(names: Iterable[str], most: int = 5) -> str:
    """The first `most` names, comma-separated, and the number of the others; or "none"."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) or "none") + more


def suggestion(name: str, names: Iterable[str]) -> str:
    """The cure for an unknown name: the name that was probably meant, else at most five choices, the most similar first."""
    from difflib import get_close_matches  # only on the way to a message: start-up counts

    known = sorted(set(names))
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"choices: {few(known if len(known) <= 5 else get_close_matches(name, known, len(known), 0))}"


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant, ignoring case, or an empty string. A name that only leaves words out, such as the unit, is similar."""
    from difflib import SequenceMatcher

    matcher, asked = SequenceMatcher(b=name.lower(), autojunk=False), words(name)
    best, found = 0.6, ""
    for other in sorted(names):
        matcher.set_seq1(other.lower())
        whole = len(asked) > 1 and asked <= words(other)
        if whole or (matcher.real_quick_ratio() > best and matcher.quick_ratio() > best):
            alike = (1 + matcher.ratio()) / 2 if whole else matcher.ratio()
            if alike > best:
                best, found = alike, other
    return found


def words(name: str) -> set[str]:
    """The words of a name, without those that only say which series of a metric it is, such as ``total``."""
    found = {word.removesuffix("s") for word in name.lower().replace(":", "_").replace(".", "_").split("_")}
    return found - {"", "total", "bucket", "count", "sum"}
