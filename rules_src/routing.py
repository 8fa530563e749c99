"""Receivers, routes and inhibitions: critical alerts page, warnings inform, and consequences of an outage are inhibited."""

from __future__ import annotations

from collections.abc import Sequence

from balance.api import WEEK, Alert, Email, Hours, Inhibition, MuteTime, PagerDuty, Receiver, Route, Routing, Slack, Slo

MINUTE, HOUR = 60, 3600
CHANNEL = Slack("#alerts", "slack_api_url")
PAGE = Receiver("page", {"pagerduty": PagerDuty("pagerduty_routing_key"), "slack": CHANNEL})
INFORM = Receiver("inform", {"slack": CHANNEL, "email": Email("oncall@example.com", "alertmanager@example.com", "smtp.example.com:587")})
OFF_HOURS = MuteTime("off-hours", (Hours(WEEK[5:]), Hours(WEEK[:5], end=8 * 60), Hours(WEEK[:5], begin=18 * 60)))
"""Not used by default; for quiet nights, set `alertmanager.routes.warning.mute` to it."""


def routing(alerts: Sequence[Alert], objectives: Sequence[Slo]) -> Routing:
    """The routing of these alerts, which include those of the objectives."""
    down, no_backend = "BalanceDown", "BalanceAllBackendsDown"
    of_instances = tuple(alert.name for alert in alerts if alert.name != down and "instance" in alert.condition.some_labels)
    others = tuple(alert.name for alert in alerts if alert.name != down)
    return Routing(
        receivers=(PAGE, INFORM),
        routes=(
            Route("critical", PAGE.name, group_wait=10, group_interval=5 * MINUTE, repeat_interval=1 * HOUR),
            # Longer than an inhibiting page needs to fire: its `for`, its group_wait and the evaluation interval.
            Route("warning", INFORM.name, group_wait=90, group_interval=5 * MINUTE, repeat_interval=12 * HOUR),
        ),
        fallback=INFORM.name,
        inhibitions=(
            Inhibition(down, of_instances, equal=("job", "instance")),
            # No instance is known at all: everything else about the job follows from it.
            Inhibition(down, others, source_without=("instance",)),
            # No instance exposes a backend because all are down: if one of them were up, the alert would have its instance.
            Inhibition(down, (no_backend,), targets_without=("instance",)),
            Inhibition(no_backend, ("BalancePoolPanic", "BalanceBackendDown", "BalanceCircuitBreakerOpen"), equal=("job", "instance")),
            # These warnings have only the job: beside the page they add nothing.
            Inhibition(no_backend, ("BalanceHighRetryRate", "BalanceRetryBudgetSpent", "BalanceQueueRejects")),
            Inhibition("BalancePoolPanic", ("BalanceBackendDown",), equal=("job", "instance")),
            Inhibition("BalanceCertificateExpiresNow", ("BalanceCertificateExpires",), equal=("job", "instance", "certificate")),
            # The first alert of an objective has the highest burn rate.
            *(Inhibition(fastest.name, tuple(alert.name for alert in slower)) for fastest, *slower in (slo.alerts for slo in objectives)),
        ),
        mute_times=(OFF_HOURS,),
    )
