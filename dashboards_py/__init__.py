"""What people look at: one dashboard a file; `house.py` holds the house style."""

from __future__ import annotations

from balance.catalog import metrics
from balance.catalog.metrics import CATALOG
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from dashboards_py.backend import BACKEND
from dashboards_py.main import main_dashboard
from dashboards_py.workers import WORKERS

UNPLOTTED = {
    metrics.BUILD_INFO: "says which version runs; a value that is always 1",
    metrics.CONFIG_INFO: "says which configuration is in force; a value that is always 1",
}
"""The metrics of the service that no panel shows, and why."""


def source(settings: Settings) -> Bundle:
    """The entry point `balance.sources`."""
    return Bundle(CATALOG, dashboards=(main_dashboard(settings), BACKEND, WORKERS))
