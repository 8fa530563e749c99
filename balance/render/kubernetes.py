"""Kubernetes objects: PrometheusRule and ServiceMonitor for Prometheus' operator, a ConfigMap for each dashboard, and the workload."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from balance.errors import RenderError
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.monitoring.workload import Workload
from balance.promql.text import duration
from balance.render.artifact import HEADER, Artifact, Json, yaml_text

_MIB = 1024 * 1024
_PRE_STOP_SECONDS = 5
"""Seconds that a terminating pod keeps serving before SIGTERM, while proxies learn that it is going away."""
CONFIG_MAP_LIMIT = 1024 * 1024
"""Maximum bytes of data in a ConfigMap."""
_UNSAFE_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that JSON allows unescaped, and that YAML forbids or reads as line breaks."""


def objects(bundle: Bundle, settings: Settings, groups: list[Json], dashboards: dict[str, str]) -> list[Artifact]:
    """One file per object. `groups` are rule groups in Prometheus' format; `dashboards` maps names to JSON text.

    Raises `RenderError` if two dashboards have the same ConfigMap name, one is too large, or there are fewer maximum than minimum replicas.
    """
    name = settings.kubernetes.name or _dns_label(bundle.catalog.name)
    made = {
        "rules": _prometheus_rule(name, settings, groups),
        "servicemonitor": _service_monitor(name, settings),
        **_workload_objects(name, bundle, settings),
    }
    artifacts = [Artifact(f"kubernetes/{file}.yaml", HEADER + yaml_text(document)) for file, document in made.items() if document]
    names: dict[str, str] = {}
    for board, text in dashboards.items():
        own = f"{name}-dashboard-{_dns_label(board)}"
        if names.setdefault(own, board) != board:
            raise RenderError(f"dashboards {names[own]!r} and {board!r} have the same ConfigMap name {own}", cure="rename one of them")
        artifacts.append(Artifact(f"kubernetes/dashboard-{board}.yaml", _config_map(own, settings, board, text)))
    return artifacts


def _prometheus_rule(name: str, settings: Settings, groups: list[Json]) -> Json | None:
    if not groups:
        return None
    return _object("monitoring.coreos.com/v1", "PrometheusRule", name, settings, {"spec": {"groups": groups}})


def _service_monitor(name: str, settings: Settings) -> Json:
    """A ServiceMonitor that sets the job label that the rules select. By default the operator uses the name of each Service."""
    chosen = settings.kubernetes
    spec: dict[str, Any] = {
        "selector": {"matchLabels": _service_labels(name, settings)},
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


def _service_labels(name: str, settings: Settings) -> dict[str, str]:
    return dict(settings.kubernetes.service_labels) or {"app.kubernetes.io/name": name}


def _workload_objects(name: str, bundle: Bundle, settings: Settings) -> dict[str, Json]:
    """A Deployment with an autoscaler and a disruption budget of one pod, a Service for clients, and a headless one for Prometheus alone,
    because anyone who reaches the metrics port may read it. All are in the first of the scraped namespaces.
    """
    workload = bundle.workload
    if workload is None:
        return {}
    chosen = settings.kubernetes
    labels = _service_labels(name, settings)
    place = replace(settings, kubernetes=replace(chosen, namespace=(*chosen.service_namespaces, chosen.namespace)[0]))
    if chosen.max_replicas < chosen.replicas:
        raise RenderError(
            f"must be at least kubernetes.replicas ({chosen.replicas}), got {chosen.max_replicas}", where="kubernetes.max_replicas", cure="raise it"
        )
    ports = {chosen.port if port == "metrics" else port: number for port, number in workload.ports.items()}

    def made(version: str, kind: str, tail: str, spec: Json) -> Json:
        return _object(version, kind, name + tail, place, {"spec": spec}, labels)

    def service(tail: str, *names: str, **more: str) -> Json:
        listed = [{"name": port, "port": number, "targetPort": port} for port, number in ports.items() if port in names]
        return made("v1", "Service", tail, {**more, "selector": dict(labels), "ports": listed})

    pods = {
        "metadata": {"labels": dict(labels)},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": workload.stopping + _PRE_STOP_SECONDS,
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": dict(labels)},
                }
            ],
            "containers": [_container(name, workload, settings, ports)],
            "volumes": [{"name": "configuration", "configMap": {"name": f"{name}-configuration"}}],
        },
    }
    used = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    return {
        "deployment": made(
            "apps/v1",
            "Deployment",
            "",
            {
                "selector": {"matchLabels": dict(labels)},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": pods,
            },
        ),
        "autoscaler": made(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "",
            {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": chosen.replicas,
                "maxReplicas": chosen.max_replicas,
                "metrics": [used],
            },
        ),
        "disruption": made("policy/v1", "PodDisruptionBudget", "", {"maxUnavailable": 1, "selector": {"matchLabels": dict(labels)}}),
        "service": service("", *(ports.keys() - {chosen.port})),
        "service-metrics": service("-metrics", chosen.port, clusterIP="None"),
    }


def _container(name: str, workload: Workload, settings: Settings, ports: Mapping[str, int]) -> Json:
    """An unprivileged container. The memory alert fires at 80 % of its memory limit."""
    chosen = settings.kubernetes
    memory = f"{round(settings.value(workload.memory) / 0.8 / _MIB)}Mi"

    def probe(path: str, **times: int) -> Json:
        return {"httpGet": {"path": path, "port": chosen.port}, **times}

    return {
        "name": name,
        "image": chosen.image or workload.image,
        "args": list(workload.arguments),
        "ports": [{"name": port, "containerPort": number} for port, number in ports.items()],
        "resources": {"requests": {"cpu": chosen.cpu, "memory": memory}, "limits": {"memory": memory}},
        "startupProbe": probe(workload.alive, periodSeconds=1, failureThreshold=30),
        "livenessProbe": probe(workload.alive, periodSeconds=10, timeoutSeconds=5),
        "readinessProbe": probe(workload.ready, periodSeconds=2, timeoutSeconds=2),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_PRE_STOP_SECONDS)]}}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "configuration", "mountPath": workload.configuration, "readOnly": True}],
    }


def _config_map(name: str, settings: Settings, board: str, text: str) -> str:
    """A ConfigMap with the JSON in a literal block, so that a change of the dashboard gives the same diff here."""
    chosen = settings.kubernetes
    if (size := len(text.encode())) > CONFIG_MAP_LIMIT:
        raise RenderError(
            f"{size} bytes are too many for a ConfigMap (at most {CONFIG_MAP_LIMIT})",
            where=f"dashboard {board!r}",
            cure="split it into two dashboards",
        )
    head = _object("v1", "ConfigMap", name, settings, {}, chosen.dashboard_labels, chosen.dashboard_annotations)
    lines = _UNSAFE_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).splitlines(keepends=True)
    return HEADER + yaml_text(head) + f"data:\n  {board}.json: |\n" + "".join(f"    {line}" for line in lines)


def _object(version: str, kind: str, name: str, settings: Settings, body: Json, *more: Any) -> Json:
    """An object with its metadata. `more`: further labels, then annotations."""
    labels, annotations = (*more, {}, {})[:2]
    metadata = {
        "name": name,
        "namespace": settings.kubernetes.namespace,
        "labels": {**settings.kubernetes.labels, **labels},
        "annotations": dict(annotations),
    }
    return {"apiVersion": version, "kind": kind, "metadata": {key: value for key, value in metadata.items() if value}, **body}


def _dns_label(name: str) -> str:
    """A name as part of a DNS label, as Kubernetes requires."""
    return name.lower().replace("_", "-").strip("-")
