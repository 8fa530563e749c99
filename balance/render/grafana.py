"""Dashboards as Grafana's classic JSON: the only module that uses grafanalib.

grafanalib 0.7.1 builds the skeleton; it writes for Grafana 5 to 9. `_as_json` takes out what newer versions refuse or ignore, and
the panels' `extraJson` brings what they want, so that the result is valid under Grafana's own strict schemas and needs no migration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from balance.catalog.model import Metric
from balance.errors import RenderError
from balance.monitoring.dashboards import WIDTH, Annotation, Dashboard, Link, Panel, Query, Row
from balance.monitoring.settings import Settings
from balance.promql.selectors import Matcher
from balance.promql.text import Scope, matching, text
from balance.render import grafanalib_fast
from balance.render.artifact import Json
from balance.render.grafana_ids import DEFAULT_VERSION, SCHEMA_VERSIONS, panel_id, unit_id

lib = grafanalib_fast.load()
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
INPUT = "DS_PROMETHEUS"
ANNOTATION_STEP = "60s"
"""Resolution of annotation queries."""
LINE_COLOR = "red"
TIME_AND_VARIABLES = "${__url_time_range}&${__all_variables}"

_OBSOLETE: dict[str, tuple[str, ...]] = {
    "": ("__inputs", "hideControls", "rows", "sharedCrosshair", "style"),
    "list": ("auto", "auto_count", "auto_min", "useTags"),
    "targets": ("hide", "interval", "intervalFactor", "metric", "query", "step", "target"),
    "custom": ("displayMode",),
    "scaleDistribution": ("log",),
}
"""Keys that grafanalib writes and newer versions of Grafana refuse or ignore, by the key of the object or list that they are in."""
_ROW_KEYS = ("type", "id", "title", "collapsed", "panels", "gridPos")
_PANEL_KEYS = (
    "id", "type", "title", "description", "gridPos", "datasource", "links", "transparent", "targets", "transformations",
    "fieldConfig", "options",
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """The form of the JSON: the Grafana version it is for, and whether it is for manual import (with ``__inputs``) or for provisioning."""

    version: str = DEFAULT_VERSION
    for_import: bool = False


def render(dashboard: Dashboard, settings: Settings, form: Form = Form()) -> str:
    """The dashboard as JSON text with a final newline. Raises `RenderError` if two panels have the same id."""
    model = _dashboard(dashboard, settings, form)
    return json.dumps(_import_form(model) if form.for_import else model, indent=2, ensure_ascii=False) + "\n"


def _dashboard(dashboard: Dashboard, settings: Settings, form: Form) -> Json:
    scope = _dashboard_scope(dashboard, settings)
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
        links=_dashboard_links(dashboard),
        templating=lib.Templating(list=list(_variables(dashboard, settings))),
        annotations=lib.Annotations(list=[_annotation(annotation, scope) for annotation in dashboard.annotations]),
        panels=list(_Grid(dashboard, settings, scope).rows()),
    )
    model: Json = _as_json(skeleton)
    ids = [panel["id"] for top in model["panels"] for panel in (top, *top.get("panels", ()))]
    if len(set(ids)) != len(ids):
        raise RenderError("two panels have the same id", where=f"dashboard {dashboard.name!r}", cure="rename one of them")
    return _normalised(model)


def _variable_matchers(*labels: str, matchers: Iterable[Matcher] = ()) -> str:
    """Matchers on the dashboard variables of these labels, followed by the given ones."""
    return ",".join(filter(None, (*(f'{label}=~"${label}"' for label in labels), matching(matchers))))


def _dashboard_scope(dashboard: Dashboard, settings: Settings) -> Scope:
    """A scope that narrows every selector to the values of the dashboard's variables."""
    kept = (*settings.keep_labels, "job")
    selector = _variable_matchers(*kept, "instance", matchers=settings.matchers)
    recorded = _variable_matchers(*kept, matchers=settings.recorded_matchers)
    by_label = {variable.label: _variable_matchers(variable.label) for variable in dashboard.variables}
    return Scope(selector, "$__rate_interval", settings.thresholds, settings.keep, recorded, by_label)


def _dashboard_links(dashboard: Dashboard) -> list[Any]:
    """A link to the dashboards with the same first tag that keeps time range and variables."""
    return [lib.DashboardLink(title=tag, tags=[tag], includeVars=True, keepTime=True) for tag in dashboard.tags[:1]]


def _annotation(annotation: Annotation, scope: Scope) -> Json:
    return {
        "name": annotation.name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": annotation.color,
        "expr": text(annotation.expr, replace(scope, selector=scope.recorded) if annotation.job else scope),
        "step": ANNOTATION_STEP,
        "titleFormat": annotation.title,
        "textFormat": annotation.words,
    }


def _variables(dashboard: Dashboard, settings: Settings) -> Iterator[Any]:
    """The variables in order: data source, kept labels, job, instance, the dashboard's own. Each offers only values that fit those before it."""
    yield lib.Template(name="datasource", label="Data source", type="datasource", query="prometheus", default="default")
    common = {"type": "query", "dataSource": DATASOURCE, "multi": True, "includeAll": True, "allValue": ".+", "refresh": 2}
    everywhere = (*settings.keep_labels, "job", "instance")
    choices: list[tuple[str, str, Metric]] = [(label, _label_title(label), dashboard.presence) for label in everywhere]
    choices += [(variable.label, variable.title, variable.metric) for variable in dashboard.variables]
    for place, (label, title, metric) in enumerate(choices):
        before = (earlier for earlier, *_ in choices[:place] if earlier in (*everywhere, *metric.label_names))
        selector = _variable_matchers(*before, matchers=settings.matchers)
        query = f"label_values({_any_name_selector(metric, selector)}, {label})"
        yield lib.Template(name=label, label=title, query=query, default=settings.job if label == "job" else "All", **common)


def _any_name_selector(metric: Metric, selector: str) -> str:
    """One selector that matches a metric under all of its names, because label_values() does not accept `or`."""
    if not metric.renamed_from:
        return f"{metric.name}{{{selector}}}" if selector else metric.name
    by_name = f'__name__=~"{"|".join(metric.names)}"'
    return f"{{{by_name},{selector}}}" if selector else f"{{{by_name}}}"


def _label_title(label: str) -> str:
    return label.replace("_", " ").capitalize()


@dataclass(frozen=True)
class _Grid:
    """Lays out rows and panels: panels flow from left to right and wrap."""

    dashboard: Dashboard
    settings: Settings
    scope: Scope

    def rows(self) -> Iterator[Any]:
        """Rows and panels in order. The panels of a collapsed row are nested in it and take no space."""
        top = 0
        for row in self.dashboard.rows:
            panels, bottom = self._panels(row, top + 1)
            inside = panels if row.collapsed else []
            place = lib.GridPos(h=1, w=WIDTH, x=0, y=top)
            number = panel_id(self.dashboard, f"row/{row.title}")
            yield lib.RowPanel(title=row.title, id=number, gridPos=place, collapsed=row.collapsed, panels=inside)
            if not row.collapsed:
                yield from panels
            top = top + 1 if row.collapsed else bottom

    def _panels(self, row: Row, top: int) -> tuple[list[Any], int]:
        panels, left, tallest = [], 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            panels.append(self._panel(panel, lib.GridPos(h=panel.height, w=panel.width, x=left, y=top)))
            left, tallest = left + panel.width, max(tallest, panel.height)
        return panels, top + tallest

    def _panel(self, panel: Panel, place: Any) -> Any:
        common: Json = {
            "title": panel.title,
            "description": panel.description,
            "id": panel_id(self.dashboard, panel.title),
            "gridPos": place,
            "links": [_panel_link(link, self.settings) for link in panel.links if not link.label],
        }
        if panel.kind == "text":
            return lib.Text(**common, content=panel.text)
        common |= {
            "dataSource": DATASOURCE,
            "maxDataPoints": None,
            "targets": [_target(panel, query, _ref_id(index), self.scope) for index, query in enumerate(panel.queries)],
            "thresholds": _threshold_steps(panel, self.scope),
        }
        links = [_series_link(panel, link) for link in panel.links if link.label]
        kind, extra = _KINDS[panel.kind](panel)
        defaults: Json = {"unit": unit_id(panel.unit), "mappings": _mappings(panel)}
        defaults |= {"links": links} if links else {}
        defaults |= {"noValue": panel.nothing} if panel.nothing else {}
        defaults |= extra.pop("defaults", {})
        return kind(**common, extraJson={"fieldConfig": {"defaults": defaults, "overrides": []}, **extra})


def _timeseries(panel: Panel) -> tuple[Any, Json]:
    kind = partial(
        lib.TimeSeries,
        fillOpacity=60 if panel.stacked else 0,
        stacking={"mode": "normal" if panel.stacked else "none", "group": "A"},
        thresholdsStyleMode="dashed" if panel.thresholds else "off",
        tooltipMode="multi",
        tooltipSort="desc",
        showPoints="never",
        valueMin=panel.least,
        legendCalcs=["lastNotNull", "max"],
        legendDisplayMode="table",
    )
    return kind, {"options": {"legend": {"showLegend": True}}}


def _state_timeline(_: Panel) -> tuple[Any, Json]:
    return lib.StateTimeline, {"options": {"legend": {"showLegend": False, "calcs": []}, "tooltip": {"sort": "none"}}}


def _stat(panel: Panel) -> tuple[Any, Json]:
    """Reduced by `last`: ``lastNotNull`` would skip NaN and show a ratio from the time before traffic stopped."""
    judged = bool(panel.thresholds or panel.states)
    kind = partial(lib.Stat, reduceCalc="last", colorMode="background" if judged else "value", noValue="No data")
    options = {"showPercentChange": False, "percentChangeColorMode": "standard", "wideLayout": True}
    return kind, {"options": options, "defaults": {"color": {"mode": "thresholds"}}}


def _table(panel: Panel) -> tuple[Any, Json]:
    """Each series is a cell with a sparkline and its last value; the queries are joined by their labels."""
    several = bool(panel.queries[1:])
    names = {f"Trend #{_ref_id(index)}" if several else "Trend": query.legend for index, query in enumerate(panel.queries)}
    steps: list[Json] = [{"id": "timeSeriesTable", "options": {}}]
    steps += [{"id": "merge", "options": {}}] if several else []
    steps += [{"id": "organize", "options": {"excludeByName": {}, "indexByName": {}, "renameByName": names}}]
    custom = {"align": "auto", "inspect": False, "filterable": False}
    options = {"frameIndex": 0, "cellHeight": "md"}
    return lib.Table, {"options": options, "defaults": {"custom": custom, "color": {"mode": "thresholds"}}, "transformations": steps}


def _heatmap(panel: Panel) -> tuple[Any, Json]:
    linear = {"type": "linear"}
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": unit_id(panel.queries[0].expr.unit)},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit_id(panel.unit)},
    }
    custom = {"hideFrom": {"legend": False, "tooltip": False, "viz": False}, "scaleDistribution": linear}
    return lib.Heatmap, {"options": options, "defaults": {"custom": custom}}


_KINDS: dict[str, Callable[[Panel], tuple[Any, Json]]] = {
    "timeseries": _timeseries, "state-timeline": _state_timeline, "stat": _stat, "table": _table, "heatmap": _heatmap,
}  # fmt: skip
"""By kind: grafanalib's class, and what it cannot write itself (field ``defaults``, `options`, `transformations`)."""


def _panel_link(link: Link, settings: Settings) -> Any:
    return _link(link, f"{settings.runbook_base}/{link.runbook}.md" if link.runbook else f"/d/{link.dashboard}?{TIME_AND_VARIABLES}")


def _series_link(panel: Panel, link: Link) -> Any:
    """A link with the value of a label. In tables labels are columns; elsewhere they belong to the field."""
    place = "__data.fields" if panel.kind == "table" else "__field.labels"
    return _link(link, f"/d/{link.dashboard}?{TIME_AND_VARIABLES}&var-{link.label}=${{{place}.{link.label}}}")


def _link(link: Link, url: str) -> Any:
    return lib.DashboardLink(type="link", title=link.title, uri=url, keepTime=False)


def _target(panel: Panel, query: Query, ref_id: str, scope: Scope) -> Any:
    shape = "heatmap" if panel.kind == "heatmap" else "time_series"
    return lib.Target(expr=text(query.expr, scope), legendFormat=query.legend, refId=ref_id, datasource=DATASOURCE, format=shape)


def _ref_id(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    before, letter = divmod(index, 26)
    return (_ref_id(before - 1) if before else "") + chr(ord("A") + letter)


def _threshold_steps(panel: Panel, scope: Scope) -> list[Json]:
    """Grafana's threshold steps, ascending. The first is the base step with the value null.

    Threshold lines are red. Stats and tables colour the value: green if no threshold is exceeded, red if all are, orange between; blue
    without thresholds.
    """
    values = sorted(scope.value(threshold) for threshold in panel.thresholds)
    colors = ["green"] + [LINE_COLOR] * len(values)
    if panel.kind in ("stat", "table"):
        colors = ["green", *["orange"] * (len(values) - 1), LINE_COLOR] if values else ["blue"]
        colors = colors[::-1] if panel.alarm == "below" else colors
    return [{"color": color, "value": value} for color, value in zip(colors, [None, *values], strict=True)]


def _mappings(panel: Panel) -> list[Json]:
    options = {str(state.value): {"text": state.text, "color": state.color, "index": index} for index, state in enumerate(panel.states)}
    mappings: list[Json] = [{"type": "value", "options": options}] if options else []
    if panel.kind == "stat":  # a ratio without traffic is NaN
        mappings.append({"type": "special", "options": {"match": "nan", "result": {"text": "No traffic", "color": "text", "index": len(options)}}})
    return mappings


def _as_json(value: Any, place: str = "") -> Any:
    """grafanalib's objects as dictionaries and lists, without obsolete keys, and without nulls except that of the base threshold.

    `place` is the key of the object or list that holds the value.
    """
    if isinstance(value, dict):
        kept = ((key, item) for key, item in value.items() if key not in _OBSOLETE.get(place, ()))
        return {key: _as_json(item, key) for key, item in kept if item is not None or (place, key) == ("steps", "value")}
    if isinstance(value, (list, tuple)):
        return [_as_json(item, place) for item in value]
    return value if isinstance(value, (str, int, float, type(None))) else _as_json(value.to_json_data(), place)


def _normalised(model: Json) -> Json:
    """grafanalib's JSON as Grafana 10 and later write it."""
    model["timepicker"] = {}
    model["templating"]["list"] = [_normal_variable(variable) for variable in model["templating"]["list"]]
    model["panels"] = [_normal_panel(panel) for panel in model["panels"]]
    return model


def _normal_variable(variable: Json) -> Json:
    """A variable whose first choice is in the form that Grafana saves: lists where several may be chosen."""
    text, multi = variable["current"]["text"], variable["multi"]
    value = "$__all" if text == "All" else variable["current"]["value"]
    variable["current"] = {"selected": True, "text": [text] if multi else text, "value": [value] if multi else value}
    if variable["type"] == "datasource":
        variable["refresh"] = 1
        variable.pop("sort")
    return variable


def _normal_panel(panel: Json) -> Json:
    if panel["type"] == "row":
        return {**{key: panel[key] for key in _ROW_KEYS}, "panels": [_normal_panel(inside) for inside in panel["panels"]]}
    panel = {key: panel[key] for key in _PANEL_KEYS if panel.get(key, "") not in ([], "")}
    if panel["type"] == "text":
        panel.pop("fieldConfig")
    else:
        panel["targets"] = [{"range": True, **target} for target in panel["targets"]]
    return panel


def _import_form(model: Json) -> Json:
    """The form for manual import: Grafana asks for the data source and substitutes it for ``${DS_PROMETHEUS}``."""
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
                for kind in sorted({panel["type"] for top in body["panels"] for panel in (top, *top.get("panels", ()))} - {"row"})
            ),
        ],
        **body,
    }  # fmt: skip
