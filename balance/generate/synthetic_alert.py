"""Send a synthetic alert through a running Alertmanager, follow its notifications, and resolve it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from balance.errors import SourceError, suggestion
from balance.generate.amtool import labels
from balance.live.alertmanager import Alertmanager, NotificationCount
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import SYNTHETIC, Routing, apply_settings
from balance.monitoring.settings import Settings

Print = Callable[[str], object]
POLL_SECONDS = 0.2
GRACE_SECONDS = 30
"""Added to the group_wait of the route."""
ACCEPTED_SECONDS = 10
_REASONS = "check for a mute time, a longer group_wait, or an earlier notification of the same group"


def send(name: str, url: str, timeout: float | None, bundle: Bundle, settings: Settings, say: Print = print) -> bool:
    """Send the alert, follow it, resolve it. `timeout` is how many seconds to wait for the notifications; `say` prints the progress.

    Returns True if every integration took its notification, False if one did not or the alert was silenced or inhibited.
    Raises `SourceError` for an unknown alert, and `LiveError` if Alertmanager cannot be queried.
    """
    alert = next((alert for alert in bundle.alerts if alert.name == name), None)
    if alert is None:
        raise SourceError(f"no alert {name!r}", cure=suggestion(name, (alert.name for alert in bundle.alerts)))
    routing = apply_settings(bundle.routing, settings) if bundle.routing else None
    alert_labels = {**labels(alert, settings, SYNTHETIC), SYNTHETIC: "true"}
    if timeout is None:
        timeout = GRACE_SECONDS + (routing.route(alert_labels["severity"]).group_wait if routing else GRACE_SECONDS)
    server = Alertmanager(url)
    before = server.sent()
    synthetic = {
        "labels": alert_labels,
        "annotations": {
            "summary": f"TEST of the notifications of {name}; nothing is wrong",
            "description": "NotificationCount by balance-gen test-alert to check that notifications arrive. No action is needed.",
        },
    }
    server.post(synthetic)
    try:
        return _follow(server, alert_labels, before, timeout, routing, say)
    finally:
        known = server.find(alert_labels)
        if known:  # use the clock of Alertmanager, not ours
            server.post({**synthetic, "startsAt": known["startsAt"], "endsAt": known["updatedAt"]})
        gone = _until(lambda: server.find(alert_labels) is None, ACCEPTED_SECONDS)
        say("resolved" if gone else "NOT resolved yet: it expires after the resolve_timeout of Alertmanager")


def _follow(
    server: Alertmanager, alert_labels: dict[str, str], before: dict[str, NotificationCount], timeout: float, routing: Routing | None, say: Print
) -> bool:
    known = _until(lambda: server.find(alert_labels), ACCEPTED_SECONDS)
    if not known:
        say(f"NOT accepted: {server.url} took the alert but does not list it")
        return False
    receivers = [receiver["name"] for receiver in known["receivers"]]
    say(f"accepted by {server.url} for {', '.join(receivers)}: {', '.join(f'{key}={value}' for key, value in sorted(alert_labels.items()))}")
    status = known["status"]
    suppressed_by = [f"silence {one}" for one in status["silencedBy"]] + [f"alert {one}" for one in status["inhibitedBy"]]
    if suppressed_by:
        say(f"SUPPRESSED by {', '.join(suppressed_by)}: no notification is sent")
        return False
    expected = {kind for receiver in (routing.receivers if routing else ()) if receiver.name in receivers for kind in receiver.integrations}
    begin = time.monotonic()

    def attempted() -> dict[str, NotificationCount]:
        """Notifications that were attempted since the alert was sent, by integration."""
        now = {kind: _since(sent, before.get(kind, NotificationCount())) for kind, sent in server.sent().items()}
        return {kind: sent for kind, sent in now.items() if sent.attempts and kind in (expected or now)}

    say(f"waiting up to {timeout:g} s for {', '.join(sorted(expected)) or 'a notification'}")
    _until(lambda: (found := attempted()) and found.keys() >= expected, timeout)
    tried = attempted()
    took = time.monotonic() - begin
    for kind in sorted(expected | tried.keys()):
        sent = tried.get(kind, NotificationCount())
        if sent.attempts > sent.failed:
            say(f"sent by {kind} within {took:.0f} s")
        elif sent.attempts:
            say(f"FAILED: {sent.failed:.0f} of {sent.attempts:.0f} attempts by {kind}; see the log of Alertmanager")
        else:
            say(f"NOT sent by {kind} within {took:.0f} s: {_REASONS}")
    if not (expected or tried):
        say(f"NOT sent within {took:.0f} s: {_REASONS}")
    return bool(tried) and all(
        tried.get(kind, NotificationCount()).attempts > tried.get(kind, NotificationCount()).failed for kind in expected | tried.keys()
    )


def _since(now: NotificationCount, before: NotificationCount) -> NotificationCount:
    return NotificationCount(now.attempts - before.attempts, now.failed - before.failed)


def _until(holds: Callable[[], Any], seconds: float) -> Any:
    """Poll `holds` until it is true or the time is over; returns its last result."""
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return found
