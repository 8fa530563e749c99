"""Sources with many alerts and many dashboards: those of balance again and again, under other names."""

from __future__ import annotations

from balance.catalog.metrics import CATALOG
from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Row
from balance.monitoring.settings import Settings
from dashboards_py import source as dashboards_source
from rules_src.alerts import alerts

ALERTS, GROUPS = 2000, 40
DASHBOARDS, PANELS = 100, 20


def rules(settings: Settings) -> Bundle:
    """2,000 alerts in 40 groups."""
    own = alerts(settings)
    many = (own[number % len(own)].replace(name=f"Alert{number}", group=f"group{number % GROUPS}") for number in range(ALERTS))
    return Bundle(CATALOG, alerts=tuple(many))


def boards(settings: Settings) -> Bundle:
    """100 dashboards of 20 panels each."""
    source = dashboards_source(settings)
    own = source.dashboards
    panels = [panel for dashboard in own for panel in dashboard.panels]
    many = []
    for number in range(DASHBOARDS):
        chosen = (panels[(number + place) % len(panels)].replace(title=f"Panel {place}") for place in range(PANELS))
        rows = (Row("All", tuple(chosen)),)
        many.append(own[0].replace(name=f"many{number}", uid=f"many{number}", title=f"Many {number}", rows=rows, main=number == 0))
    return Bundle(CATALOG, dashboards=tuple(many), slos=source.slos)
