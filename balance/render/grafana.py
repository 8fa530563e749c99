"""Dashboards as Grafana's classic JSON: the only module that uses grafanalib.

grafanalib 0.7.1 builds the skeleton; it writes for Grafana 5 to 9. `normalise` takes out what newer versions refuse or ignore, and
the panels' `extraJson` brings what they want, so that the result is valid under Grafana's own strict schemas and needs no migration.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from balance.errors import RenderError
from balance.monitoring.dashboards import WIDTH, Dashboard, Panel, Query
from balance.monitoring.settings import Settings
from balance.promql.build import series
from balance.promql.selectors import Matcher
from balance.promql.text import Scope, matching, text
from balance.record import Record
from balance.render import grafanalib_fast, units
from balance.render.versions import DEFAULT_VERSION, SCHEMA_VERSIONS

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
INPUT = "DS_PROMETHEUS"
SELECTOR = 'job=~"$job",instance=~"$instance"'
RECORDED = 'job=~"$job"'
LINE_COLOR = "red"

_DASHBOARD_KEYS = {"__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style", "id", "inputs"}
_PANEL_KEYS = {"cacheTimeout", "editable", "error", "height", "hideTimeOverride", "minSpan", "span", "repeat", "repeatDirection", "maxPerRow"}
_TARGET_KEYS = {"intervalFactor", "metric", "query", "step", "target", "interval", "hide"}
_VARIABLE_KEYS = {"useTags", "tagsQuery", "tagValuesQuery", "auto", "auto_min", "auto_count"}
_CUSTOM_KEYS = {"axisSoftMin", "axisSoftMax"}


class Form(Record):
    """Which form of JSON: for which Grafana, and whether for import by hand (``__inputs``) or for provisioning."""

    version: str = DEFAULT_VERSION
    for_import: bool = False


def render(dashboard: Dashboard, settings: Settings, form: Form = Form()) -> str:  # noqa: B008 (immutable)
    """The dashboard as JSON text with a final newline. Raises `RenderError` if two panels would get the same id."""
    model = _dashboard(dashboard, settings, form)
    return json.dumps(_shared(model) if form.for_import else model, indent=2, ensure_ascii=False) + "\n"


def panel_id(dashboard: Dashboard, title: str) -> int:
    """An id that follows from uid and title alone, so that a panel added elsewhere renumbers nothing. 1 to 2^31 - 1."""
    return zlib.crc32(f"{dashboard.uid}/{title}".encode()) % (2**31 - 1) + 1


def panel_url(dashboard: Dashboard, title: str) -> str:
    """Where a Grafana shows that panel alone, below the address of the Grafana."""
    return f"/d/{dashboard.uid}?viewPanel={panel_id(dashboard, title)}"


def _dashboard(dashboard: Dashboard, settings: Settings, form: Form) -> Json:
    lib = grafanalib_fast.load()
    selector, recorded = _selected(SELECTOR, settings.matchers), _selected(RECORDED, settings.recorded_matchers)
    scope = Scope(selector, "$__rate_interval", settings.thresholds, settings.keep, recorded)
    skeleton = lib.Dashboard(
        title=dashboard.title,
        uid=dashboard.uid,
        description=dashboard.description,
        tags=list(dashboard.tags),
        editable=False,
        graphTooltip=lib.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        refresh="30s",
        schemaVersion=SCHEMA_VERSIONS[form.version],
        timezone="browser",
        templating=lib.Templating(list=list(_variables(lib, dashboard, settings))),
        panels=list(_panels(lib, dashboard, scope)),
    )
    model: Json = _plain(skeleton)
    ids = [panel["id"] for panel in model["panels"]]
    if len(set(ids)) != len(ids):
        raise RenderError("two panels get the same id", where=f"dashboard {dashboard.name!r}", cure="change one of the titles")
    return normalise(model)


def _selected(own: str, matchers: Iterable[Matcher]) -> str:
    return ",".join(filter(None, (own, matching(matchers))))


def _variables(lib: Any, dashboard: Dashboard, settings: Settings) -> Iterator[Any]:
    presence = series(dashboard.presence)
    jobs, instances = (text(presence, Scope(_selected(own, settings.matchers))) for own in ("", 'job=~"$job"'))
    yield lib.Template(name="datasource", label="Data source", type="datasource", query="prometheus", default="default")
    common = {"type": "query", "dataSource": DATASOURCE, "multi": True, "includeAll": True, "allValue": ".+", "refresh": 2}
    yield lib.Template(name="job", label="Job", query=f"label_values({jobs}, job)", default=settings.job, **common)
    yield lib.Template(name="instance", label="Instance", query=f"label_values({instances}, instance)", default="All", **common)


def _panels(lib: Any, dashboard: Dashboard, scope: Scope) -> Iterator[Any]:
    """Rows and panels in their place on the grid: panels flow from left to right and wrap."""
    top = 0
    for row in dashboard.rows:
        yield lib.RowPanel(title=row.title, id=panel_id(dashboard, f"row/{row.title}"), gridPos=lib.GridPos(h=1, w=WIDTH, x=0, y=top))
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            place = lib.GridPos(h=panel.height, w=panel.width, x=left, y=top)
            yield _panel(lib, panel, panel_id(dashboard, panel.title), place, scope)
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(lib: Any, panel: Panel, number: int, place: Any, scope: Scope) -> Any:
    common = {
        "title": panel.title,
        "description": panel.description,
        "id": number,
        "gridPos": place,
        "dataSource": DATASOURCE,
        "maxDataPoints": None,
        "targets": [_target(lib, query, _ref_id(index), scope) for index, query in enumerate(panel.queries)],
        "thresholds": _steps(panel, scope),
        "mappings": _mappings(panel),
    }
    if panel.kind == "state-timeline":
        extra = {
            "fieldConfig": {"defaults": {"unit": units.grafana(panel.unit)}},
            "options": {"legend": {"showLegend": False, "calcs": []}, "tooltip": {"sort": "none"}},
        }
        return lib.StateTimeline(**common, extraJson=extra)
    return lib.TimeSeries(
        **common,
        unit=units.grafana(panel.unit),
        fillOpacity=60 if panel.stacked else 0,
        stacking={"mode": "normal" if panel.stacked else "none", "group": "A"},
        thresholdsStyleMode="dashed" if panel.thresholds else "off",
        tooltipMode="multi",
        tooltipSort="desc",
        showPoints="never",
        valueMin=0,
        legendCalcs=["lastNotNull", "max"],
        legendDisplayMode="table",
        extraJson={"options": {"legend": {"showLegend": True}}},
    )


def _target(lib: Any, query: Query, ref_id: str, scope: Scope) -> Any:
    return lib.Target(expr=text(query.expr, scope), legendFormat=query.legend, refId=ref_id, datasource=DATASOURCE)


def _ref_id(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    before, letter = divmod(index, 26)
    return (_ref_id(before - 1) if before else "") + chr(ord("A") + letter)


def _steps(panel: Panel, scope: Scope) -> list[Json]:
    """Grafana's threshold steps, ascending; the first one is the base, below all others, and has the value null."""

    values = sorted(scope.value(threshold) for threshold in panel.thresholds)
    return [{"color": "green", "value": None}, *({"color": LINE_COLOR, "value": value} for value in values)]


def _mappings(panel: Panel) -> list[Json]:
    if not panel.states:
        return []
    options = {str(state.value): {"text": state.text, "color": state.color, "index": index} for index, state in enumerate(panel.states)}
    return [{"type": "value", "options": options}]


def _plain(value: Any) -> Any:
    """grafanalib's objects as dictionaries and lists."""
    if hasattr(value, "to_json_data"):
        return _plain(value.to_json_data())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def normalise(model: Json) -> Json:
    """grafanalib's JSON as Grafana 10 and later write it: no obsolete keys, no nulls but the base threshold's, no empty choices."""
    model = {key: value for key, value in _without_nulls(model).items() if key not in _DASHBOARD_KEYS}
    model["timepicker"] = {}
    model["templating"]["list"] = [_variable(variable) for variable in model["templating"]["list"]]
    model["panels"] = [_normal_panel(panel) for panel in model["panels"]]
    model["annotations"] = {"list": []}
    return model


def _without_nulls(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item, name) for name, item in value.items() if item is not None or (key == "steps" and name == "value")}
    return [_without_nulls(item, key) for item in value] if isinstance(value, list) else value


def _variable(variable: Json) -> Json:
    variable = {key: value for key, value in variable.items() if key not in _VARIABLE_KEYS}
    variable["current"] = _current(variable["current"], multi=variable["multi"])
    if variable["type"] == "datasource":
        variable["refresh"] = 1
        variable.pop("sort")
    return variable


def _current(current: Json, *, multi: bool) -> Json:
    """The variable's first choice, in the form that Grafana saves: lists where several may be chosen."""
    value = "$__all" if current["text"] == "All" else current["value"]
    chosen = {"text": [current["text"]], "value": [value]} if multi else {"text": current["text"], "value": value}
    return {"selected": True, **chosen}


def _normal_panel(panel: Json) -> Json:
    panel = {key: value for key, value in panel.items() if key not in _PANEL_KEYS}
    if panel["type"] == "row":
        return {key: panel[key] for key in ("type", "id", "title", "collapsed", "panels", "gridPos")}
    panel["targets"] = [{"range": True, **_without(target, _TARGET_KEYS)} for target in panel["targets"]]
    defaults = panel["fieldConfig"]["defaults"]
    defaults["custom"] = _without(defaults["custom"], _CUSTOM_KEYS)
    if "scaleDistribution" in defaults["custom"]:
        defaults["custom"]["scaleDistribution"] = {"type": "linear"}
    return {key: value for key, value in panel.items() if value != [] and value != ""}


def _without(mapping: Json, keys: set[str]) -> Json:
    return {key: value for key, value in mapping.items() if key not in keys}


def _shared(model: Json) -> Json:
    """The form for import by hand: Grafana asks for the data source and puts it in place of ``${DS_PROMETHEUS}``."""
    model["templating"]["list"] = [variable for variable in model["templating"]["list"] if variable["type"] != "datasource"]
    body = json.loads(json.dumps(model).replace("${datasource}", f"${{{INPUT}}}"))
    return {
        "__inputs": [
            {"name": INPUT, "label": "Prometheus", "description": "", "type": "datasource", "pluginId": "prometheus", "pluginName": "Prometheus"}
        ],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            *(
                {"type": "panel", "id": kind, "name": kind, "version": ""}
                for kind in sorted({panel["type"] for panel in body["panels"]} - {"row"})
            ),
        ],
        **body,
    }  # fmt: skip
