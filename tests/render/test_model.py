from __future__ import annotations

from typing import Any

import pytest

from balance.generate import collect
from balance.monitoring.settings import Settings
from balance.promql.selectors import Matcher
from balance.render import model, rules

CHANGED = Settings(
    job="edge",
    matchers=(Matcher("cluster", "=", "eu"),),
    keep_labels=("cluster", "namespace"),
    runbook_base="https://wiki/r",
    grafana_url="https://g",
    thresholds={"error_ratio": 0.02},
)


@pytest.mark.parametrize("settings", [Settings(), CHANGED], ids=["defaults", "changed"])
def test_python_fills_templates_as_jsonnet_does(settings: Settings) -> None:
    bundle, settings = collect.collect(settings)
    exported = model.model(bundle, settings)
    values = model.values(exported["config"])
    evaluated = rules.evaluate(bundle, settings)

    def ours(kind: str, rule: dict[str, Any]) -> tuple[str, dict[str, str]]:
        annotations = {name: model.filled(words, values) for name, words in rule["annotations"].items()} if kind == "alerts" else {}
        return model.filled(rule["expr"], values), annotations

    for kind in ("alerts", "rules"):
        theirs = [(rule["expr"], rule.get("annotations", {})) for group in evaluated[kind]["groups"] for rule in group["rules"]]
        assert [ours(kind, rule) for group in exported[kind] for rule in group[kind]] == theirs


def test_annotation_texts_are_those_of_the_rules() -> None:
    bundle, settings = collect.collect(CHANGED)
    evaluated = rules.evaluate(bundle, settings)["alerts"]["groups"]
    assert model.annotation_texts(bundle, settings) == {rule["alert"]: rule["annotations"] for group in evaluated for rule in group["rules"]}


def test_unknown_placeholder_is_refused() -> None:
    with pytest.raises(KeyError, match="none"):
        model.filled([["up > ", "none"], ["", ""]], {"": ""})
