"""Whether an expression can have a result, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from balance.errors import Problem


class Liveness(IntEnum):
    """Whether an expression can have a result, from worst to best."""

    DEAD = 0
    CANNOT_TELL = 1
    LIVE = 2

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Assessment:
    """A liveness and the reasons why it is not better.

    The `check` of a reason is ``name``, ``label``, ``label-value``, ``type``, ``matching``, ``variable`` or ``unreadable``; place and subject
    are those of the expression and are filled in when it is reported.
    """

    liveness: Liveness
    reasons: tuple[Problem, ...] = ()


LIVE = Assessment(Liveness.LIVE)


def dead(check: str, what: str, cure: str) -> Assessment:
    """The assessment of what can never have a result."""
    return Assessment(Liveness.DEAD, (Problem("", what, cure, check=check),))


def cannot_tell(check: str, what: str, cure: str = "") -> Assessment:
    """The assessment of what may have a result, or not: the index does not say."""
    return Assessment(Liveness.CANNOT_TELL, (Problem("", what, cure, check=check),))
