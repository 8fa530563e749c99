"""What people look at: one dashboard a file; `house.py` holds the house style."""

from __future__ import annotations

from balance.catalog.metrics import CATALOG
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from dashboards_py.main import main_dashboard


def source(settings: Settings) -> Bundle:
    """The entry point `balance.sources`."""
    return Bundle(CATALOG, dashboards=(main_dashboard(settings),))
