from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from jsonschema import Draft7Validator

from balance.catalog import thresholds as t
from balance.errors import RenderError
from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Dashboard, Row
from balance.monitoring.settings import Settings
from balance.render import grafana
from balance.render.grafana import Form, render
from balance.render.versions import SCHEMA_VERSIONS

SETTINGS = Settings(job="balance")
Json = dict[str, Any]
SCHEMA_FILES = {"state-timeline": "statetimeline"}


@pytest.fixture(scope="module")
def schemas(repository: Path) -> Path:
    """Grafana's strict schemas, which are no part of this repository: `BALANCE_GRAFANA_SCHEMA` or ../shared/grafana-schema."""
    directory = Path(os.environ.get("BALANCE_GRAFANA_SCHEMA", repository.parent / "shared" / "grafana-schema"))
    if not directory.is_dir():
        pytest.skip(f"Grafana's JSON Schemas are not at {directory}; BALANCE_GRAFANA_SCHEMA names the folder jsonschema of grafana-foundation-sdk")
    return directory


@pytest.fixture(scope="module")
def main(bundle: Bundle) -> Dashboard:
    return next(dashboard for dashboard in bundle.dashboards if dashboard.main)


@pytest.fixture(scope="module")
def model(main: Dashboard) -> Json:
    result: Json = json.loads(render(main, SETTINGS))
    return result


def panels(model: Json) -> list[Json]:
    return [panel for panel in model["panels"] if panel["type"] != "row"]


def faults(schema_file: Path, value: Any, definition: str = "") -> Iterator[str]:
    schema = json.loads(schema_file.read_text())
    if definition:
        schema["$ref"] = f"#/definitions/{definition}"
    for error in Draft7Validator(schema).iter_errors(value):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message}"


@pytest.mark.parametrize("version", SCHEMA_VERSIONS)
@pytest.mark.parametrize("runtime", ["python", "go"])
def test_dashboards_are_valid_under_grafanas_strict_schemas(bundle: Bundle, schemas: Path, version: str, runtime: str) -> None:
    found: list[str] = []
    for dashboard in bundle.dashboards:
        model = json.loads(render(dashboard, Settings(job="balance", runtime=runtime), Form(version)))
        found += faults(schemas / "dashboard.jsonschema.json", model)
        for panel in panels(model):
            file = schemas / f"{SCHEMA_FILES.get(panel['type'], panel['type'])}.jsonschema.json"
            found += faults(file, panel["options"], "Options")
            found += faults(file, panel["fieldConfig"]["defaults"]["custom"], "FieldConfig")
            for target in panel["targets"]:
                found += faults(schemas / "prometheus.jsonschema.json", target)
    assert found == []


def test_a_fault_in_a_dashboard_would_be_seen(model: Json, schemas: Path) -> None:
    broken = {**model, "gnetId": None}
    assert list(faults(schemas / "dashboard.jsonschema.json", broken))


def test_units_are_ids_that_grafana_knows(model: Json, schemas: Path) -> None:
    definitions = json.loads((schemas / "units.jsonschema.json").read_text())["definitions"]
    known = {definition.get("const") for definition in definitions.values()}
    used = {panel["fieldConfig"]["defaults"]["unit"] for panel in panels(model)}
    assert {"reqps", "s", "percentunit", "bytes"} <= used
    assert used <= known


def test_units_follow_from_the_catalog(model: Json) -> None:
    units = {panel["title"]: panel["fieldConfig"]["defaults"]["unit"] for panel in panels(model)}
    assert units["Request Rate"] == "reqps"
    assert units["Response Time"] == "s"
    assert units["Error Rate"] == "percentunit"
    assert units["Active Connections"] == "short"
    assert units["Resource Usage"] == "bytes"


def test_threshold_lines_follow_the_settings(main: Dashboard) -> None:
    model = json.loads(render(main, Settings(job="balance", thresholds={"error_ratio": 0.02})))
    steps = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for panel in panels(model)}
    assert steps["Error Rate"] == [{"color": "green", "value": None}, {"color": "red", "value": 0.02}]
    assert steps["Response Time"] == [{"color": "green", "value": None}, {"color": "red", "value": 1}]
    assert steps["Request Rate"] == [{"color": "green", "value": None}]


def test_several_threshold_lines_ascend_whatever_the_settings(main: Dashboard) -> None:
    panel = next(panel for panel in main.panels if panel.title == "Error Rate")
    board = main.replace(rows=(Row("All", (panel.replace(thresholds=(t.RETRY_RATIO, t.ERROR_RATIO)),)),))
    steps = json.loads(render(board, SETTINGS))["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, 0.05, 0.1]


def test_a_panel_may_have_more_queries_than_the_alphabet_has_letters(main: Dashboard) -> None:
    panel = main.panels[0]
    board = main.replace(rows=(Row("All", (panel.replace(queries=panel.queries * 28),)),))
    targets = json.loads(render(board, SETTINGS))["panels"][1]["targets"]
    assert [target["refId"] for target in targets][-3:] == ["Z", "AA", "AB"]


def test_backend_health_is_green_and_red_by_value(model: Json) -> None:
    panel = next(panel for panel in panels(model) if panel["title"] == "Backend Health")
    assert panel["type"] == "state-timeline"
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {value: option["color"] for value, option in options.items()} == {"1": "green", "0": "red"}


def test_every_selector_keeps_job_and_instance_and_every_query_parses(model: Json) -> None:
    for panel in panels(model):
        assert panel["title"]
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert target["expr"].count("{") == target["expr"].count('job=~"$job",instance=~"$instance"}')
            promql_parser.parse(target["expr"].replace("$__rate_interval", "5m"))


def test_variables_are_datasource_job_and_instance(model: Json) -> None:
    variables = {variable["name"]: variable for variable in model["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert variables["datasource"]["type"] == "datasource"
    for name in ("job", "instance"):
        assert (variables[name]["multi"], variables[name]["allValue"], variables[name]["refresh"]) == (True, ".+", 2)


def test_panels_do_not_overlap_and_fill_the_grid(model: Json) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in model["panels"]:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not own & cells
        assert all(x < 24 for x, _ in own)
        cells |= own


def test_ids_follow_from_content_so_that_a_new_panel_renumbers_nothing(main: Dashboard, model: Json) -> None:
    first, *rest = main.rows
    added = first.panels[0].replace(title="Something New")
    changed = json.loads(render(main.replace(rows=(Row(first.title, (added, *first.panels)), *rest)), SETTINGS))
    assert {panel["title"]: panel["id"] for panel in model["panels"]}.items() <= {panel["title"]: panel["id"] for panel in changed["panels"]}.items()
    assert len({panel["id"] for panel in changed["panels"]}) == len(changed["panels"])


def test_two_panels_with_one_id_are_refused(main: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana, "panel_id", lambda dashboard, title: 1)
    with pytest.raises(RenderError, match="two panels get the same id"):
        render(main, SETTINGS)


def test_no_obsolete_key_and_no_null_but_the_base_threshold_is_left(model: Json) -> None:
    def nulls(value: Any, path: str = "") -> Iterator[str]:
        if value is None:
            yield path
        for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            yield from nulls(item, f"{path}/{key}")

    assert {path.rpartition("steps/")[2] for path in nulls(model)} == {"0/value"}
    assert not model.keys() & {"__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style"}


def test_the_import_form_asks_for_the_data_source_and_has_no_variable_for_it(main: Dashboard) -> None:
    text = render(main, SETTINGS, Form(for_import=True))
    model = json.loads(text)
    assert [given["name"] for given in model["__inputs"]] == ["DS_PROMETHEUS"]
    assert {required["id"] for required in model["__requires"]} >= {"grafana", "prometheus", "timeseries", "state-timeline"}
    assert "${datasource}" not in text
    assert all(panel["datasource"]["uid"] == "${DS_PROMETHEUS}" for panel in panels(model))
    assert [variable["name"] for variable in model["templating"]["list"]] == ["job", "instance"]


def test_grafanalib_renders_the_same_with_attrs_as_with_the_stand_in(model: Json) -> None:
    """The stand-in is a matter of speed alone. A process of its own: this one has loaded grafanalib already."""
    program = (
        "import grafanalib.core, sys, attr\n"
        "assert hasattr(attr, 'define')\n"
        "from balance.gen.cli import main\n"
        "sys.exit(main(['dashboards']))"
    )  # fmt: skip
    slow = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(slow.stdout) == model


def test_the_stand_in_for_attrs_is_gone_once_grafanalib_is_loaded() -> None:
    program = (
        "import sys\n"
        "from balance.render.grafanalib_fast import load\n"
        "load()\n"
        "assert 'attr' not in sys.modules and 'attr.validators' not in sys.modules\n"
        "import attr\n"
        "assert hasattr(attr, 'define')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_stand_in_refuses_what_attrs_refuses(main: Dashboard) -> None:
    from balance.render.grafanalib_fast import load

    lib = load()
    with pytest.raises(ValueError, match="editable must be"):
        lib.Dashboard(title="x", editable="yes")
    with pytest.raises(TypeError, match="needs 'title'"):
        lib.Dashboard()
    with pytest.raises(TypeError, match="has no nonsense"):
        lib.Dashboard(title="x", nonsense=1)
