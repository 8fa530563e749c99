"""The reference page of `balance.api`, made from its imports, signatures and docstrings."""

from __future__ import annotations

import ast
import enum
import inspect
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import Any

from balance import api
from balance.catalog.model import Metric

GROUPS = {
    "balance.catalog": "Metrics and thresholds",
    "balance.promql": "Queries",
    "balance.monitoring.panels": "Panels",
    "balance.monitoring.dashboards": "Dashboards",
    "balance.monitoring": "Alerts, objectives and the bundle",
}
"""Headings, by the beginning of the name of the module that defines a name; the longest beginning counts."""
WIDTH = 110
"""A signature longer than this has one parameter a line."""


def page() -> str:
    """Every name of `balance.api` as Markdown: signature, docstring, public methods and properties."""
    homes = {name: _home(name, api) for name in api.__all__}
    lines = ["# Python interface", "", inspect.getdoc(api) or ""]
    for group, title in GROUPS.items():
        lines += ["", f"## {title}"]
        for name in sorted(api.__all__, key=str.lower):
            if group == max((other for other in GROUPS if homes[name].__name__.startswith(other)), key=len):
                lines += ["", f"### `{name}`", "", *_entry(name, getattr(api, name), homes[name])]
    return "\n".join(lines) + "\n"


def _home(name: str, module: ModuleType) -> ModuleType:
    """The module that defines a name which `module` has, perhaps by importing it."""
    for node in _statements(module):
        if isinstance(node, ast.ImportFrom) and node.module and name in (imported.name for imported in node.names):
            return _home(name, import_module(node.module))
    return module


def _statements(module: ModuleType) -> list[ast.stmt]:
    return ast.parse(inspect.getsource(module)).body


def _entry(name: str, value: Any, home: ModuleType) -> Iterator[str]:
    if isinstance(value, ModuleType):
        yield from (inspect.getdoc(value) or "", "")
        yield from (f"- `{name}.{key}`: `{metric.name}`. {metric.help}" for key, metric in vars(value).items() if isinstance(metric, Metric))
    elif isinstance(value, enum.EnumType):
        yield from (inspect.getdoc(value) or "", "", *(f"- `{name}.{member}`" for member in value.__members__))
    elif isinstance(value, type) or inspect.isfunction(value):
        yield from ("```python", _signature(name, value), "```", "", inspect.getdoc(value) or "")
        if isinstance(value, type) and (members := list(_members(value))):
            yield from ("", *members)
    else:
        yield from (f"`{value!r}`", "", _constant(name, home))


def _members(owner: type) -> Iterator[str]:
    """Public methods and properties with a docstring, also those of bases that have no entry of their own."""
    for base in owner.__mro__[1:]:
        if getattr(api, base.__name__, None) is base:
            yield f"- all of [`{base.__name__}`](#{base.__name__.lower()})"
            break
    else:
        base = object
    for name in sorted({name for part in owner.__mro__[: owner.__mro__.index(base)] for name in vars(part) if not name.startswith("_")}):
        value = getattr(owner, name)
        if inspect.isfunction(value) or inspect.ismethod(value):
            yield f"- `.{_signature(name, value)}`: {_sentence(value)}"
        elif isinstance(value, property | cached_property):
            yield f"- `.{name}`: {_sentence(value)}"


def _sentence(value: object) -> str:
    return " ".join((inspect.getdoc(value) or "").split())


def _signature(name: str, value: Callable[..., Any]) -> str:
    """The signature as people write it: types without quotes, defaults by their names, no `self`."""
    names = {id(known): key for key, known in vars(api).items() if key.isupper()}
    signature = inspect.signature(value)
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        kind = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        default = "" if parameter.default is parameter.empty else f" = {names.get(id(parameter.default)) or _default(parameter.default)}"
        parts.append(f"{parameter.replace(annotation=parameter.empty, default=parameter.empty)}{kind}{default}")
    result = "" if isinstance(value, type) or signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) <= WIDTH or "." in value.__qualname__:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){result}"])


def _default(value: object) -> str:
    text = str(value) if isinstance(value, enum.Enum) else repr(value)
    return "..." if "<" in text or len(text) > 60 else text


def _constant(name: str, home: ModuleType) -> str:
    """The docstring below the assignment of a constant; empty if there is none."""
    statements = _statements(home)
    for assigned, below in pairwise(statements):
        match assigned, below:
            case ast.Assign(targets=[ast.Name(id=found)]), ast.Expr(value=ast.Constant(value=str(words))) if found == name:
                return words
    return ""
