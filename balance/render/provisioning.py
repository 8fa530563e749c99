"""Grafana's provisioning files: where the dashboards are, and where Prometheus is."""

from __future__ import annotations

from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.text import duration
from balance.render.artifact import HEADER, Artifact, yaml_text


def provisioning(bundle: Bundle, settings: Settings) -> list[Artifact]:
    """A dashboard provider and a data source, below the folders that Grafana reads.

    The data source tells Grafana the scrape interval: without it `$__rate_interval` can be too short for a rate.
    """
    chosen = settings.provisioning
    titles = [dashboard.title for dashboard in bundle.dashboards if dashboard.main]
    provider = {
        "name": chosen.provider or next(iter(titles), bundle.catalog.name),
        "orgId": chosen.organisation,
        "folder": chosen.folder or bundle.folder,
        "type": "file",
        "options": {"path": chosen.path},
    }
    datasource = {
        "name": chosen.datasource,
        "orgId": chosen.organisation,
        "type": "prometheus",
        "access": "proxy",
        "url": chosen.url,
        "isDefault": True,
        "jsonData": {"httpMethod": "POST", "timeInterval": duration(settings.prometheus.scrape_interval)},
    }
    return [
        Artifact(f"provisioning/dashboards/{bundle.catalog.name}.yaml", HEADER + yaml_text({"apiVersion": 1, "providers": [provider]})),
        Artifact("provisioning/datasources/prometheus.yaml", HEADER + yaml_text({"apiVersion": 1, "datasources": [datasource]})),
    ]
