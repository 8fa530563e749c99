from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from jsonschema import Draft7Validator

from balance.errors import RenderError
from balance.lb.catalog import thresholds as t
from balance.monitoring.bundle import Bundle
from balance.monitoring.dashboards import Dashboard, Row
from balance.monitoring.settings import Settings
from balance.promql.selectors import Matcher
from balance.render import grafana
from balance.render.grafana import Form, render
from balance.render.grafana_ids import SCHEMA_VERSIONS, panel_id

SETTINGS = Settings(job="balance")
Json = dict[str, Any]
CUSTOM = {"timeseries": "GraphFieldConfig", "state-timeline": "FieldConfig", "table": "TableFieldOptions", "heatmap": "FieldConfig"}
"""The definition that a panel's own settings of fields must fit; those that it refers to are looser."""


FORMS: dict[str, tuple[Settings, Form]] = {
    **{f"Grafana {version}": (SETTINGS, Form(version)) for version in SCHEMA_VERSIONS},
    "for import": (SETTINGS, Form(for_import=True)),
    "Go": (replace(SETTINGS, runtime="go"), Form()),
    "several clusters": (replace(SETTINGS, keep_labels=("cluster", "namespace"), matchers=(Matcher("region", "=", "eu"),)), Form()),
}


def made(dashboard: Dashboard, form: str) -> Json:
    """The dashboard in one of the forms. What asks for the data source on import is taken out: Grafana does so too."""
    model: Json = json.loads(render(dashboard, *FORMS[form]))
    return {key: value for key, value in model.items() if key not in ("__inputs", "__requires")}


Schemas = Mapping[str, Json]


@pytest.fixture(scope="module")
def schemas(repository: Path) -> Schemas:
    """Grafana's strict schemas by name. They are not part of this repository: `BALANCE_GRAFANA_SCHEMA` or ../shared/grafana-schema."""
    directory = Path(os.environ.get("BALANCE_GRAFANA_SCHEMA", repository.parent / "shared" / "grafana-schema"))
    if not directory.is_dir():
        pytest.skip(f"Grafana's JSON Schemas are not at {directory}; BALANCE_GRAFANA_SCHEMA names the folder jsonschema of grafana-foundation-sdk")
    return {path.name.removesuffix(".jsonschema.json"): json.loads(path.read_text()) for path in directory.glob("*.jsonschema.json")}


@pytest.fixture(scope="module")
def main(bundle: Bundle) -> Dashboard:
    return next(dashboard for dashboard in bundle.dashboards if dashboard.main)


@pytest.fixture(scope="module")
def model(main: Dashboard) -> Json:
    result: Json = json.loads(render(main, SETTINGS))
    return result


def panels(model: Json, *, plots: bool = True) -> list[Json]:
    """The panels, those of collapsed rows included; `plots`: only those that show data."""
    every = [panel for top in model["panels"] for panel in (top, *top.get("panels", ()))]
    return [panel for panel in every if panel["type"] not in ("row", *(["text"] if plots else []))]


def faults(schema: Json, value: Any, definition: str = "") -> Iterator[str]:
    """What is wrong with a value under a schema, or under one of its definitions."""
    chosen = {**schema, "$ref": f"#/definitions/{definition}"} if definition else schema
    for error in Draft7Validator(chosen).iter_errors(value):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message}"


@pytest.mark.parametrize("form", FORMS)
def test_dashboards_match_grafana_schemas(bundle: Bundle, schemas: Schemas, form: str) -> None:
    found: list[str] = []
    for dashboard in bundle.dashboards:
        model = made(dashboard, form)
        found += faults(schemas["dashboard"], model)
        for panel in panels(model, plots=False):
            schema = schemas[panel["type"].replace("-", "")]
            found += faults(schemas["dashboard"], panel, "Panel")
            found += faults(schema, panel["options"], "Options")
            if panel["type"] in CUSTOM:
                found += faults(schema, panel["fieldConfig"]["defaults"]["custom"], CUSTOM[panel["type"]])
            for target in panel.get("targets", ()):
                found += faults(schemas["prometheus"], target)
    assert found == []


def test_schemas_refuse_unknown_key(model: Json, schemas: Schemas) -> None:
    broken = {**model, "gnetId": None}
    assert list(faults(schemas["dashboard"], broken))


def test_unit_ids_are_known_to_grafana(model: Json, schemas: Schemas) -> None:
    definitions = schemas["units"]["definitions"]
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


def test_threshold_lines_ascend(main: Dashboard) -> None:
    panel = next(panel for panel in main.panels if panel.title == "Error Rate")
    board = replace(main, rows=(Row("All", (replace(panel, thresholds=(t.RETRY_RATIO, t.ERROR_RATIO)),)),))
    steps = json.loads(render(board, SETTINGS))["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, 0.05, 0.1]


def test_ref_ids_go_on_after_z(main: Dashboard) -> None:
    panel = next(panel for panel in main.panels if panel.title == "Error Rate")
    board = replace(main, rows=(Row("All", (replace(panel, queries=panel.queries[:1] * 28),)),))
    targets = json.loads(render(board, SETTINGS))["panels"][1]["targets"]
    assert [target["refId"] for target in targets][-3:] == ["Z", "AA", "AB"]


def test_backend_health_is_green_and_red_by_value(model: Json) -> None:
    panel = next(panel for panel in panels(model) if panel["title"] == "Backend Health")
    assert panel["type"] == "state-timeline"
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {value: option["color"] for value, option in options.items()} == {"1": "green", "0": "red"}


def test_queries_parse_and_select_job_and_instance(model: Json) -> None:
    for panel in panels(model):
        assert panel["title"]
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            recorded = target["expr"].count("_errors:") + target["expr"].count("_error_budget:") + target["expr"].count("_burn_rate:")
            assert target["expr"].count("{") == target["expr"].count('job=~"$job",instance=~"$instance"}') + recorded
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


def test_new_panel_renumbers_no_other(main: Dashboard, model: Json) -> None:
    first, *rest = main.rows
    added = replace(first.panels[0], title="Something New", width=4)
    changed = json.loads(render(replace(main, rows=(Row(first.title, (added, *first.panels)), *rest)), SETTINGS))
    before, after = ({panel["title"]: panel["id"] for panel in panels(one, plots=False)} for one in (model, changed))
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1 == len(set(after.values()))


def test_diff_of_one_panel_touches_it_alone(main: Dashboard, model: Json) -> None:
    changed_row = next(row for row in main.rows if row.title == "Retries")
    changed = tuple(
        replace(panel, description="Otherwise.", least=None, width=6) if panel.title == "Retry Budget" else panel for panel in changed_row.panels
    )
    rows = tuple(replace(row, panels=changed) if row is changed_row else row for row in main.rows)
    after = render(replace(main, rows=rows), SETTINGS).splitlines()
    before = render(main, SETTINGS).splitlines()
    hunks = [block for block in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if block[0] != "equal"]
    id_of = f'"id": {panel_id(main, "Retry Budget")},'
    first = next(number for number, line in enumerate(before) if id_of in line) - 1
    last = next(number for number in range(first, len(before)) if before[number] == "    },")
    assert len(hunks) == 3
    assert all(first <= start and end <= last for _, start, end, _, _ in hunks)
    other = [(a, b) for a, b in zip(panels(model), panels(json.loads("\n".join(after))), strict=True) if a != b]
    assert [a["title"] for a, _ in other] == ["Retry Budget"]


def test_duplicate_panel_ids_are_refused(main: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana, "panel_id", lambda dashboard, title: 1)
    with pytest.raises(RenderError, match="two panels have the same id"):
        render(main, SETTINGS)


def test_no_obsolete_keys_or_nulls(model: Json) -> None:
    """The one null is the value of the base threshold."""

    def nulls(value: Any, path: str = "") -> Iterator[str]:
        if value is None:
            yield path
        for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            yield from nulls(item, f"{path}/{key}")

    assert {path.rpartition("steps/")[2] for path in nulls(model)} == {"0/value"}
    assert not model.keys() & {"__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style"}


def test_import_form_asks_for_data_source(main: Dashboard) -> None:
    """It has no variable for the data source."""
    text = render(main, SETTINGS, Form(for_import=True))
    model = json.loads(text)
    assert [given["name"] for given in model["__inputs"]] == ["DS_PROMETHEUS"]
    assert {required["id"] for required in model["__requires"]} >= {"grafana", "prometheus", "timeseries", "state-timeline"}
    assert "${datasource}" not in text
    assert all(panel["datasource"]["uid"] == "${DS_PROMETHEUS}" for panel in panels(model))
    assert [variable["name"] for variable in model["templating"]["list"]] == ["job", "instance"]


@pytest.mark.process
def test_grafanalib_renders_the_same_with_attrs(model: Json) -> None:
    """The stand-in for attrs is a matter of speed alone. In a process of its own: this one has loaded grafanalib already."""
    program = (
        "import attr, grafanalib.core, sys\nassert hasattr(attr, 'define')\nfrom balance.commands.cli import main\nsys.exit(main(['dashboards']))"
    )
    slow = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(slow.stdout) == model


@pytest.mark.process
def test_attrs_is_back_once_grafanalib_is_loaded() -> None:
    program = (
        "import sys\n"
        "from balance.render.grafanalib_fast import load\n"
        "load()\n"
        "assert 'attr' not in sys.modules and 'attr.validators' not in sys.modules\n"
        "import attr\n"
        "assert hasattr(attr, 'define')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_stand_in_refuses_what_attrs_refuses() -> None:
    lib = grafana.lib
    with pytest.raises(ValueError, match="editable must be"):
        lib.Dashboard(title="x", editable="yes")
    with pytest.raises(TypeError, match="needs 'title'"):
        lib.Dashboard()
    with pytest.raises(TypeError, match="has no nonsense"):
        lib.Dashboard(title="x", nonsense=1)


def board(bundle: Bundle, name: str, settings: Settings = SETTINGS) -> Json:
    result: Json = json.loads(render(next(dashboard for dashboard in bundle.dashboards if dashboard.name == name), settings))
    return result


def test_first_row_has_six_stats(model: Json) -> None:
    first = [panel for panel in panels(model, plots=False) if panel["gridPos"]["y"] == 1]
    assert [panel["title"] for panel in first] == ["Requests", "Errors", "Slowest Hundredth", "Healthy Backends", "Saturation", "Error Budget Left"]
    assert {panel["type"] for panel in first} == {"stat"}
    colors = {panel["title"]: [step["color"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]] for panel in first}
    assert colors["Errors"] == ["green", "red"]
    assert colors["Error Budget Left"] == ["red", "green"], "what is too little is wrong"
    assert colors["Requests"] == ["blue"], "no number of requests is wrong"


def test_every_alert_has_its_panel(bundle: Bundle, model: Json) -> None:
    """It plots the condition with its thresholds and links to the runbook."""
    row = model["panels"][-1]
    assert (row["title"], row["collapsed"]) == ("Alerts", True)
    assert [panel["title"] for panel in row["panels"]] == [alert.name for alert in bundle.alerts]
    for alert, panel in zip(bundle.alerts, row["panels"], strict=True):
        assert len(panel["targets"]) == len(alert.condition.branches)
        assert [link["url"] for link in panel["links"]] == [f"runbooks/{alert.name}.md"]
        values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]][1:]
        assert values == sorted(branch.threshold.value for branch in alert.condition.branches if not branch.threshold.fixed)


def test_backend_links_to_its_dashboard(bundle: Bundle, model: Json) -> None:
    linked = {
        panel["title"]: panel["fieldConfig"]["defaults"]["links"][0]["url"] for panel in panels(model) if "links" in panel["fieldConfig"]["defaults"]
    }
    keep = "/d/balance-backend?${__url_time_range}&${__all_variables}&var-backend="
    assert linked["Backends: Traffic"] == keep + "${__data.fields.backend}"
    assert linked["Attempts by Backend"] == keep + "${__field.labels.backend}"
    one = board(bundle, "backend")
    assert [variable["name"] for variable in one["templating"]["list"]] == ["datasource", "job", "instance", "backend"]
    narrowed = {panel["title"]: panel["targets"][0]["expr"] for panel in panels(one)}
    assert 'backend=~"$backend",job=~"$job"' in narrowed["Attempts"]
    assert "$backend" not in narrowed["Time to Connect"], "its metric is by pool"


def test_dashboards_have_links_and_annotations(bundle: Bundle) -> None:
    for dashboard in bundle.dashboards:
        model = board(bundle, dashboard.name)
        assert [(link["tags"], link["includeVars"], link["keepTime"]) for link in model["links"]] == [(["balance"], True, True)]
        marks = {mark["name"]: mark["expr"] for mark in model["annotations"]["list"]}
        assert list(marks) == ["Firing alerts", "Reloads", "Restarts"]
        assert marks["Firing alerts"] == 'ALERTS{alertstate="firing",job=~"$job"}', "not every alert has an instance"
        for expr in marks.values():
            promql_parser.parse(expr)


def test_kept_labels_become_variables(bundle: Bundle) -> None:
    """They narrow every query and the variables after them, and links keep them."""
    for dashboard in bundle.dashboards:
        text = render(dashboard, replace(SETTINGS, keep_labels=("cluster", "namespace")))
        model = json.loads(text)
        variables = {variable["name"]: variable for variable in model["templating"]["list"]}
        assert list(variables)[:5] == ["datasource", "cluster", "namespace", "job", "instance"]
        assert (variables["cluster"]["label"], variables["cluster"]["multi"], variables["cluster"]["refresh"]) == ("Cluster", True, 2)
        assert '{cluster=~"$cluster"}' in variables["namespace"]["query"], "each choice narrows the next"
        assert '{cluster=~"$cluster",namespace=~"$namespace"}' in variables["job"]["query"]
        for target in (target for panel in panels(model) for target in panel["targets"]):
            assert all('cluster=~"$cluster",namespace=~"$namespace"' in found for found in re.findall(r"{([^}]*)}", target["expr"])), target
        assert all('cluster=~"$cluster"' in mark["expr"] for mark in model["annotations"]["list"])
        assert text.count("/d/balance-") == text.count("${__url_time_range}&${__all_variables}")


def test_table_has_sparkline_for_each_query(model: Json) -> None:
    table = next(panel for panel in panels(model) if panel["title"] == "Backends: Traffic")
    assert [step["id"] for step in table["transformations"]] == ["timeSeriesTable", "merge", "organize"]
    names = table["transformations"][-1]["options"]["renameByName"]
    assert names == {"Trend #A": "Attempts", "Trend #B": "Failed", "Trend #C": "Retries"}


def test_heatmap_has_unit_of_its_metric(model: Json) -> None:
    heatmap = next(panel for panel in panels(model) if panel["type"] == "heatmap")
    assert (heatmap["options"]["yAxis"]["unit"], heatmap["targets"][0]["format"]) == ("s", "heatmap")
    assert "sum by (le)" in heatmap["targets"][0]["expr"]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no container, by its path."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{path}/{key}")
    else:
        yield path, value


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")  # classic JSON is what every Grafana takes
@pytest.mark.parametrize("form", FORMS)
def test_grafana_sdk_round_trip_is_lossless(bundle: Bundle, form: str) -> None:
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard as Theirs

    plugins.register_default_plugins()
    for dashboard in bundle.dashboards:
        ours = made(dashboard, form)
        theirs = dict(leaves(json.loads(JSONEncoder().encode(Theirs.from_json(ours)))))
        missing = object()
        assert [path for path, value in leaves(ours) if theirs.get(path, missing) != value] == []
