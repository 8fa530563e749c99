"""Grafana's ids: schema versions, units, panels and the addresses of panels."""

from __future__ import annotations

import zlib

from balance.catalog.model import BYTES, INFO, RATIO, SECONDS, STATE, Unit
from balance.monitoring.dashboards import Dashboard

SCHEMA_VERSIONS = {"10": 36, "11": 39, "12": 41, "13": 42}
"""The `schemaVersion` of the dashboards that each version of Grafana saves (Grafana's DashboardMigrator)."""
DEFAULT_VERSION = "11"
_UNITS = {
    RATIO: "percentunit",
    SECONDS: "s",
    BYTES: "bytes",
    BYTES / SECONDS: "Bps",
    Unit.of("requests") / SECONDS: "reqps",
    STATE: "none",
    INFO: "none",
}


def unit_id(unit: Unit) -> str:
    """Grafana's id of a unit: ``percentunit``. Counts are `short` (1.5 K), their rates `cps` (counts per second)."""
    if unit in _UNITS:
        return _UNITS[unit]
    return "cps" if dict(unit.powers).get("seconds") == -1 else "short"


def panel_id(dashboard: Dashboard, title: str) -> int:
    """The id of a panel, from 1 to 2^31 - 1. It depends on the dashboard's uid and the title alone, so a new panel renumbers no other."""
    return zlib.crc32(f"{dashboard.uid}/{title}".encode()) % (2**31 - 1) + 1


def panel_url(dashboard: Dashboard, title: str) -> str:
    """The path that shows one panel alone, below the address of a Grafana."""
    return f"/d/{dashboard.uid}?viewPanel={panel_id(dashboard, title)}"
