"""What an operator may choose without touching code: names, thresholds, waiting times, addresses."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from balance.promql.text import quoted
from balance.record import Record

Severity = Literal["critical", "warning"]


class AlertSettings(Record):
    """Overrides for one alert; an empty field keeps what the alert declares. `wait` is its ``for``, in seconds."""

    wait: int | None = None
    severity: Severity | None = None


class PrometheusSettings(Record):
    """The scrape configuration: seconds between scrapes and rule evaluations, addresses of the instances (admin port), where rules are read from
    and where alerts are sent to.
    """

    scrape_interval: int = 15
    evaluation_interval: int = 15
    targets: tuple[str, ...] = ("127.0.0.1:9090",)
    rule_files: tuple[str, ...] = ("rules/*.yaml",)
    alertmanagers: tuple[str, ...] = ("127.0.0.1:9093",)


class Settings(Record):
    """All settings with their defaults. `job` is the scrape job, on which rules, dashboards and the scrape configuration agree;
    where it is not chosen it is the name of the catalog. `keep_labels` are kept by every aggregation that keeps the job, for a
    Prometheus, Thanos or Mimir that sees several clusters. `runbook_base` and `grafana_url` begin the links in annotations.
    """

    job: str = ""
    keep_labels: tuple[str, ...] = ()
    runbook_base: str = "runbooks"
    grafana_url: str = "http://localhost:3000"
    runtime: str = "python"
    thresholds: Mapping[str, float] = {}
    objectives: Mapping[str, Decimal] = {}
    alerts: Mapping[str, AlertSettings] = {}
    prometheus: PrometheusSettings = PrometheusSettings()

    @property
    def selector(self) -> str:
        """The matcher that rules put into every selector."""
        return f"job={quoted(self.job)}"

    @property
    def recorded_selector(self) -> str:
        """The matcher on series of recording rules, which keep the job."""
        return f"job={quoted(self.job)}"

    @property
    def keep(self) -> str:
        """The labels to keep, as an aggregation lists them before others."""
        return "".join(f"{label}, " for label in self.keep_labels)

    def alert(self, name: str) -> AlertSettings:
        """What is overridden for an alert."""
        return self.alerts.get(name, AlertSettings())
