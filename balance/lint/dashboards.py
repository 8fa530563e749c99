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

    It shows the data source that its author had, and no other. The variable is called `datasource` (or `prometheus_datasource`; where there are
    several, by the kind of each) and labelled `Data source` (`Prometheus data source`). The original only warns of a label.
    """
    for place in _boards(inputs):
        sources = [variable for variable in place.board["templating"]["list"] if variable["type"] == "datasource"]
        if not sources:
            yield place.found("has no variable for its data source", "add one: type datasource, name datasource")
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
    """A dashboard on which no job can be chosen.

    A variable `job`, labelled `Job`: a query of the data source variable, of which several may be chosen, and whose All is ``.+``, so that series
    without a job stay out. The original only warns of a label.
    """
    return _chosen_by(inputs, "job")


@check("template-instance-rule", "error")
def template_instance(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard on which no instance can be chosen.

    A variable `instance`, labelled `Instance`: a query of the data source variable, of which several may be chosen, and whose All is ``.+``. The
    original only warns of a label.
    """
    return _chosen_by(inputs, "instance")


def _chosen_by(inputs: Inputs, name: str) -> Iterator[Problem]:
    wanted = {"type": "query", "label": name.capitalize(), "multi": True, "allValue": ".+"}
    for place in _boards(inputs):
        variable = next((variable for variable in place.board["templating"]["list"] if variable["name"] == name), None)
        if variable is None:
            yield place.found(f"has no variable {name!r}", f"add one: label_values(METRIC, {name})")
            continue
        for key, value in wanted.items():
            if variable.get(key) != value:
                yield place.found(f"has {key} {variable.get(key)!r}", f"make it {value!r}", name)
        if _uid(variable) not in {f"${form}" for source in ("datasource", "prometheus_datasource") for form in (source, f"{{{source}}}")}:
            yield place.found(f"asks the data source {_uid(variable)!r}", "make it ${datasource}", name)


def _uid(thing: Json) -> str:
    source = thing.get("datasource")
    return str(source.get("uid", "")) if isinstance(source, Mapping) else str(source or "")


@check("template-label-promql-rule", "error")
def template_label_promql(inputs: Inputs) -> Iterator[Problem]:
    """A variable whose query Grafana cannot ask.

    It is `label_names`, `label_values`, `metrics` or `query_result` of something that is PromQL. The original is content when the argument
    begins like PromQL; here the whole of it must be.
    """
    for place, variable in _variables(inputs):
        if variable["type"] != "query":
            continue
        query = variable["query"]["query"] if isinstance(variable["query"], Mapping) else str(variable["query"])
        call = _VARIABLE_QUERY.fullmatch(query.strip())
        argument = _LAST_ARGUMENT.sub("", call[2]) if call and call[1] == "label_values" else call[2] if call else ""
        fault = _fault(argument) if call and argument else "" if call else "no label_names, label_values, metrics or query_result"
        if fault:
            yield place.found(f"has the query {query!r}: {fault}", "label_values(METRIC, LABEL)", variable["name"])


@check("template-on-time-change-reload-rule", "error")
def template_on_time_change_reload(inputs: Inputs) -> Iterator[Problem]:
    """A variable whose choices stay those of the time range that was looked at first.

    Whoever looks at last week cannot choose an instance that is gone today. Let it be refreshed when the time range changes: `refresh` 2.
    """
    for place, variable in _variables(inputs):
        if variable["type"] == "query" and variable.get("refresh") != 2:
            yield place.found(f"is refreshed by {variable.get('refresh')!r}", "make it 2: on a change of the time range", variable["name"])


@check("panel-datasource-rule", "error")
def panel_datasource(inputs: Inputs) -> Iterator[Problem]:
    """A panel that asks a data source of its own.

    Whatever is chosen above, it shows the one of its author. Its `uid` is that of the variable: ``${datasource}``. The original looks at curves
    and tables alone; here at every panel that shows data.
    """
    for place in _panels(inputs):
        names = [variable["name"] for variable in place.board["templating"]["list"] if variable["type"] == "datasource"]
        if _uid(place.panel) not in {form for name in names for form in (f"${name}", f"${{{name}}}")}:
            yield place.found(f"asks the data source {_uid(place.panel)!r}", "make it ${datasource}")


@check("panel-title-description-rule", "error")
def panel_title_description(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a title or a description.

    Who sees it at night wants to know what it shows and what to look for. The original looks at stats, curves, tables and gauges alone; here every
    panel that shows data is looked at.
    """
    for place in _panels(inputs):
        missing = [key for key in ("title", "description") if not place.panel.get(key)]
        if missing:
            yield place.found(f"has no {' and no '.join(missing)}", "say what it shows and what to look for")


@check("panel-units-rule", "error")
def panel_units(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a unit, or with one that Grafana does not have.

    A number without a unit is a riddle; an unknown unit becomes a suffix. Those that the linter knows are a subset of Grafana's. A panel that gives
    words to values needs none, nor a stat that shows no number. The original also excuses a panel whose list of words is there and empty, which is
    nearly every panel; here an empty one, or words for NaN alone, excuse nothing.
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
            yield place.found(f"has the unit {unit!r}" if unit else "has no unit", "choose one of Grafana's")


@check("panel-no-targets-rule", "error")
def panel_no_targets(inputs: Inputs) -> Iterator[Problem]:
    """A panel that asks for nothing.

    It stays empty for ever. The original is content with an empty list of queries, and looks at stats, curves, tables and gauges alone.
    """
    for place in _panels(inputs):
        if not place.panel.get("targets"):
            yield place.found("has no query", "give it one, or take it out")


@check("target-logql-rule", "error")
def target_logql(inputs: Inputs) -> Iterator[Problem]:
    """A query of Loki that is no LogQL.

    The original parses it. Here is looked for what can be seen without a parser: streams selected by one matcher at least, strings and brackets
    that are closed.
    """
    for place in _targets(inputs, loki=True):
        if place.target.get("hide"):
            continue
        bare = _QUOTED.sub("", place.expr)
        if not _STREAMS.search(place.expr) or not _closed(bare):
            yield place.found(f"is no LogQL: {place.expr}", 'select streams, for example {job=~"$job"}, and close what is opened')


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
    """A query of Loki over a range of its own.

    Zoomed out it skips what lies between two points, zoomed in it shows the same again and again. Write ``[$__auto]``.
    """
    for place in _targets(inputs, loki=True):
        if not place.target.get("hide") and _FIXED_RANGE.search(_QUOTED.sub("", place.expr)):
            yield place.found(f"has a range of its own: {place.expr}", "write [$__auto]")


@check("target-promql-rule", "error")
def target_promql(inputs: Inputs) -> Iterator[Problem]:
    """A query that is no PromQL.

    The panel shows an error. What Grafana's variables will be is filled in first.
    """
    for place in _targets(inputs):
        if fault := _fault(place.expr):
            yield place.found(f"is no PromQL: {fault}", "mend the query")


@check("target-rate-interval-rule", "error")
def target_rate_interval(inputs: Inputs) -> Iterator[Problem]:
    """A rate over a window of its own.

    Zoomed out it leaves out what lies between two points; zoomed in, or with another scrape interval, it shows nothing. Write
    ``[$__rate_interval]`` in `rate` and `irate`. As in the original, an `increase` may have a window of its own, though its pages say otherwise: how
    often something happened within a quarter of an hour is a question of that quarter.
    """
    for place in _targets(inputs):
        for chosen in _selections(place):
            if chosen.function in ("rate", "irate") and chosen.range != timedelta(seconds=RATE_INTERVAL):
                yield place.found(f"takes a {chosen.function} over {chosen.range}", "write [$__rate_interval]")


@check("target-job-rule", "error")
def target_job(inputs: Inputs) -> Iterator[Problem]:
    """A query that does not follow the choice of the job.

    Every selector in it has ``job=~"$job"``, exactly so.
    """
    return _followed(inputs, "job", ())


@check("target-instance-rule", "error")
def target_instance(inputs: Inputs) -> Iterator[Problem]:
    """A query that does not follow the choice of the instance.

    Every selector in it has ``instance=~"$instance"``, exactly so. What differs: the original knows no recording rules and wants the matcher on their
    series too, where it finds nothing if the rule has summed the instances up. Here series of a recording rule of the bundle that keeps no
    instance are passed over; the original needs an exclusion for panels that show them.
    """
    recorded = {rule.record for rule in inputs.bundle.recording_rules if "instance" not in rule.expr.labels}
    return _followed(inputs, "instance", recorded)


def _followed(inputs: Inputs, label: str, without: Collection[str]) -> Iterator[Problem]:
    for place in _targets(inputs):
        for chosen in _selections(place):
            if chosen.selector.name not in without and not chosen.matches(label):
                yield place.found(f"selects {chosen.selector.name} whatever {label} is chosen", f'add {label}=~"${label}"')


@check("target-counter-agg-rule", "error")
def target_counter_agg(inputs: Inputs) -> Iterator[Problem]:
    """A counter that is shown raw.

    How high it stands says when the process was started. Take `rate`, `irate` or `increase` of what is called ``_total``. The original looks at the
    end of the selector's text and so never sees a counter with matchers; here its name counts.
    """
    for place in _targets(inputs):
        for chosen in _selections(place):
            if (chosen.selector.name or "").endswith("_total") and chosen.function not in ("rate", "irate", "increase"):
                yield place.found(f"shows {chosen.selector.name} raw", "take its rate or increase")


@check("uneditable-dashboard", "error")
def uneditable_dashboard(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard that can be edited in Grafana.

    What is changed there is lost when it is provisioned anew. Let it be read-only: `editable` false; to try something, save a copy.
    """
    for place in _boards(inputs):
        if place.board.get("editable", True):
            yield place.found("can be edited", "make editable false")
