from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from balance.errors import BalanceError
from balance.gen.promtool import check_configuration
from balance.monitoring.settings import PrometheusSettings, Settings


@pytest.fixture
def installed(program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(program("promtool")))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "prometheus", [PrometheusSettings(), PrometheusSettings(alertmanagers=(), rule_files=("/nowhere/*.yaml", "/nowhere/a.yaml"))]
)
def test_prometheus_accepts_its_configuration(prometheus: PrometheusSettings) -> None:
    assert check_configuration(Settings(job="edge", prometheus=prometheus)) == []


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"targets": ("http://10.0.0.5:9090/metrics",)}, "is not a valid hostname"),
        ({"rule_files": ("rules/*/a.yaml",)}, "invalid rule file path"),
        ({"alertmanagers": ("http://127.0.0.1:9093",)}, "is not a valid hostname"),
    ],
)
def test_what_prometheus_refuses_is_a_finding(changed: dict[str, tuple[str, ...]], message: str) -> None:
    findings = check_configuration(Settings(job="edge", prometheus=PrometheusSettings(**changed)))  # type: ignore[arg-type]
    assert [finding.check for finding in findings] == ["promtool-config"]
    assert message in findings[0].problem


def test_without_promtool_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BalanceError, match="promtool is not installed"):
        check_configuration(Settings(job="edge"))
