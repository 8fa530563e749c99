"""What the page makes of alerts: which are held back, and what became of those that were."""

from __future__ import annotations

import pytest

from balance.demo.watch import RESOLVED_SECONDS, ActiveAlert, Board, Key, held_back
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import Inhibition

KEY: Key = ("BalanceDown", frozenset({("instance", "a:1")}))


def test_alert_stages(bundle: Bundle) -> None:
    board, name = Board(bundle.alerts), KEY[0]
    assert board.stage(name) == "inactive"
    board.update({KEY: ActiveAlert(False, "is down")}, 10)
    assert (board.stage(name), board.alarms[0].since) == ("pending", 10)
    board.update({KEY: ActiveAlert(True, "is down")}, 13)
    board.update({KEY: ActiveAlert(True, "is still down")}, 14)
    assert (board.stage(name), board.alarms[0].since, board.alarms[0].summary) == ("firing", 13, "is still down")
    board.update({}, 20)
    assert (board.stage(name), board.alarms[0].since) == ("resolved", 20)
    board.update({}, 20 + RESOLVED_SECONDS)
    assert board.stage(name) == "inactive"
    assert [event.what for event in board.events] == ["resolved", "firing", "pending"]


def test_pending_alert_is_not_resolved(bundle: Bundle) -> None:
    board = Board(bundle.alerts)
    board.update({KEY: ActiveAlert(False, "is down")}, 10)
    board.update({}, 11)
    assert board.alarms == []


@pytest.mark.parametrize(
    ("labels", "firing", "held"),
    [
        ({"job": "a", "instance": "1"}, ("Worse", {"job": "a", "instance": "1"}), True),
        ({"job": "a", "instance": "1"}, ("Worse", {"job": "a", "instance": "2"}), False),
        ({"job": "a", "instance": "1"}, ("Other", {"job": "a", "instance": "1"}), False),
        ({"job": "a"}, ("Worse", {"job": "a", "instance": ""}), True),
        ({"job": "a", "instance": "1"}, ("All", {"job": "a"}), True),
        ({"job": "a", "instance": "1"}, ("All", {"job": "a", "instance": "1"}), False),
        ({"job": "a", "instance": "1"}, ("Nobody", {"job": "a", "instance": "1"}), False),
    ],
)
def test_inhibition_matches_alertmanager(labels: dict[str, str], firing: tuple[str, dict[str, str]], held: bool) -> None:
    inhibitions = (
        Inhibition("Worse", ("Bad",), equal=("job", "instance")),
        Inhibition("All", ("Bad",), source_without=("instance",)),
        Inhibition("Nobody", ("Bad",), targets_without=("instance",)),
    )
    assert held_back("Bad", labels, [firing], inhibitions) == held
    assert not held_back("Fine", labels, [firing], inhibitions)
