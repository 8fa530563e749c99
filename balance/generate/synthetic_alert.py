"""A synthetic alert goes the way of the real one, through the real channel, and is taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from balance.errors import SourceError, suggestion
from balance.generate.amtool import labels
from balance.live.alertmanager import Alertmanager, NotificationCount
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import SYNTHETIC, Routing, applied
from balance.monitoring.settings import Settings

Say = Callable[[str], object]
POLL_SECONDS = 0.2
GRACE_SECONDS = 30
"""Beyond the time that a group waits before its first message."""
ACCEPTED_SECONDS = 10


def send(name: str, url: str, patience: float | None, bundle: Bundle, settings: Settings, say: Say = print) -> bool:
    """Send, follow, take back. Returns True if every integration took the message, False if one did not or the alert is held back.

    Raises `SourceError` for an unknown alert, and `LiveError` if the Alertmanager cannot be asked.
    """
    alert = next((alert for alert in bundle.alerts if alert.name == name), None)
    if alert is None:
        raise SourceError(f"no alert {name!r}", cure=suggestion(name, (alert.name for alert in bundle.alerts)))
    routing = applied(bundle.routing, settings) if bundle.routing else None
    given = {**labels(alert, settings, SYNTHETIC), SYNTHETIC: "true"}
    if patience is None:
        patience = GRACE_SECONDS + (routing.route(given["severity"]).group_wait if routing else GRACE_SECONDS)
    server = Alertmanager(url)
    before = server.sent()
    synthetic = {
        "labels": given,
        "annotations": {
            "summary": f"TEST of the way that {name} takes; nothing is wrong",
            "description": "Sent by balance-gen test-alert to see that messages arrive. Nothing needs to be done.",
        },
    }
    server.post(synthetic)
    try:
        return _follow(server, given, before, patience, routing, say)
    finally:
        known = server.find(given)
        if known:  # ended by the clock of the Alertmanager, not by ours
            server.post({**synthetic, "startsAt": known["startsAt"], "endsAt": known["updatedAt"]})
        gone = _until(lambda: server.find(given) is None, ACCEPTED_SECONDS)
        say("resolved" if gone else "NOT resolved yet: Alertmanager forgets it after its resolve_timeout")


def _follow(
    server: Alertmanager, given: dict[str, str], before: dict[str, NotificationCount], patience: float, routing: Routing | None, say: Say
) -> bool:
    known = _until(lambda: server.find(given), ACCEPTED_SECONDS)
    if not known:
        say(f"NOT accepted: {server.url} took the alert and does not show it")
        return False
    receivers = [receiver["name"] for receiver in known["receivers"]]
    say(f"accepted by {server.url} for {', '.join(receivers)}: {', '.join(f'{key}={value}' for key, value in sorted(given.items()))}")
    status = known["status"]
    held = [f"silence {one}" for one in status["silencedBy"]] + [f"alert {one}" for one in status["inhibitedBy"]]
    if held:
        say(f"HELD BACK by {', '.join(held)}: nobody is told")
        return False
    expected = {kind for receiver in (routing.receivers if routing else ()) if receiver.name in receivers for kind in receiver.integrations}
    begin = time.monotonic()

    def news() -> dict[str, NotificationCount]:
        """What was tried since the alert was sent, by integration."""
        now = {kind: _since(sent, before.get(kind, NotificationCount())) for kind, sent in server.sent().items()}
        return {kind: sent for kind, sent in now.items() if sent.attempts and kind in (expected or now)}

    say(f"waiting up to {patience:g} s for {', '.join(sorted(expected)) or 'a message'}")
    _until(lambda: (found := news()) and found.keys() >= expected, patience)
    tried = news()
    took = time.monotonic() - begin
    for kind in sorted(expected | tried.keys()):
        sent = tried.get(kind, NotificationCount())
        if sent.attempts > sent.failed:
            say(f"sent by {kind} within {took:.0f} s")
        elif sent.attempts:
            say(f"FAILED: {sent.failed:.0f} of {sent.attempts:.0f} attempts by {kind}; Alertmanager's log says why")
        else:
            say(f"NOT sent by {kind} within {took:.0f} s: a mute time, a longer group_wait, or another message of its group before")
    if not (expected or tried):
        say(f"NOT sent within {took:.0f} s: a mute time, a longer group_wait, or another message of its group before")
    return bool(tried) and all(
        tried.get(kind, NotificationCount()).attempts > tried.get(kind, NotificationCount()).failed for kind in expected | tried.keys()
    )


def _since(now: NotificationCount, before: NotificationCount) -> NotificationCount:
    return NotificationCount(now.attempts - before.attempts, now.failed - before.failed)


def _until(holds: Callable[[], Any], seconds: float) -> Any:
    """What `holds` says when it is true, or at the end of the time."""
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return found
