"""The dashboard `alerts`: what alerts compare, where no other dashboard shows it."""

from __future__ import annotations

from balance.catalog import metrics as m
from balance.monitoring import conditions as c
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.objectives import slos
from balance.monitoring.panels import condition_panel
from balance.monitoring.settings import Settings
from balance.monitoring.slo import PACES, Slo
from balance.promql.text import duration
from dashboards_py import house


def objective(slo: Slo) -> tuple[Panel, ...]:
    """How much of an objective's error budget is left, and how fast it goes."""
    bad = f"Share of the requests that {slo.fault}"
    return (
        Panel(f"{slo.name.capitalize()}: Error Budget", f"Share of the error budget of {slo.days} days that is left; below 0 it is overspent.",
              (Query(slo.remaining, "{{job}}"),)),
        Panel(f"{slo.name.capitalize()}: Burn Rate", "How many times as fast as it lasts the error budget burns, over the last hour.",
              (Query(slo.burn_rate, "{{job}}"),)),
        *(
            condition_panel(f"{slo.name.capitalize()}: Errors of {pace.name} Burning, {duration(pair.long)}", branch, description=f"{bad}.")
            for pace, alert in zip(PACES, slo.alerts, strict=True)
            for pair, branch in zip(pace.pairs, alert.condition.branches, strict=True)
        ),
    )  # fmt: skip


def alerts_dashboard(settings: Settings) -> Dashboard:
    """The dashboard `alerts`."""
    return Dashboard(
        name="alerts",
        uid="balance-alerts",
        title="Balance / Alerts",
        description="What the alerts compare, with their thresholds.",
        tags=("balance", "load-balancer"),
        presence=m.ACTIVE_CONNECTIONS,
        rows=(
            Row("Instances", (
                condition_panel("Instances", c.DOWN, description="Instances that Prometheus can scrape.", kind="state-timeline", states=house.UP),
                condition_panel("Without Metrics", c.METRICS_MISSING, description="Instances that answer scrapes without a metric of balance."),
                condition_panel("Healthy Backends", c.ALL_BACKENDS_DOWN, description="Backends in rotation. At 0, all requests are answered 503."),
            )),
            Row("Saturation", (
                condition_panel("Connections in Use", c.HIGH_CONNECTIONS, description="Share of the configured limit of client connections."),
                condition_panel("Refused by the Queue", c.QUEUE_REJECTS, description="Share of the requests that waited in vain for a backend."),
                condition_panel("Event Loop Lag", c.EVENT_LOOP_LAG, description="By how much one tick in a hundred of a worker's clock is late."),
                condition_panel("Worker Restarts", c.WORKER_RESTARTS, description="Worker processes started anew within a quarter of an hour."),
            )),
            Row("Retries", (
                condition_panel("Retry Rate", c.HIGH_RETRY_RATE, description="Share of the attempts at backends that are repetitions."),
                condition_panel("Retry Budget Spent", c.RETRY_BUDGET_SPENT, description="Share of the requests that were not tried again for it."),
            )),
            *(Row(slo.name.capitalize(), objective(slo)) for slo in slos(settings)),
        ),
    )  # fmt: skip
