"""Prometheus' own configuration: what to scrape and how often, which rules to load."""

from __future__ import annotations

from balance.monitoring.settings import Settings
from balance.promql.text import duration
from balance.render.artifact import HEADER, yaml_text


def configuration(settings: Settings) -> str:
    """The text of ``prometheus.yml``. Its job has the name that rules and dashboards select."""
    chosen = settings.prometheus
    document = {
        "global": {"scrape_interval": duration(chosen.scrape_interval), "evaluation_interval": duration(chosen.evaluation_interval)},
        "rule_files": list(chosen.rule_files),
        "scrape_configs": [{"job_name": settings.job, "static_configs": [{"targets": list(chosen.targets)}]}],
    }
    if chosen.alertmanagers:
        document["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(chosen.alertmanagers)}]}]}
    return HEADER + yaml_text(document)
