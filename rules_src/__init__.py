"""What wakes people: the alerts and recording rules of balance, in Python; `*.libsonnet` assembles and packages them."""

from __future__ import annotations

from balance.catalog.metrics import CATALOG
from balance.monitoring.bundle import Bundle
from balance.monitoring.objectives import slos
from balance.monitoring.settings import Settings
from rules_src.alerts import alerts
from rules_src.recording import RECORDING_RULES
from rules_src.routing import routing


def source(settings: Settings) -> Bundle:
    """The entry point `balance.sources`."""
    objectives = slos(settings)
    declared = (*alerts(settings), *(alert for slo in objectives for alert in slo.alerts))
    return Bundle(
        CATALOG,
        alerts=declared,
        recording_rules=(*RECORDING_RULES, *(rule for slo in objectives for rule in slo.recording_rules)),
        routing=routing(declared, objectives),
        slos=objectives,
        runbooks=(__name__,),
    )
