"""The alerts, objectives, recording rules and routing of the load balancer."""

from __future__ import annotations

from balance.api import Bundle, Settings, Waiver
from balance.lb.catalog import metrics
from balance.lb.catalog.metrics import CATALOG
from rules_src.alerts import alerts
from rules_src.objectives import slos
from rules_src.recording import RECORDING_RULES
from rules_src.routing import routing
from rules_src.workload import WORKLOAD

WAIVERS = (
    Waiver("metric-cardinality", metrics.BACKEND_FIRST_BYTE.name, "11 series for each backend: the budget is kept up to 900 of them"),
    Waiver(
        "metric-cardinality", metrics.BACKEND_TRANSITIONS.name,
        "a backend goes from one of six states to another, mostly between available and one more: two series of the 36",
    ),
)  # fmt: skip


def source(settings: Settings) -> Bundle:
    """Alerts, objectives, recording rules and routing of the load balancer."""
    objectives = slos(settings)
    declared = (*alerts(settings), *(alert for slo in objectives for alert in slo.alerts))
    return Bundle(
        CATALOG,
        alerts=declared,
        recording_rules=(*RECORDING_RULES, *(rule for slo in objectives for rule in slo.recording_rules)),
        routing=routing(declared, objectives),
        slos=objectives,
        runbooks=(__name__,),
        waivers=WAIVERS,
        workload=WORKLOAD,
    )
