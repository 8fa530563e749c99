"""What wakes people: the alerts and recording rules of balance, in Python; `*.libsonnet` assembles and packages them."""

from __future__ import annotations

from balance.catalog.metrics import CATALOG
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from rules_src.alerts import alerts
from rules_src.recording import RECORDING_RULES


def source(settings: Settings) -> Bundle:
    """The entry point `balance.sources`."""
    return Bundle(CATALOG, alerts=alerts(settings), recording_rules=RECORDING_RULES)
