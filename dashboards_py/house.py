"""The house style: words and colours that all dashboards share."""

from __future__ import annotations

from balance.monitoring.dashboards import State

HEALTHY = (State(1, "Healthy", "green"), State(0, "Unhealthy", "red"))
