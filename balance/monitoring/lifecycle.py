"""The life of an alert: what Prometheus makes of the results of a rule, evaluation after evaluation.

Theory. A series of the result is an alert: pending from its first evaluation on, and firing once it has been there for ``for``. Gone, one that was
pending is forgotten; one that fires goes on for ``keep_firing_for`` and is then over. Back after that, it begins anew (rules/alerting.go of
Prometheus; promtool is the oracle). Time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Labels = frozenset[tuple[str, str]]


class Standing(NamedTuple):
    """An alert that is pending or `firing`: since when it is `active`, in seconds; the last `value` of its expression; and, if it fires though
    its expression has no result any more, since when there is none (`gone`).
    """

    firing: bool
    active: float
    value: float
    gone: float | None = None


def evaluated(
    before: Mapping[Labels, Standing], found: Mapping[Labels, float], now: float, *, wait: float, keep_firing: float = 0
) -> dict[Labels, Standing]:
    """All alerts of a rule after an evaluation at `now` that `found` these values."""
    after = {}
    for labels, value in found.items():
        known = before.get(labels)
        active = known.active if known else now
        after[labels] = Standing((known is not None and known.firing) or now - active >= wait, active, value)
    for labels, known in before.items():
        gone = now if known.gone is None else known.gone
        if labels not in found and known.firing and now - gone < keep_firing:
            after[labels] = known._replace(gone=gone)
    return after
