"""The queries of hand-written dashboards: the classic JSON of Grafana 7 to 13, however it is wrapped, and the v2 resource.

The reader is tolerant: what it does not expect it skips, because a dashboard may contain panels of any plugin.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from balance.errors import Problem
from balance.live.audited_query import AuditedQuery

_KNOWN_VALUES = {"custom", "constant", "interval", "textbox"}
_SOURCE_VARIABLES = ("datasource", "DatasourceVariable")
_OTHER_SOURCES = {"-- Grafana --", "-- Dashboard --", "grafana", "__expr__"}


def read(text: str, file: str, sought: bool = True) -> tuple[list[AuditedQuery], list[Problem]]:
    """All queries of the dashboards in a file, and the problems. With `sought`, a file without a dashboard is a problem too."""
    try:
        tree = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return [], [Problem(f"{file}{place}", f"invalid JSON: {getattr(error, 'msg', None) or error}", "export the dashboard again")]
    queries: list[AuditedQuery] = []
    problems: list[Problem] = []
    try:
        found = [dashboard for item in (tree if isinstance(tree, list) else [tree]) for dashboard in _unwrapped(item)]
        for index, dashboard in enumerate(found):
            queries += _Dashboard(dashboard, f"{file}#{index}" if index else file, problems).queries()
    except RecursionError:
        found = []
    if not found and sought:
        problems.append(Problem(file, "contains no dashboard", "give the JSON that Grafana exports"))
    return queries, problems


def _unwrapped(tree: Any) -> Iterator[dict[str, Any]]:
    """The dashboards inside what an API or Kubernetes wraps around them."""
    if not isinstance(tree, dict):
        return
    for key in ("dashboard", "spec", "model"):
        inside = tree.get(key)
        if isinstance(inside, dict) and not isinstance(tree.get("panels"), list):
            yield from _unwrapped(inside)
            return
    if any(isinstance(tree.get(key), kind) for key, kind in (("panels", list), ("rows", list), ("elements", dict), ("templating", dict))):
        yield tree


class _Dashboard:
    def __init__(self, tree: dict[str, Any], file: str, problems: list[Problem]) -> None:
        self.tree, self.file, self.problems = tree, file, problems
        self.title = str(tree.get("title") or file)
        self.variables = [*_dicts(_at(tree, "templating", "list")), *map(_flat, _dicts(tree.get("variables")))]
        self.values = {str(variable.get("name")): values for variable in self.variables if (values := _values(variable))}
        sources = [(item, item.get("query") or item.get("pluginId")) for item in self.variables if item.get("type") in _SOURCE_VARIABLES]
        sources += [(item, item.get("pluginId")) for item in _dicts(tree.get("__inputs")) if item.get("type") == "datasource"]
        self.foreign = {str(item.get("name")) for item, plugin in sources if str(plugin or "prometheus") != "prometheus"}
        elements = tree.get("__elements")
        listed = elements.values() if isinstance(elements, dict) else elements
        self.library = {str(item.get("uid")): _at(item, "model") for item in _dicts(list(listed) if listed else [])}

    def queries(self) -> Iterator[AuditedQuery]:
        for number, (panel, path) in enumerate(self.panels()):
            yield from self.panel(panel, f"{self.file}#{path}{number}")
        for annotation in _dicts(_at(self.tree, "annotations", "list")) + [_flat(item) for item in _dicts(self.tree.get("annotations"))]:
            expr = annotation.get("expr") or _at(annotation, "target", "expr")
            if isinstance(expr, str) and expr.strip() and self.ours(annotation.get("datasource")):
                yield self.query("annotation", f"{self.title} / annotation {annotation.get('name')}", self.file, expr)
        for variable in self.variables:
            expr = _asked(variable)
            if variable.get("type") in ("query", "QueryVariable") and expr and self.ours(variable.get("datasource")):
                yield self.query("variable", f"{self.title} / variable {variable.get('name')}", self.file, expr)

    def query(self, kind: str, subject: str, where: str, expr: str, panel: str = "") -> AuditedQuery:
        return AuditedQuery(kind, subject, where, expr, panel, values=self.values, macros=True)

    def panels(self) -> Iterator[tuple[dict[str, Any], str]]:
        """All panels, including those in rows and in rows of rows, with a prefix of their identity."""
        stack = [*_dicts(self.tree.get("panels")), *_dicts(self.tree.get("rows"))]
        while stack:
            panel = stack.pop(0)
            inside = _dicts(panel.get("panels"))
            stack[:0] = inside
            if panel.get("targets") or panel.get("libraryPanel") or not inside:
                yield panel, ""
        elements = self.tree.get("elements")
        for name, element in elements.items() if isinstance(elements, dict) else ():
            spec = _at(element, "spec")
            if isinstance(spec, dict):
                targets = [_flat(query) for query in _dicts(_at(spec, "data", "spec", "queries"))]
                yield {"title": spec.get("title"), "id": spec.get("id"), "targets": targets, "libraryPanel": spec.get("libraryPanel")}, f"{name}:"

    def panel(self, panel: dict[str, Any], identity: str) -> Iterator[AuditedQuery]:
        where = f"{self.file}: panel {panel.get('id', '?')}"
        library = panel.get("libraryPanel")
        if isinstance(library, dict) and not panel.get("targets"):
            model = library.get("model") or self.library.get(str(library.get("uid")))
            if not isinstance(model, dict):
                what = f"{self.title} / {panel.get('title') or 'untitled'} is the library panel {library.get('name')!r}, which is not in the file"
                self.problems.append(Problem(where, what, "export the dashboard with its library panels"))
                return
            panel = {**model, "title": panel.get("title") or model.get("title")}
        title = panel.get("title") or "untitled"
        for index, target in enumerate(_dicts(panel.get("targets"))):
            expr = target.get("expr")
            if isinstance(expr, str) and expr.strip() and self.ours(target.get("datasource") or panel.get("datasource")):
                ref = target.get("refId") or chr(ord("A") + index % 26)
                yield self.query("panel", f"{self.title} / {title} / {ref}", where, expr, identity)

    def ours(self, source: Any) -> bool:
        """True if a data source can be Prometheus: it does not say that it is something else."""
        if isinstance(source, dict):
            kind, source = source.get("type"), source.get("uid") or source.get("name")
            if kind and kind != "prometheus" and "prometheus" not in str(kind) and str(kind) != "datasource":
                return False
        name = str(source or "")
        return name not in _OTHER_SOURCES and name.strip("${}[]") not in self.foreign and "loki" not in name.lower()


def _dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _at(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _flat(item: Any) -> dict[str, Any]:
    """An object ``{kind, spec: {...}}`` of the v2 resource, flattened."""
    spec = _at(item, "spec")
    flat = {**item, **spec} if isinstance(spec, dict) else dict(item) if isinstance(item, dict) else {}
    flat.setdefault("type", flat.get("kind"))
    query = flat.get("query")
    inside = _at(query, "spec")
    if isinstance(inside, dict):  # v2beta1 calls the type of the data source `group`, v2alpha1 `kind`
        source = _at(query, "datasource") or flat.get("datasource")
        kind = _at(query, "group" if _at(query, "kind") == "DataQuery" else "kind")
        flat = {**flat, **inside, "datasource": {**(source if isinstance(source, dict) else {}), "type": kind}}
    return flat


def _values(variable: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of a variable, where the dashboard gives them; at most 16."""
    if str(variable.get("type")).removesuffix("Variable").lower() not in _KNOWN_VALUES:
        return ()
    query = variable.get("query")
    values = [part.rpartition(" : ")[2].strip() for part in str(query).split(",")] if isinstance(query, str) else []
    values += [str(option["value"]) for option in _dicts(variable.get("options")) if isinstance(option.get("value"), str)]
    current = _at(variable, "current", "value")
    values += [current] if isinstance(current, str) else []
    return tuple(value for value in dict.fromkeys(values) if value and not value.startswith("$__"))[:16]


def _asked(variable: Mapping[str, Any]) -> str:
    """The expression that a variable takes its values from; empty if it only lists names."""
    query = variable.get("query")
    text = query.get("query") if isinstance(query, dict) else query if isinstance(query, str) else variable.get("definition")
    text = (text or "").strip() if isinstance(text, str) else ""
    function, _, inside = text.partition("(")
    if not text.endswith(")") or function.strip() not in ("label_values", "query_result"):
        return ""
    inside = inside[:-1].strip()
    if function.strip() == "query_result":
        return inside
    series, comma, _ = inside.rpartition(",")
    return series.strip() if comma else ""
