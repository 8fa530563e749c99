"""Who is told: critical pages and says so in the channel, a warning informs; what follows from an outage is not told beside it."""

from __future__ import annotations

from collections.abc import Sequence

from balance.api import WEEK, Alert, Email, Hours, Inhibition, MuteTime, PagerDuty, Receiver, Route, Routing, Slack, Slo

MINUTE, HOUR = 60, 3600
CHANNEL = Slack("#alerts", "slack_api_url")
PAGE = Receiver("page", {"pagerduty": PagerDuty("pagerduty_routing_key"), "slack": CHANNEL})
INFORM = Receiver("inform", {"slack": CHANNEL, "email": Email("oncall@example.com", "alertmanager@example.com", "smtp.example.com:587")})
OFF_HOURS = MuteTime("off-hours", (Hours(WEEK[5:]), Hours(WEEK[:5], end=8 * 60), Hours(WEEK[:5], begin=18 * 60)))
"""Ready for the route of warnings where nobody reads them at night: `alertmanager.routes.warning.mute`."""


def routing(alerts: Sequence[Alert], objectives: Sequence[Slo]) -> Routing:
    """Routes and inhibitions for these alerts, which those of the objectives are among."""
    down, no_backend = "BalanceDown", "BalanceAllBackendsDown"
    of_instances = tuple(alert.name for alert in alerts if alert.name != down and "instance" in alert.condition.some_labels)
    others = tuple(alert.name for alert in alerts if alert.name != down)
    return Routing(
        receivers=(PAGE, INFORM),
        routes=(
            Route("critical", PAGE.name, group_wait=10, group_interval=5 * MINUTE, repeat_interval=1 * HOUR),
            # Longer than a page takes that may silence it: its `for`, its group's wait, and what evaluations add.
            Route("warning", INFORM.name, group_wait=90, group_interval=5 * MINUTE, repeat_interval=12 * HOUR),
        ),
        fallback=INFORM.name,
        inhibitions=(
            Inhibition(down, of_instances, equal=("job", "instance")),
            # No instance is known at all: everything else about the job follows from it.
            Inhibition(down, others, source_without=("instance",)),
            # Nobody shows a backend, because those that would are down: had one of them been running, the alert would name it.
            Inhibition(down, (no_backend,), targets_without=("instance",)),
            Inhibition(no_backend, ("BalancePoolPanic", "BalanceBackendDown", "BalanceCircuitBreakerOpen"), equal=("job", "instance")),
            # Known by job alone: where a page is out, these warnings add nothing.
            Inhibition(no_backend, ("BalanceHighRetryRate", "BalanceRetryBudgetSpent", "BalanceQueueRejects")),
            Inhibition("BalancePoolPanic", ("BalanceBackendDown",), equal=("job", "instance")),
            Inhibition("BalanceCertificateExpiresNow", ("BalanceCertificateExpires",), equal=("job", "instance", "certificate")),
            # Of the alerts of an objective, the first tells of the fastest burning.
            *(Inhibition(fastest.name, tuple(alert.name for alert in slower)) for fastest, *slower in (slo.alerts for slo in objectives)),
        ),
        mute_times=(OFF_HOURS,),
    )
