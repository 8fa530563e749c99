"""What wakes people: the alerts and recording rules of balance, in Python; `*.libsonnet` assembles and packages them."""

from __future__ import annotations

from balance.catalog.metrics import CATALOG
from balance.monitoring.bundle import Bundle
from balance.monitoring.objectives import slos
from balance.monitoring.settings import Settings
from rules_src.alerts import alerts
from rules_src.recording import RECORDING_RULES


def source(settings: Settings) -> Bundle:
    """The entry point `balance.sources`."""
    objectives = slos(settings)
    return Bundle(
        CATALOG,
        alerts=(*alerts(settings), *(alert for slo in objectives for alert in slo.alerts)),
        recording_rules=(*RECORDING_RULES, *(rule for slo in objectives for rule in slo.recording_rules)),
        slos=objectives,
        runbooks=(__name__,),
    )
