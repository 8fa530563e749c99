"""Dashboards have the types of @grafana/schema: TypeScript judges each form of each as a literal, so that an unknown key is a fault too.

Panels' options and the fields' own settings are judged by the types of their kind; what is missing among the latter takes the panel's default. There are
no types for what queries and annotations say to Prometheus, and for the options of transformations; and the types are those of one Grafana, 13.2.3. The
strict schemas and the SDK's round trip (`test_grafana.py`) see to the rest.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balance.monitoring.bundle import Bundle
from tests.render.test_grafana import FORMS, made, panels

Json = dict[str, Any]
KINDS = {
    "heatmap": "Heatmap", "stat": "Stat", "state-timeline": "StateTimeline", "table": "Table", "text": "Text", "timeseries": "TimeSeries",
}  # fmt: skip
"""What Grafana calls the types of a kind of panel."""
PLAIN = """import type { AnnotationQuery, Dashboard } from "@grafana/schema";
/** What JSON holds of a type: the text of an enum in place of its name. */
type Plain<T> = unknown extends T ? T : T extends string ? `${T}` : T extends object ? { [Key in keyof T]: Plain<T[Key]> } : T;
/** What the data source alone knows of an annotation is left open by the types of annotations. */
type Mark = AnnotationQuery & { expr: string; step: string; titleFormat: string; textFormat: string };
type Whole = Omit<Dashboard, "annotations"> & { annotations: { list: Mark[] } };
"""
BROKEN: dict[str, tuple[str, Callable[[Json, Json], None]]] = {
    "a number as title": ("'number' is not assignable to type 'string'", lambda model, _: model.update(title=7)),
    "an unknown key": ('"sharedCrosshair"\' does not exist', lambda model, _: model.update(sharedCrosshair=7)),
    "a text as width": ("'string' is not assignable to type 'number'", lambda _, panel: panel["gridPos"].update(w="12")),
    "an unknown mode of thresholds": (
        '"relative"\' is not assignable',
        lambda _, panel: panel["fieldConfig"]["defaults"]["thresholds"].update(mode="relative"),
    ),
    "an unknown option of a panel": ('"legends"\' does not exist', lambda _, panel: panel["options"].update(legends={})),
    "an option without its value": ("'showLegend' is missing", lambda _, panel: panel["options"]["legend"].pop("showLegend")),
    "a text as width of lines": (
        "'string' is not assignable to type 'number'",
        lambda _, panel: panel["fieldConfig"]["defaults"]["custom"].update(lineWidth="thick"),
    ),
}
"""Faults, what TypeScript says of each, and how they get into a dashboard and a graph of it."""


def typed(model: Json) -> str:
    """A module of TypeScript that holds a dashboard and the parts of its panels that the dashboard's type leaves open."""
    names = {kind: name for kind, name in KINDS.items() if kind in {panel["type"] for panel in panels(model, plots=False)}}
    path = "@grafana/schema/dist/esm/raw/composable/{}/panelcfg/x/{}PanelCfg_types.gen"
    uses = [f'import type * as {name} from "{path.format(name.lower(), name)}";\n' for name in names.values()]
    return "".join((PLAIN, *uses, f"export const dashboard = {json.dumps(model)} satisfies Plain<Whole>;\n", *parts(model, names)))


def parts(model: Json, names: dict[str, str]) -> Iterator[str]:
    for panel in panels(model, plots=False):
        yield f"export const options{panel['id']} = {json.dumps(panel['options'])} satisfies Plain<{names[panel['type']]}.Options>;\n"
        if custom := panel.get("fieldConfig", {}).get("defaults", {}).get("custom"):
            yield f"export const custom{panel['id']} = {json.dumps(custom)} satisfies Partial<Plain<{names[panel['type']]}.FieldConfig>>;\n"


@pytest.fixture(scope="module")
def faults(bundle: Bundle, modules: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For every form of the bundle's dashboards, and for every broken one, what TypeScript says of it. One run for all: it takes seconds."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "node_modules").symlink_to(modules("@grafana/schema", "typescript"))
    models = {f"{form}, {dashboard.name}": made(dashboard, form) for form in FORMS for dashboard in bundle.dashboards}
    for fault, (_, spoil) in BROKEN.items():
        models[fault] = copy.deepcopy(next(iter(models.values())))
        spoil(models[fault], next(panel for panel in panels(models[fault]) if panel["type"] == "timeseries"))
    files = {f"{number}.ts": name for number, name in enumerate(models)}
    for file, name in files.items():
        (folder / file).write_text(typed(models[name]), encoding="utf-8")
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler", "--pretty", "false"]
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(["node", str(compiler), *options, *files], cwd=folder, capture_output=True, text=True, check=False)
    told = re.split(r"^(?=\S)", done.stdout, flags=re.MULTILINE)[1:]
    assert all(fault.partition("(")[0] in files for fault in told), done.stdout
    return {name: "".join(fault for fault in told if fault.startswith(f"{file}(")) for file, name in files.items()}


@pytest.mark.parametrize("form", FORMS)
def test_dashboards_match_grafana_types(bundle: Bundle, faults: dict[str, str], form: str) -> None:
    assert {dashboard.name: faults[f"{form}, {dashboard.name}"] for dashboard in bundle.dashboards} == {
        dashboard.name: "" for dashboard in bundle.dashboards
    }


@pytest.mark.parametrize("fault", BROKEN)
def test_wrong_types_are_found(faults: dict[str, str], fault: str) -> None:
    assert BROKEN[fault][0] in faults[fault]
