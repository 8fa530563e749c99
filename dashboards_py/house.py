"""The house style: words and colours that all dashboards share."""

from __future__ import annotations

from balance.monitoring.dashboards import State

PANIC = (State(0, "By health", "green"), State(1, "Panic", "red"))
SUCCESSFUL = (State(1, "Successful", "green"), State(0, "Failed", "red"))
UP = (State(1, "Up", "green"), State(0, "Down", "red"))
HEALTHY = (State(1, "Healthy", "green"), State(0, "Unhealthy", "red"))
