"""Objects for Kubernetes: a PrometheusRule and a ServiceMonitor for Prometheus' operator, a ConfigMap for each dashboard."""

from __future__ import annotations

import re
from typing import Any

from balance.errors import RenderError
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.text import duration
from balance.render.artifact import Artifact
from balance.render.rules import HEADER, Json, dump

LARGEST = 1024 * 1024
"""Bytes that the data of a ConfigMap may have."""
_NO_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What JSON may hold as it is and YAML may not, or takes for the end of a line."""


def objects(bundle: Bundle, settings: Settings, groups: list[Json], dashboards: dict[str, str]) -> list[Artifact]:
    """A file for each object. `groups` are rule groups as Prometheus wants them, `dashboards` maps names to JSON.

    Raises `RenderError` if an object cannot be called or held as Kubernetes demands.
    """
    name = settings.kubernetes.name or _dns(bundle.catalog.name)
    made = {"rules": _rule(name, settings, groups), "servicemonitor": _monitor(name, settings)}
    artifacts = [Artifact(f"kubernetes/{file}.yaml", HEADER + dump(document)) for file, document in made.items() if document]
    names: dict[str, str] = {}
    for board, text in dashboards.items():
        own = f"{name}-dashboard-{_dns(board)}"
        if names.setdefault(own, board) != board:
            raise RenderError(f"the dashboards {names[own]!r} and {board!r} would both be the ConfigMap {own}", cure="rename one of them")
        artifacts.append(Artifact(f"kubernetes/dashboard-{board}.yaml", _config_map(own, settings, board, text)))
    return artifacts


def _rule(name: str, settings: Settings, groups: list[Json]) -> Json | None:
    if not groups:
        return None
    return _object("monitoring.coreos.com/v1", "PrometheusRule", name, settings, {"spec": {"groups": groups}})


def _monitor(name: str, settings: Settings) -> Json:
    """Scrapes Services under the job that the rules select: the operator would call it after each Service."""
    chosen = settings.kubernetes
    spec: dict[str, Any] = {
        "selector": {"matchLabels": dict(chosen.service_labels) or {"app.kubernetes.io/name": name}},
        "endpoints": [
            {
                "port": chosen.port,
                "path": "/metrics",
                "interval": duration(settings.prometheus.scrape_interval),
                "relabelings": [{"targetLabel": "job", "replacement": settings.job.replace("$", "$$")}],
            }
        ],
    }
    if chosen.service_namespaces:
        spec["namespaceSelector"] = {"matchNames": list(chosen.service_namespaces)}
    return _object("monitoring.coreos.com/v1", "ServiceMonitor", name, settings, {"spec": spec})


def _config_map(name: str, settings: Settings, board: str, text: str) -> str:
    """The JSON stands as it is in a block of the YAML: a change in a dashboard is the same change here."""
    chosen = settings.kubernetes
    if (size := len(text.encode())) > LARGEST:
        raise RenderError(f"has {size} bytes; a ConfigMap holds {LARGEST}", where=f"dashboard {board!r}", cure="make two dashboards of it")
    head = _object("v1", "ConfigMap", name, settings, {}, chosen.dashboard_labels, chosen.dashboard_annotations)
    lines = _NO_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).splitlines(keepends=True)
    return HEADER + dump(head) + f"data:\n  {board}.json: |\n" + "".join(f"    {line}" for line in lines)


def _object(version: str, kind: str, name: str, settings: Settings, body: Json, *more: Any) -> Json:
    """An object with its metadata; `more` are labels and annotations of its own."""
    labels, annotations = (*more, {}, {})[:2]
    metadata = {
        "name": name,
        "namespace": settings.kubernetes.namespace,
        "labels": {**settings.kubernetes.labels, **labels},
        "annotations": dict(annotations),
    }
    return {"apiVersion": version, "kind": kind, "metadata": {key: value for key, value in metadata.items() if value}, **body}


def _dns(name: str) -> str:
    """A name of ours as a part of a Kubernetes name."""
    return name.lower().replace("_", "-").strip("-")
