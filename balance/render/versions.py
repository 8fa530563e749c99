"""Versions of Grafana and the `schemaVersion` of the dashboards that each one saves (Grafana's DashboardMigrator)."""

from __future__ import annotations

SCHEMA_VERSIONS = {"10": 36, "11": 39, "12": 41, "13": 42}
DEFAULT_VERSION = "11"
