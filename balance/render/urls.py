"""Panels' ids and addresses in Grafana."""

from __future__ import annotations

import zlib

from balance.monitoring.dashboards import Dashboard


def panel_id(dashboard: Dashboard, title: str) -> int:
    """An id that follows from uid and title alone, so that a panel added elsewhere renumbers nothing. 1 to 2^31 - 1."""
    return zlib.crc32(f"{dashboard.uid}/{title}".encode()) % (2**31 - 1) + 1


def panel_url(dashboard: Dashboard, title: str) -> str:
    """Where a Grafana shows that panel alone, below the address of the Grafana."""
    return f"/d/{dashboard.uid}?viewPanel={panel_id(dashboard, title)}"
