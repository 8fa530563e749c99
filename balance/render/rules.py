"""Rule files and the jsonnet mixin they come from: the only module that uses `_jsonnet`.

The mixin fills the templates of `balance.render.model`. The program that mixin users evaluate with their own `_config` also makes our own
rule files, so the two cannot differ.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from typing import Literal

from balance.errors import RenderError, choices
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Ruler, Settings
from balance.render.artifact import HEADER, Artifact, Json, yaml_text
from balance.render.model import model

Kind = Literal["rules", "alerts"]
LIBRARIES = ("mixin.libsonnet", "config.libsonnet", "alerts.libsonnet", "rules.libsonnet", "dashboards.libsonnet", "jsonnetfile.json")
FOLDER, ALERTS, RECORDING = "prometheus/rules", "alerts.yaml", "recording.yaml"


def rule_files(bundle: Bundle, evaluated: Json, ruler: Ruler, namespace: str) -> list[Artifact]:
    """The rule files: one for the alerts, one for the recording rules, and one for each group with a name of its own.

    `namespace` is written only if the `ruler` wants one.
    """
    groups = (*(rule.group for rule in bundle.recording_rules), *(alert.group for alert in bundle.alerts))
    own = dict.fromkeys(group for group in groups if group)
    plain = bundle.catalog.name
    files: tuple[tuple[str, tuple[Kind, ...], str], ...] = (
        (ALERTS, ("alerts",), plain),
        (RECORDING, ("rules",), plain),
        *((f"{name}.yaml", ("rules", "alerts"), name) for name in own),
    )
    return [Artifact(f"{FOLDER}/{file}", rule_file(evaluated, *kinds, only=only, ruler=ruler, namespace=namespace)) for file, kinds, only in files]


def groups(evaluated: Json, *kinds: Kind, only: str = "") -> list[Json]:
    """The rule groups of the given kinds from the evaluated mixin, in that order; with `only`, those of that name. Raises `RenderError` if
    two groups have the same name.
    """
    found = [group for kind in kinds for group in evaluated[kind]["groups"] if only in ("", group["name"].removesuffix(".rules"))]
    counts = Counter(group["name"] for group in found)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise RenderError(f"duplicate rule group: {choices(repeated)}", cure="give the groups of alerts and of recording rules different names")
    return [{"name": group["name"], "rules": [_ordered(rule) for rule in group["rules"]]} for group in found]


def rule_file(evaluated: Json, *kinds: Kind, only: str = "", ruler: Ruler = Ruler(), namespace: str = "") -> str:  # noqa: B008 (immutable)
    """A rule file for the `ruler` with the groups of the given kinds; with `only`, those of that name. Raises as `groups` does."""
    wanted = groups(evaluated, *kinds, only=only)
    for rule in (rule for group in wanted for rule in group["rules"]):
        for key in ruler.unknown:
            rule.pop(key, None)
    return HEADER + yaml_text({**({"namespace": namespace} if ruler.namespaced else {}), "groups": wanted})


def mixin(bundle: Bundle, settings: Settings, dashboards: dict[str, str]) -> list[Artifact]:
    """The files of the mixin, with the model and the dashboards (file name -> JSON text) that it imports."""
    imported = {name: json.loads(text) for name, text in dashboards.items()}
    return [
        *(Artifact(f"mixin/{name}", library(name)) for name in LIBRARIES),
        Artifact("mixin/model.json", json.dumps(model(bundle, settings), indent=2, ensure_ascii=False) + "\n"),
        Artifact("mixin/dashboards.json", json.dumps(imported, indent=2, ensure_ascii=False) + "\n"),
    ]


def evaluate(bundle: Bundle, settings: Settings) -> Json:
    """Evaluate the mixin over the bundle's model: `alerts` is its `prometheusAlerts`, `rules` its `prometheusRules`.

    Raises `RenderError` with the first line of jsonnet's message.
    """
    import _jsonnet  # not loaded for dashboards alone

    exported = json.dumps(model(bundle, settings)).encode()

    def read(_directory: str, name: str) -> tuple[str, bytes]:
        return name, exported if name == "model.json" else library(name).encode()

    program = f"local mixin = import '{LIBRARIES[0]}'; {{ alerts: mixin.prometheusAlerts, rules: mixin.prometheusRules }}"
    try:
        text = _jsonnet.evaluate_snippet("balance", program, import_callback=read)
    except RuntimeError as error:
        raise RenderError(str(error).strip().splitlines()[0], where=LIBRARIES[0], cure="correct the mixin or the model it reads") from None
    result: Json = json.loads(text)
    return result


def library(name: str) -> str:
    """The text of a file of the mixin, from the package's data."""
    return files(__package__).joinpath("mixin", name).read_text(encoding="utf-8")


def _ordered(rule: Json) -> Json:
    """A rule's keys in the order that people write them; jsonnet sorts them."""
    return {key: rule[key] for key in ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations") if key in rule}
