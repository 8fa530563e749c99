"""The states of alerts: how Prometheus turns the results of a rule into pending and firing alerts, evaluation after evaluation.

Theory. Each series of the result is an alert: pending from its first evaluation on, firing once it has been there for ``for``. When the series
disappears, a pending alert is dropped; a firing one continues for ``keep_firing_for`` and then ends. If the series returns later, the alert starts
again (rules/alerting.go of Prometheus; promtool is the oracle). Time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Labels = frozenset[tuple[str, str]]


class AlertState(NamedTuple):
    """A pending or `firing` alert: `active_since` (seconds), the last `value` of its expression and, for an alert that keeps firing without a
    result, `absent_since` (seconds).
    """

    firing: bool
    active_since: float
    value: float
    absent_since: float | None = None


def next_states(
    before: Mapping[Labels, AlertState], found: Mapping[Labels, float], now: float, *, wait: float, keep_firing: float = 0
) -> dict[Labels, AlertState]:
    """The alerts of a rule after an evaluation at `now` (seconds) with the values `found`, from those `before` it. `wait` is the rule's ``for``,
    `keep_firing` its ``keep_firing_for``, both in seconds.
    """
    after = {}
    for labels, value in found.items():
        known = before.get(labels)
        active = known.active_since if known else now
        after[labels] = AlertState((known is not None and known.firing) or now - active >= wait, active, value)
    for labels, known in before.items():
        absent_since = now if known.absent_since is None else known.absent_since
        if labels not in found and known.firing and now - absent_since < keep_firing:
            after[labels] = known._replace(absent_since=absent_since)
    return after
