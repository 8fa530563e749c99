"""The rules of Grafana's dashboard-linter, under its names, over the dashboards as Grafana gets them.

Taken from its sources, release by release. Where a rule here demands more or less than the original, its explanation says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

from balance.errors import Problem, choices
from balance.lint.boards import RATE_INTERVAL, Json, boards, panels, selections, syntax_error, targets, variables
from balance.lint.check import Inputs, check
from balance.lint.units import UNITS

_VARIABLE_QUERY = re.compile(r"(label_names|label_values|metrics|query_result)\((.*)\)$")
_LAST_ARGUMENT = re.compile(r",\s*[a-zA-Z_]\w*\s*$")
_STREAMS = re.compile(r"""\{\s*[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*(?:"(?:[^"\\]|\\.)*"|`[^`]*`)\s*[,}]""")
_FIXED_RANGE = re.compile(r"\[\s*\d")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`')


@check("template-datasource-rule", "error")
def template_datasource(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard without a variable for the data source.

    It would always show the data source of its author. The variable is named `datasource` (or `prometheus_datasource`; with several data sources,
    after the type of each) and labelled `Data source` (`Prometheus data source`). The original only warns about the label.
    """
    for place in boards(inputs):
        sources = [variable for variable in place.board["templating"]["list"] if variable["type"] == "datasource"]
        if not sources:
            yield place.problem("has no variable for the data source", "add one: type datasource, name datasource")
        for source in sources:
            kind = str(source.get("query", ""))
            names, labels = {f"{kind.lower()}_datasource"}, {f"{kind.title()} data source"}
            if len(sources) == 1:
                names, labels = names | {"datasource"}, labels | {"Data source"}
            if source["name"] not in names or source.get("label") not in labels:
                problem = f"has a data source variable {source['name']!r} labelled {source.get('label')!r}"
                yield place.problem(problem, f"names: {choices(names)}; labels: {choices(labels)}", source["name"])


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
    for place in boards(inputs):
        variable = next((variable for variable in place.board["templating"]["list"] if variable["name"] == name), None)
        if variable is None:
            yield place.problem(f"has no variable {name!r}", f"add one: label_values(METRIC, {name})")
            continue
        for key, value in wanted.items():
            if variable.get(key) != value:
                yield place.problem(f"has {key} {variable.get(key)!r}", f"set it to {value!r}", name)
        if _uid(variable) not in {f"${form}" for source in ("datasource", "prometheus_datasource") for form in (source, f"{{{source}}}")}:
            yield place.problem(f"has the data source {_uid(variable)!r}", "set it to ${datasource}", name)


def _uid(thing: Json) -> str:
    source = thing.get("datasource")
    return str(source.get("uid", "")) if isinstance(source, Mapping) else str(source or "")


@check("template-label-promql-rule", "error")
def template_label_promql(inputs: Inputs) -> Iterator[Problem]:
    """A variable with an invalid query.

    It must be `label_names`, `label_values`, `metrics` or `query_result` with valid PromQL. The original accepts an argument that starts like
    PromQL; here all of it must be valid.
    """
    for place, variable in variables(inputs):
        if variable["type"] != "query":
            continue
        query = variable["query"]["query"] if isinstance(variable["query"], Mapping) else str(variable["query"])
        call = _VARIABLE_QUERY.fullmatch(query.strip())
        argument = _LAST_ARGUMENT.sub("", call[2]) if call and call[1] == "label_values" else call[2] if call else ""
        fault = syntax_error(argument) if call and argument else "" if call else "not a label_names, label_values, metrics or query_result"
        if fault:
            yield place.problem(f"has the invalid query {query!r}: {fault}", "write label_values(METRIC, LABEL)", variable["name"])


@check("template-on-time-change-reload-rule", "error")
def template_on_time_change_reload(inputs: Inputs) -> Iterator[Problem]:
    """A variable that is not refreshed when the time range changes.

    Whoever looks at last week cannot choose an instance that is gone today. Set `refresh` to 2 (on time range change).
    """
    for place, variable in variables(inputs):
        if variable["type"] == "query" and variable.get("refresh") != 2:
            yield place.problem(f"has refresh {variable.get('refresh')!r}", "set it to 2: on time range change", variable["name"])


@check("panel-datasource-rule", "error")
def panel_datasource(inputs: Inputs) -> Iterator[Problem]:
    """A panel with a fixed data source.

    Whatever is chosen at the top, it shows the data source of its author. Its `uid` must be that of the variable: ``${datasource}``. The original
    checks time series and tables only; here every panel that shows data is checked.
    """
    for place in panels(inputs):
        names = [variable["name"] for variable in place.board["templating"]["list"] if variable["type"] == "datasource"]
        if _uid(place.panel) not in {form for name in names for form in (f"${name}", f"${{{name}}}")}:
            yield place.problem(f"has the data source {_uid(place.panel)!r}", "set it to ${datasource}")


@check("panel-title-description-rule", "error")
def panel_title_description(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a title or description.

    Whoever sees it at night wants to know what it shows and what to look for. The original checks stats, time series, tables and gauges only; here
    every panel that shows data is checked.
    """
    for place in panels(inputs):
        missing = [key for key in ("title", "description") if not place.panel.get(key)]
        if missing:
            yield place.problem(f"has no {' and no '.join(missing)}", "write what it shows and what to look for")


@check("panel-units-rule", "error")
def panel_units(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a unit, or with one that Grafana does not know.

    A number without a unit is hard to read, and Grafana appends an unknown unit as a suffix. The linter knows a subset of Grafana's units. A panel
    that maps values to text needs no unit, nor does a stat that shows no number. The original also exempts a panel with an empty list of mappings,
    which is nearly every panel; here an empty list, or a mapping of NaN alone, exempts nothing.
    """
    for place in panels(inputs):
        fields = place.panel.get("fieldConfig", {})
        properties = [one for override in fields.get("overrides", ()) for one in override.get("properties", ())]
        defaults = fields.get("defaults", {})
        words = [*defaults.get("mappings", ()), *(item for one in properties if one["id"] == "mappings" for item in one["value"] or ())]
        shown = place.panel.get("options", {}).get("reduceOptions", {}).get("fields", "")
        if any(item.get("type") != "special" for item in words) or (place.panel["type"] == "stat" and shown):
            continue
        unit = next((one["value"] for one in reversed(properties) if one["id"] == "unit"), defaults.get("unit", ""))
        if unit not in UNITS:
            yield place.problem(f"has the unknown unit {unit!r}" if unit else "has no unit", "choose one of Grafana's units")


@check("panel-no-targets-rule", "error")
def panel_no_targets(inputs: Inputs) -> Iterator[Problem]:
    """A panel without a query.

    It is always empty. The original accepts an empty list of queries, and checks stats, time series, tables and gauges only.
    """
    for place in panels(inputs):
        if not place.panel.get("targets"):
            yield place.problem("has no query", "add one, or remove the panel")


@check("target-logql-rule", "error")
def target_logql(inputs: Inputs) -> Iterator[Problem]:
    """A Loki query that is not valid LogQL.

    The original parses it. This check does without a parser: at least one stream matcher, and strings and brackets that are closed.
    """
    for place in targets(inputs, loki=True):
        if place.target.get("hide"):
            continue
        bare = _QUOTED.sub("", place.expr)
        if not _STREAMS.search(place.expr) or not _closed(bare):
            yield place.problem(f"has invalid LogQL: {place.expr}", 'select streams, for example {job=~"$job"}, and close brackets and strings')


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
    for place in targets(inputs, loki=True):
        if not place.target.get("hide") and _FIXED_RANGE.search(_QUOTED.sub("", place.expr)):
            yield place.problem(f"has a fixed range: {place.expr}", "write [$__auto]")


@check("target-promql-rule", "error")
def target_promql(inputs: Inputs) -> Iterator[Problem]:
    """A query that is not valid PromQL.

    The panel shows an error. Grafana's variables are replaced by samples before it is parsed.
    """
    for place in targets(inputs):
        if fault := syntax_error(place.expr):
            yield place.problem(f"has invalid PromQL: {fault}", "fix the query")


@check("target-rate-interval-rule", "error")
def target_rate_interval(inputs: Inputs) -> Iterator[Problem]:
    """A rate with a fixed window.

    Zoomed out it skips what lies between two points; zoomed in, or with another scrape interval, it shows nothing. Write ``[$__rate_interval]`` in
    `rate` and `irate`. As in the original, though its pages say otherwise, `increase` may have a fixed window: "how often in the last quarter of an
    hour" is about that quarter.
    """
    for place in targets(inputs):
        for chosen in selections(place):
            if chosen.function in ("rate", "irate") and chosen.range != timedelta(seconds=RATE_INTERVAL):
                yield place.problem(f"takes a {chosen.function} over {chosen.range}", "write [$__rate_interval]")


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
    for place in targets(inputs):
        for chosen in selections(place):
            if chosen.selector.name not in without and not chosen.matches(label):
                yield place.problem(f"selects {chosen.selector.name} without the chosen {label}", f'add {label}=~"${label}"')


@check("target-counter-agg-rule", "error")
def target_counter_agg(inputs: Inputs) -> Iterator[Problem]:
    """A counter that is shown without `rate` or `increase`.

    Its value mostly tells when the process was started. Use `rate`, `irate` or `increase` on names that end in ``_total``. The original looks at
    the end of the selector's text and so misses counters with matchers; here the name counts.
    """
    for place in targets(inputs):
        for chosen in selections(place):
            if (chosen.selector.name or "").endswith("_total") and chosen.function not in ("rate", "irate", "increase"):
                yield place.problem(f"shows {chosen.selector.name} without rate or increase", "take its rate or increase")


@check("uneditable-dashboard", "error")
def uneditable_dashboard(inputs: Inputs) -> Iterator[Problem]:
    """A dashboard that can be edited in Grafana.

    Edits are lost when the dashboard is provisioned again. Set `editable` to false; to try something, save a copy.
    """
    for place in boards(inputs):
        if place.board.get("editable", True):
            yield place.problem("can be edited", "set editable to false")
