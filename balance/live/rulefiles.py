"""The rules of hand-written files: rule files of Prometheus, PrometheusRule objects (also in lists), and ConfigMaps of rule files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from balance.errors import Problem
from balance.live.audited_query import AuditedQuery

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH, _MAX_OBJECT_DEPTH = 100, 5
"""Nesting of collections, and of objects in objects: an alias may contain itself."""


def read(text: str, file: str, sought: bool = True) -> tuple[list[AuditedQuery], list[Problem]]:
    """All rules of a file with the line of their expressions, and the problems. With `sought`, a file without rules is a problem too."""
    queries: list[AuditedQuery] = []
    problems: list[Problem] = []
    lists = 0
    for groups, above in _lists(text.removeprefix("\ufeff"), file, 0, problems):
        lists += 1
        for group in groups.value:
            queries += _rules(group, file, above, problems)
    if sought and not lists and not problems:
        problems.append(Problem(file, "contains no rule groups", "give a rule file of Prometheus or a PrometheusRule"))
    return queries, problems


def _lists(text: str, file: str, above: int, problems: list[Problem]) -> Iterator[tuple[yaml.SequenceNode, int]]:
    """The lists of groups in a text, and how many lines of the file are above it."""
    try:
        depth = 0
        events: Any = yaml.parse(text, _LOADER)
        for event in events:  # composing a document that is nested thousands deep would abort the process
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise yaml.MarkedYAMLError(problem="too deeply nested", problem_mark=event.start_mark)
        for document in yaml.compose_all(text, _LOADER):
            yield from _groups(document, file, above, problems)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{above + mark.line + 1}:{mark.column + 1}" if mark else ""
        problems.append(Problem(f"{file}{place}", f"invalid YAML: {getattr(error, 'problem', None) or str(error).splitlines()[0]}", "fix the file"))


def _groups(node: Any, file: str, above: int, problems: list[Problem], depth: int = 0) -> Iterator[tuple[yaml.SequenceNode, int]]:
    """Every list of groups of rules: of a rule file, below `spec` of an object, in lists of objects, and in the texts of a ConfigMap."""
    for key, value in _pairs(node) if depth < _MAX_OBJECT_DEPTH else ():
        if key == "groups" and isinstance(value, yaml.SequenceNode):
            yield value, above
        elif key == "spec":
            yield from _groups(value, file, above, problems, depth + 1)
        elif key == "items" and isinstance(value, yaml.SequenceNode):
            for item in value.value:
                yield from _groups(item, file, above, problems, depth + 1)
        elif key == "data":
            for name, inside in _pairs(value):
                if name.endswith((".yaml", ".yml", ".rules")) and isinstance(inside, yaml.ScalarNode):
                    yield from _lists(inside.value, file, above + inside.start_mark.line + (inside.style in ("|", ">")), problems)


def _rules(group: Any, file: str, above: int, problems: list[Problem]) -> Iterator[AuditedQuery]:
    rules = dict(_pairs(group)).get("rules")
    for node in rules.value if isinstance(rules, yaml.SequenceNode) else ():
        rule = dict(_pairs(node))
        line = f"{file}:{above + node.start_mark.line + 1}"
        kind, name = ("alert", rule["alert"]) if "alert" in rule else ("rule", rule.get("record"))
        expr = rule.get("expr")
        if not (isinstance(name, yaml.ScalarNode) and isinstance(expr, yaml.ScalarNode) and expr.value.strip()):
            problems.append(Problem(line, "invalid rule: it needs alert or record, and expr", "fix the rule"))
            continue
        labels = tuple((key, value.value) for key, value in _pairs(rule.get("labels")) if isinstance(value, yaml.ScalarNode))
        yield AuditedQuery(kind, name.value, f"{file}:{above + expr.start_mark.line + 1}", expr.value, labels=labels)


def _pairs(node: Any) -> list[tuple[str, Any]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(str(key.value), value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
