"""The rules of Grafana's dashboard-linter, under its names, over the dashboards as Grafana is given them.

Looked up in its sources, release by release. Where a rule here asks for more or less than there, its explanation says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import promql_parser as promql

from balance.errors import Problem, choices
from balance.lint.check import Inputs, check
from balance.lint.units import UNITS

Json = Mapping[str, Any]

RATE_INTERVAL = 8869991
"""Seconds that stand for `$__rate_interval`; nobody else writes such a window."""
_DURATIONS = {"__rate_interval": f"{RATE_INTERVAL}s", "__interval": "4867857s", "__range": "6069771s"}
_NUMBERS = {"__interval_ms": "4867857000", "__range_ms": "6069771000", "__range_s": "6069771"}
_STRING_OR_VARIABLE = re.compile(r""""(?:[^"\\]|\\.)*"|\$(\w+)|\$\{(\w+)[^}]*\}|\[\[(\w+)[^\]]*\]\]""")
_VARIABLE_QUERY = re.compile(r"(label_names|label_values|metrics|query_result)\((.*)\)$")
_LAST_ARGUMENT = re.compile(r",\s*[a-zA-Z_]\w*\s*$")
_STREAMS = re.compile(r"""\{\s*[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*(?:"(?:[^"\\]|\\.)*"|`[^`]*`)\s*[,}]""")
_FIXED_RANGE = re.compile(r"\[\s*\d")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`')


@dataclass(frozen=True)
class Place:
    """A dashboard, a panel of it, a query of that."""

    name: str
    board: Json
    panel: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)

    def found(self, problem: str, cure: str, variable: str = "") -> Problem:
        """Something wrong here. A waiver names the dashboard and the panel or variable."""
        title = variable or self.panel.get("title") or self.panel.get("id", "")
        where = f"dashboard {self.name!r}" + (f", panel {title!r}" if self.panel else "")
        ref = f" ({self.target['refId']})" if self.target.get("refId") else ""
        return Problem(where + ref, problem, cure, f"{self.name}: {title}" if title else self.name)

    @property
    def loki(self) -> bool:
        """Whether Loki is asked: by the query's data source, or the panel's where it says none."""
        source = self.target.get("datasource") or self.panel.get("datasource")
        return isinstance(source, Mapping) and source.get("type") == "loki"

    @property
    def expr(self) -> str:
        return str(self.target.get("expr", ""))


@dataclass(frozen=True)
class Selection:
    """Series that a query selects: the function called on them and the length of its range, if there are."""

    selector: Any
    function: str = ""
    range: timedelta | None = None

    def matches(self, label: str) -> bool:
        """Whether it is narrowed to the variable called like the label: ``job=~"$job"``."""
        matchers = self.selector.matchers.matchers
        return any((one.name, one.op, one.value) == (label, promql.MatchOp.Re, f"${label}") for one in matchers)


def _boards(inputs: Inputs) -> Iterator[Place]:
    return (Place(name, board) for name, board in inputs.boards.items())


def _variables(inputs: Inputs) -> Iterator[tuple[Place, Json]]:
    return ((place, variable) for place in _boards(inputs) for variable in place.board["templating"]["list"])


def _panels(inputs: Inputs) -> Iterator[Place]:
    """Every panel that shows data, those of collapsed rows included."""
    for place in _boards(inputs):
        for top in place.board["panels"]:
            for panel in (top, *top.get("panels", ())):
                if panel["type"] not in ("row", "text"):
                    yield replace(place, panel=panel)


def _targets(inputs: Inputs, *, loki: bool = False) -> Iterator[Place]:
    places = (replace(place, target=target) for place in _panels(inputs) for target in place.panel.get("targets") or ())
    return (place for place in places if place.loki == loki)


def _expanded(expr: str) -> str:
    """With samples for Grafana's variables; within strings they stay."""

    def sample(found: re.Match[str]) -> str:
        name = next(filter(None, found.groups()), "")
        return _DURATIONS.get(name) or _NUMBERS.get(name) or name or found[0]

    return _STRING_OR_VARIABLE.sub(sample, expr)


def _fault(expr: str) -> str:
    """What keeps it from being PromQL; empty if nothing does."""
    try:
        promql.parse(_expanded(expr))
    except ValueError as error:
        return str(error)
    return ""


def _selections(place: Place) -> Iterator[Selection]:
    """All that a query selects; nothing if it is no PromQL, which is for another check."""
    try:
        root = promql.parse(_expanded(place.expr))
    except ValueError:
        return
    open_nodes: list[tuple[Any, str]] = [(root, "")]
    while open_nodes:
        node, function = open_nodes.pop()
        if isinstance(node, promql.VectorSelector):
            yield Selection(node)
        elif isinstance(node, promql.MatrixSelector):
            yield Selection(node.vector_selector, function, node.range)
        elif isinstance(node, promql.Call):
            open_nodes += [(argument, node.func.name) for argument in node.args]
        else:
            open_nodes += [(inner, "") for name in ("expr", "param", "lhs", "rhs") if (inner := getattr(node, name, None)) is not None]


@check("template-datasource-rule", "error")
def template_datasource(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard without a variable for the data source.

    It would always show the data source of its author. The variable is named `datasource` (or `prometheus_datasource`; with several data sources,
    after the type of each) and labelled `Data source` (`Prometheus data source`). The original only warns about the label.
    """
    for place in _boards(inputs):
        sources = [variable for variable in place.board["templating"]["list"] if variable["type"] == "datasource"]
        if not sources:
            yield place.found("has no variable for the data source", "add one: type datasource, name datasource")
        for source in sources:
            kind = str(source.get("query", ""))
            names, labels = {f"{kind.lower()}_datasource"}, {f"{kind.title()} data source"}
            if len(sources) == 1:
                names, labels = names | {"datasource"}, labels | {"Data source"}
            if source["name"] not in names or source.get("label") not in labels:
                problem = f"has a data source variable {source['name']!r} labelled {source.get('label')!r}"
                yield place.found(problem, f"names: {choices(names)}; labels: {choices(labels)}", source["name"])


@check("template-job-rule", "error")
def template_job(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard without a variable to choose the job.

    A variable `job`, labelled `Job`: a query of the data source variable, multi-value, with ``.+`` as the value of All, so that series without a
    job are left out. The original only warns about the label.
    """
    return _selection_variable(inputs, "job")


@check("template-instance-rule", "error")
def template_instance(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard without a variable to choose the instance.

    A variable `instance`, labelled `Instance`: a query of the data source variable, multi-value, with ``.+`` as the value of All. The original only
    warns about the label.
    """
    return _selection_variable(inputs, "instance")


def _selection_variable(inputs: Inputs, name: str) -> Iterator[Problem]:
    wanted = {"type": "query", "label": name.capitalize(), "multi": True, "allValue": ".+"}
    for place in _boards(inputs):
        variable = next((variable for variable in place.board["templating"]["list"] if variable["name"] == name), None)
        if variable is None:
            yield place.found(f"has no variable {name!r}", f"add one: label_values(METRIC, {name})")
            continue
        for key, value in wanted.items():
            if variable.get(key) != value:
                yield place.found(f"has {key} {variable.get(key)!r}", f"set it to {value!r}", name)
        if _uid(variable) not in {f"${form}" for source in ("datasource", "prometheus_datasource") for form in (source, f"{{{source}}}")}:
            yield place.found(f"has the data source {_uid(variable)!r}", "set it to ${datasource}", name)


def _uid(thing: Json) -> str:
    source = thing.get("datasource")
    return str(source.get("uid", "")) if isinstance(source, Mapping) else str(source or "")


@check("template-label-promql-rule", "error")
def template_label_promql(inputs: Inputs) -> Iterator[Problem]:
    """A variable with an invalid query.

    It must be `label_names`, `label_values`, `metrics` or `query_result` with valid PromQL. The original accepts an argument that starts like
    PromQL; here all of it must be valid.
    """
    for place, variable in _variables(inputs):
        if variable["type"] != "query":
            continue
        query = variable["query"]["query"] if isinstance(variable["query"], Mapping) else str(variable["query"])
        call = _VARIABLE_QUERY.fullmatch(query.strip())
        argument = _LAST_ARGUMENT.sub("", call[2]) if call and call[1] == "label_values" else call[2] if call else ""
        fault = _fault(argument) if call and argument else "" if call else "not a label_names, label_values, metrics or query_result"
        if fault:
            yield place.found(f"has the invalid query {query!r}: {fault}", "write label_values(METRIC, LABEL)", variable["name"])


@check("template-on-time-change-reload-rule", "error")
def template_on_time_change_reload(inputs: Inputs) -> Iterator[Problem]:
    """A variable that is not refreshed when the time range changes.

    Whoever looks at last week cannot choose an instance that is gone today. Set `refresh` to 2 (on time range change).
    """
    for place, variable in _variables(inputs):
        if variable["type"] == "query" and variable.get("refresh") != 2:
            yield place.found(f"has refresh {variable.get('refresh')!r}", "set it to 2: on time range change", variable["name"])


@check("panel-datasource-rule", "error")
def panel_datasource(inputs: Inputs) -> Iterator[Problem]:
    """A panel with a fixed data source.

    Whatever is chosen at the top, it shows the data source of its author. Its `uid` must be that of the variable: ``${datasource}``. The original
    checks time series and tables only; here every panel that shows data is checked.
    """
    for place in _panels(inputs):
        names = [variable["name"] for variable in place.board["templating"]["list"] if variable["type"] == "datasource"]
        if _uid(place.panel) not in {form for name in names for form in (f"${name}", f"${{{name}}}")}:
            yield place.found(f"has the data source {_uid(place.panel)!r}", "set it to ${datasource}")


@check("panel-title-description-rule", "error")
def panel_title_description(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a title or description.

    Whoever sees it at night wants to know what it shows and what to look for. The original checks stats, time series, tables and gauges only; here
    every panel that shows data is checked.
    """
    for place in _panels(inputs):
        missing = [key for key in ("title", "description") if not place.panel.get(key)]
        if missing:
            yield place.found(f"has no {' and no '.join(missing)}", "write what it shows and what to look for")


@check("panel-units-rule", "error")
def panel_units(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a unit, or with one that Grafana does not know.

    A number without a unit is hard to read, and Grafana appends an unknown unit as a suffix. The linter knows a subset of Grafana's units. A panel
    that maps values to text needs no unit, nor does a stat that shows no number. The original also exempts a panel with an empty list of mappings,
    which is nearly every panel; here an empty list, or a mapping of NaN alone, exempts nothing.
    """
    for place in _panels(inputs):
        fields = place.panel.get("fieldConfig", {})
        properties = [one for override in fields.get("overrides", ()) for one in override.get("properties", ())]
        defaults = fields.get("defaults", {})
        words = [*defaults.get("mappings", ()), *(item for one in properties if one["id"] == "mappings" for item in one["value"] or ())]
        shown = place.panel.get("options", {}).get("reduceOptions", {}).get("fields", "")
        if any(item.get("type") != "special" for item in words) or (place.panel["type"] == "stat" and shown):
            continue
        unit = next((one["value"] for one in reversed(properties) if one["id"] == "unit"), defaults.get("unit", ""))
        if unit not in UNITS:
            yield place.found(f"has the unknown unit {unit!r}" if unit else "has no unit", "choose one of Grafana's units")


@check("panel-no-targets-rule", "error")
def panel_no_targets(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a query.

    It is always empty. The original accepts an empty list of queries, and checks stats, time series, tables and gauges only.
    """
    for place in _panels(inputs):
        if not place.panel.get("targets"):
            yield place.found("has no query", "add one, or remove the panel")


@check("target-logql-rule", "error")
def target_logql(inputs: Inputs) -> Iterator[Problem]:
    """A Loki query that is not valid LogQL.

    The original parses it. This check does without a parser: at least one stream matcher, and strings and brackets that are closed.
    """
    for place in _targets(inputs, loki=True):
        if place.target.get("hide"):
            continue
        bare = _QUOTED.sub("", place.expr)
        if not _STREAMS.search(place.expr) or not _closed(bare):
            yield place.found(f"has invalid LogQL: {place.expr}", 'select streams, for example {job=~"$job"}, and close brackets and strings')


def _closed(text: str) -> bool:
    pairs = {")": "(", "]": "[", "}": "{"}
    opened: list[str] = []
    for letter in text:
        if letter in pairs.values():
            opened.append(letter)
        elif letter in pairs and (not opened or opened.pop() != pairs[letter]):
            return False
    return not opened and not set(text) & set('"`')


@check("target-logql-auto-rule", "error")
def target_logql_auto(inputs: Inputs) -> Iterator[Problem]:
    """A Loki query with a fixed range.

    Zoomed out it skips what lies between two points; zoomed in it shows the same data again and again. Write ``[$__auto]``.
    """
    for place in _targets(inputs, loki=True):
        if not place.target.get("hide") and _FIXED_RANGE.search(_QUOTED.sub("", place.expr)):
            yield place.found(f"has a fixed range: {place.expr}", "write [$__auto]")


@check("target-promql-rule", "error")
def target_promql(inputs: Inputs) -> Iterator[Problem]:
    """A query that is not valid PromQL.

    The panel shows an error. Grafana's variables are replaced by samples before it is parsed.
    """
    for place in _targets(inputs):
        if fault := _fault(place.expr):
            yield place.found(f"has invalid PromQL: {fault}", "fix the query")


@check("target-rate-interval-rule", "error")
def target_rate_interval(inputs: Inputs) -> Iterator[Problem]:
    """A rate with a fixed window.

    Zoomed out it skips what lies between two points; zoomed in, or with another scrape interval, it shows nothing. Write ``[$__rate_interval]`` in
    `rate` and `irate`. As in the original, though its pages say otherwise, `increase` may have a fixed window: "how often in the last quarter of an
    hour" is about that quarter.
    """
    for place in _targets(inputs):
        for chosen in _selections(place):
            if chosen.function in ("rate", "irate") and chosen.range != timedelta(seconds=RATE_INTERVAL):
                yield place.found(f"takes a {chosen.function} over {chosen.range}", "write [$__rate_interval]")


@check("target-job-rule", "error")
def target_job(inputs: Inputs) -> Iterator[Problem]:
    """A query that ignores the chosen job.

    Every selector in it must have ``job=~"$job"``, exactly like this.
    """
    return _ignored_selection(inputs, "job", ())


@check("target-instance-rule", "error")
def target_instance(inputs: Inputs) -> Iterator[Problem]:
    """A query that ignores the chosen instance.

    Every selector in it must have ``instance=~"$instance"``, exactly like this. The original knows no recording rules and requires the matcher on
    their series too, where it matches nothing if the rule has aggregated the instances away. Here, series of the bundle's recording rules without
    the label `instance` are exempt; the original needs an exclusion for panels that show them.
    """
    recorded = {rule.record for rule in inputs.bundle.recording_rules if "instance" not in rule.expr.labels}
    return _ignored_selection(inputs, "instance", recorded)


def _ignored_selection(inputs: Inputs, label: str, without: Collection[str]) -> Iterator[Problem]:
    for place in _targets(inputs):
        for chosen in _selections(place):
            if chosen.selector.name not in without and not chosen.matches(label):
                yield place.found(f"selects {chosen.selector.name} without the chosen {label}", f'add {label}=~"${label}"')


@check("target-counter-agg-rule", "error")
def target_counter_agg(inputs: Inputs) -> Iterator[Problem]:
    """A counter that is shown without `rate` or `increase`.

    Its value mostly tells when the process was started. Use `rate`, `irate` or `increase` on names that end in ``_total``. The original looks at
    the end of the selector's text and so misses counters with matchers; here the name counts.
    """
    for place in _targets(inputs):
        for chosen in _selections(place):
            if (chosen.selector.name or "").endswith("_total") and chosen.function not in ("rate", "irate", "increase"):
                yield place.found(f"shows {chosen.selector.name} without rate or increase", "take its rate or increase")


@check("uneditable-dashboard", "error")
def uneditable_dashboard(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard that can be edited in Grafana.

    Edits are lost when the dashboard is provisioned again. Set `editable` to false; to try something, save a copy.
    """
    for place in _boards(inputs):
        if place.board.get("editable", True):
            yield place.found("can be edited", "set editable to false")
