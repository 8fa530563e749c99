"""The result of a benchmark: a table, and whether its goals are met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Goal(NamedTuple):
    """A measured figure that must be at most `bound`, or at least."""

    claim: str
    bound: float
    measured: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


class Result(NamedTuple):
    table: str
    goals: Sequence[Goal] = ()


def markdown(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table whose first column is text and whose others are right-aligned numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def summary(goals: Iterable[Goal]) -> str:
    """A Markdown table of the goals and what was measured."""
    rows = (
        (goal.claim, f"{'at least' if goal.at_least else 'at most'} {goal.bound:g}", f"{goal.measured:.2f}", "yes" if goal.met else "no")
        for goal in goals
    )
    return markdown(("goal", "bound", "measured", "met"), rows)
