from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from balance.errors import RenderError
from balance.generate import build
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import KubernetesSettings, PrometheusSettings, Settings
from balance.render import grafana, kubernetes, rules
from tests.conftest import SCHEMAS

SETTINGS = Settings(job="balance")
CHOSEN = Settings(
    job="edge$1",
    prometheus=PrometheusSettings(scrape_interval=30),
    kubernetes=KubernetesSettings(
        name="edge",
        namespace="monitoring",
        labels={"release": "prometheus"},
        service_labels={"app": "edge"},
        service_namespaces=("blue", "green"),
        port="admin",
        dashboard_labels={"dashboards": "yes"},
        dashboard_annotations={"grafana_folder": "Edge: all"},
    ),
)
RUNNING = {"deployment.yaml", "autoscaler.yaml", "disruption.yaml", "service.yaml", "service-metrics.yaml"}


def made(bundle: Bundle, settings: Settings) -> dict[str, dict[str, Any]]:
    """The objects by file."""
    return {artifact.path.removeprefix("kubernetes/"): yaml.safe_load(artifact.text) for artifact in build.kubernetes(bundle, settings)}


def understood(schema: Callable[[str], Any], document: dict[str, Any]) -> Any:
    """What the schema of the object's kind (from Kubernetes and from Prometheus' operator) makes of it: unknown keys are lost."""
    return schema(document["kind"]).model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.mark.parametrize("settings", [SETTINGS, CHOSEN])
def test_objects_match_kubernetes_models(bundle: Bundle, settings: Settings, schema: Callable[[str], Any]) -> None:
    objects = made(bundle, settings)
    assert sorted(document["kind"] for document in objects.values()) == sorted(
        [*(SCHEMAS.keys() - {"ConfigMap"}), "Service", *["ConfigMap"] * len(bundle.dashboards)]
    )
    for document in objects.values():
        assert understood(schema, document) == document


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "1", "for": "soon"}]}]}}, "pattern"),
        ({"spec": {"groups": [{"name": "a", "rules": [{"alert": "A"}]}]}}, "Field required"),
        ({"spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "1", "wait": "1m"}]}]}}, ""),
        ({"metadata": {"name": "a", "lables": {}}}, ""),
    ],
)
def test_kubernetes_models_catch_errors(bundle: Bundle, schema: Callable[[str], Any], change: dict[str, Any], fault: str) -> None:
    broken = {**made(bundle, SETTINGS)["rules.yaml"], **change}
    if fault:
        with pytest.raises(ValueError, match=fault):
            understood(schema, broken)
    else:
        assert understood(schema, broken) != broken


def test_prometheus_rule_has_rules_of_files(bundle: Bundle) -> None:
    groups = yaml.safe_load(rules.rule_file(rules.evaluate(bundle, SETTINGS), "rules", "alerts"))["groups"]
    assert made(bundle, SETTINGS)["rules.yaml"]["spec"] == {"groups": groups}


def test_prometheus_rule_ignores_ruler(bundle: Bundle) -> None:
    assert made(bundle, replace(SETTINGS, ruler="vmalert-1.79")) == made(bundle, SETTINGS)


def test_config_map_holds_dashboard_unchanged(bundle: Bundle) -> None:
    objects = made(bundle, SETTINGS)
    for dashboard in bundle.dashboards:
        assert objects[f"dashboard-{dashboard.name}.yaml"]["data"] == {f"{dashboard.name}.json": grafana.render(dashboard, SETTINGS)}


@pytest.mark.parametrize("odd", ["\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ufeff", "\uffff", "ä", "€", "😀", "'", '"', "\\", "\t", ": ", " #"])
def test_config_map_holds_any_character(bundle: Bundle, odd: str) -> None:
    dashboard = replace(bundle.dashboards[0], description=f"before{odd}after", title=f"{odd} title")
    artifacts = kubernetes.objects(bundle, SETTINGS, [], {dashboard.name: grafana.render(dashboard, SETTINGS)})
    model = json.loads(yaml.safe_load(artifacts[-1].text)["data"][f"{dashboard.name}.json"])
    assert (model["description"], model["title"]) == (dashboard.description, dashboard.title)


def test_settings_set_names_labels_and_namespaces(bundle: Bundle) -> None:
    objects = made(bundle, CHOSEN)
    for file, document in objects.items():
        assert document["metadata"]["namespace"] == ("blue" if file in RUNNING else "monitoring")
        assert document["metadata"]["labels"]["release"] == "prometheus"
    assert objects["rules.yaml"]["metadata"]["name"] == "edge"
    assert objects["servicemonitor.yaml"]["spec"] == {
        "selector": {"matchLabels": {"app": "edge"}},
        "namespaceSelector": {"matchNames": ["blue", "green"]},
        "endpoints": [
            {"port": "admin", "path": "/metrics", "interval": "30s", "relabelings": [{"targetLabel": "job", "replacement": "edge$$1"}]}
        ],
    }  # fmt: skip
    assert objects["dashboard-workers.yaml"]["metadata"] == {
        "name": "edge-dashboard-workers",
        "namespace": "monitoring",
        "labels": {"release": "prometheus", "dashboards": "yes"},
        "annotations": {"grafana_folder": "Edge: all"},
    }


def test_no_rules_no_prometheus_rule(bundle: Bundle) -> None:
    assert set(made(Bundle(bundle.catalog), SETTINGS)) == {"servicemonitor.yaml"}


def test_equal_config_map_names_are_refused(bundle: Bundle) -> None:
    with pytest.raises(RenderError, match="the dashboards 'a_b' and 'a-b' would both be the ConfigMap balance-dashboard-a-b"):
        kubernetes.objects(bundle, SETTINGS, [], {"a_b": "{}", "a-b": "{}"})


def test_too_large_dashboard_is_refused(bundle: Bundle) -> None:
    kubernetes.objects(bundle, SETTINGS, [], {"big": "x" * kubernetes.LARGEST})
    with pytest.raises(RenderError, match="'big': has 1048577 bytes; a ConfigMap holds 1048576"):
        kubernetes.objects(bundle, SETTINGS, [], {"big": "x" * (kubernetes.LARGEST + 1)})


@pytest.mark.parametrize("settings", [SETTINGS, CHOSEN])
def test_workload_objects_select_its_pods(bundle: Bundle, settings: Settings) -> None:
    objects = made(bundle, settings)
    deployment = objects["deployment.yaml"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == objects["servicemonitor.yaml"]["spec"]["selector"]["matchLabels"]
    assert deployment["spec"]["selector"] == objects["disruption.yaml"]["spec"]["selector"] == {"matchLabels": labels}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for file in ("service.yaml", "service-metrics.yaml"):
        assert objects[file]["spec"]["selector"] == labels
        assert labels.items() <= objects[file]["metadata"]["labels"].items()
        assert all(ports[port["targetPort"]] == port["port"] for port in objects[file]["spec"]["ports"])
    target = objects["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}


@pytest.mark.parametrize("settings", [SETTINGS, CHOSEN])
def test_metrics_port_is_on_its_own_service(bundle: Bundle, settings: Settings) -> None:
    """Prometheus finds exactly that Service, and the one for clients has no such port."""
    objects = made(bundle, settings)
    (endpoint,) = objects["servicemonitor.yaml"]["spec"]["endpoints"]
    for file, document in objects.items():
        if document["kind"] == "Service":
            names = [port["name"] for port in document["spec"]["ports"]]
            assert names == ([endpoint["port"]] if file == "service-metrics.yaml" else ["http"])


def test_memory_alert_is_at_80_percent_of_limit(bundle: Bundle) -> None:
    for settings, threshold in ((SETTINGS, 512 * 2**20), (replace(SETTINGS, thresholds={"memory": float(2**30)}), 2**30)):
        (container,) = made(bundle, settings)["deployment.yaml"]["spec"]["template"]["spec"]["containers"]
        limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20
        assert limit * 0.8 == pytest.approx(threshold, rel=0.001)


def test_grace_period_covers_shutdown(bundle: Bundle) -> None:
    from balance.lb.config import parse

    pod = made(bundle, SETTINGS)["deployment.yaml"]["spec"]["template"]["spec"]
    waits = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    shutdown = parse("listen: :1\nbackends: [{name: a, address: 'a:1'}]\n", "needed", {}).timeouts.shutdown
    assert pod["terminationGracePeriodSeconds"] > waits + shutdown


def test_settings_set_replicas_and_image(bundle: Bundle) -> None:
    chosen = KubernetesSettings(image="images.example/balance:1", replicas=3, max_replicas=3, cpu="1")
    objects = made(bundle, replace(SETTINGS, kubernetes=chosen))
    (container,) = objects["deployment.yaml"]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["resources"]["requests"]["cpu"]) == ("images.example/balance:1", "1")
    spec = objects["autoscaler.yaml"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 3)
    with pytest.raises(RenderError, match=r"kubernetes\.max_replicas: is 2, fewer than the 3 of kubernetes\.replicas"):
        made(bundle, replace(SETTINGS, kubernetes=replace(chosen, max_replicas=2)))


def test_yaml_has_no_anchors(bundle: Bundle) -> None:
    assert not [artifact.path for artifact in build.kubernetes(bundle, CHOSEN) if "&id0" in artifact.text]
