"""What an operator may choose without touching code: names, thresholds, waiting times, addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from balance.promql.text import quoted
from balance.record import Record

Severity = Literal["critical", "warning"]


class AlertSettings(Record):
    """Overrides for one alert; an empty field keeps what the alert declares. `wait` is its ``for``, in seconds."""

    wait: int | None = None
    severity: Severity | None = None


class PrometheusSettings(Record):
    """The scrape configuration: seconds between scrapes and rule evaluations, addresses of the instances (admin port)."""

    scrape_interval: int = 15
    evaluation_interval: int = 15
    targets: tuple[str, ...] = ("127.0.0.1:9090",)
    rule_files: tuple[str, ...] = ("rules/*.yaml",)
    alertmanagers: tuple[str, ...] = ()


class Settings(Record):
    """All settings with their defaults. `job` is the scrape job, on which rules, dashboards and the scrape configuration agree;
    where it is not chosen it is the name of the catalog.
    """

    job: str = ""
    runtime: str = "python"
    thresholds: Mapping[str, float] = {}
    alerts: Mapping[str, AlertSettings] = {}
    prometheus: PrometheusSettings = PrometheusSettings()

    @property
    def selector(self) -> str:
        """The matcher that rules put into every selector."""
        return f"job={quoted(self.job)}"

    def alert(self, name: str) -> AlertSettings:
        """What is overridden for an alert."""
        return self.alerts.get(name, AlertSettings())
