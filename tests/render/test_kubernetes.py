from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from cloudcoil.models.kubernetes.core import v1 as core
from cloudcoil.models.prometheus_operator import v1 as operator

from balance.errors import RenderError
from balance.gen import build
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import KubernetesSettings, PrometheusSettings, Settings
from balance.render import grafana, kubernetes, rules

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
MODELS: dict[str, Any] = {"PrometheusRule": operator.PrometheusRule, "ServiceMonitor": operator.ServiceMonitor, "ConfigMap": core.ConfigMap}


def made(bundle: Bundle, settings: Settings) -> dict[str, dict[str, Any]]:
    """The objects by file."""
    return {artifact.path.removeprefix("kubernetes/"): yaml.safe_load(artifact.text) for artifact in build.kubernetes(bundle, settings)}


def understood(document: dict[str, Any]) -> Any:
    """What the schema of the object's kind (from Kubernetes and from Prometheus' operator) makes of it: unknown keys are lost."""
    return MODELS[document["kind"]].model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.mark.parametrize("settings", [SETTINGS, CHOSEN])
def test_kubernetes_and_the_operator_understand_every_key_of_every_object(bundle: Bundle, settings: Settings) -> None:
    objects = made(bundle, settings)
    assert sorted(document["kind"] for document in objects.values()) == ["ConfigMap"] * len(bundle.dashboards) + ["PrometheusRule", "ServiceMonitor"]
    for document in objects.values():
        assert understood(document) == document


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "1", "for": "soon"}]}]}}, "pattern"),
        ({"spec": {"groups": [{"name": "a", "rules": [{"alert": "A"}]}]}}, "Field required"),
        ({"spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "1", "wait": "1m"}]}]}}, ""),
        ({"metadata": {"name": "a", "lables": {}}}, ""),
    ],
)
def test_the_schemas_refuse_or_lose_what_is_wrong(bundle: Bundle, change: dict[str, Any], fault: str) -> None:
    broken = {**made(bundle, SETTINGS)["rules.yaml"], **change}
    if fault:
        with pytest.raises(ValueError, match=fault):
            understood(broken)
    else:
        assert understood(broken) != broken


def test_the_operator_gets_the_rules_of_the_rule_files(bundle: Bundle) -> None:
    groups = yaml.safe_load(rules.rule_file(rules.evaluate(bundle, SETTINGS), "rules", "alerts"))["groups"]
    assert made(bundle, SETTINGS)["rules.yaml"]["spec"] == {"groups": groups}


def test_the_operator_gets_plain_rules_whatever_evaluates_the_files(bundle: Bundle) -> None:
    assert made(bundle, SETTINGS.replace(ruler="vmalert-1.79")) == made(bundle, SETTINGS)


def test_a_config_map_holds_the_dashboard_byte_for_byte(bundle: Bundle) -> None:
    objects = made(bundle, SETTINGS)
    for dashboard in bundle.dashboards:
        assert objects[f"dashboard-{dashboard.name}.yaml"]["data"] == {f"{dashboard.name}.json": grafana.render(dashboard, SETTINGS)}


@pytest.mark.parametrize("odd", ["\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ufeff", "\uffff", "ä", "€", "😀", "'", '"', "\\", "\t", ": ", " #"])
def test_a_config_map_carries_any_character(bundle: Bundle, odd: str) -> None:
    dashboard = bundle.dashboards[0].replace(description=f"before{odd}after", title=f"{odd} title")
    text = made(bundle.replace(dashboards=(dashboard,)), SETTINGS)[f"dashboard-{dashboard.name}.yaml"]["data"][f"{dashboard.name}.json"]
    model = json.loads(text)
    assert (model["description"], model["title"]) == (dashboard.description, dashboard.title)


def test_names_labels_and_places_are_the_settings(bundle: Bundle) -> None:
    objects = made(bundle, CHOSEN)
    for document in objects.values():
        assert document["metadata"]["namespace"] == "monitoring"
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


def test_a_bundle_without_rules_makes_no_rule_object(bundle: Bundle) -> None:
    assert set(made(Bundle(bundle.catalog), SETTINGS)) == {"servicemonitor.yaml"}


def test_two_dashboards_that_kubernetes_would_call_the_same_are_refused(bundle: Bundle) -> None:
    with pytest.raises(RenderError, match="the dashboards 'a_b' and 'a-b' would both be the ConfigMap balance-dashboard-a-b"):
        kubernetes.objects(bundle, SETTINGS, [], {"a_b": "{}", "a-b": "{}"})


def test_a_dashboard_that_no_config_map_can_hold_is_refused(bundle: Bundle) -> None:
    kubernetes.objects(bundle, SETTINGS, [], {"big": "x" * kubernetes.LARGEST})
    with pytest.raises(RenderError, match="'big': has 1048577 bytes; a ConfigMap holds 1048576"):
        kubernetes.objects(bundle, SETTINGS, [], {"big": "x" * (kubernetes.LARGEST + 1)})
