"""What a schema is made of: keys as data, which the reader, JSON Schema and the environment follow alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from balance.lb.config import checks
from balance.lb.config.checks import Check
from balance.lb.config.kinds import Kind


def attributes(value: Any) -> Mapping[str, Any]:
    """The fields of a dataclass."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


@dataclass(frozen=True)
class Field:
    """One key. `default` is a text of its kind, or ``None`` if the key is required.

    `many`: a list. `several`: one value or a list. `inherited`: left out of the values where the file doesn't give it. `only`: another key of
    the section and its value without which this one means nothing.
    """

    key: str
    kind: Kind | Section | Table
    default: str | None
    doc: str
    many: bool = False
    several: bool = False
    inherited: bool = False
    only: tuple[str, str] | None = None


@dataclass(frozen=True)
class Table:
    """A mapping whose keys are the user's own; it becomes a tuple of pairs."""

    keys: Kind
    values: Kind


@dataclass(frozen=True)
class Section:
    """A mapping of keys that becomes `make(**values)`; ``off`` instead of it becomes ``None`` where `may_be_off`.

    Not mentioned at all, it has its defaults, of which `absent` replaces some, or is ``None`` where `on_demand`; ``on`` is then short
    for an empty mapping. Of the keys in `any_of` at least one must be given, of those in `one_of` exactly one. `check` sees the values once
    those of the keys `about` (or all) are right. `taken` is the inverse of `make`: the values that it was given.
    """

    make: Callable[..., Any]
    fields: tuple[Field, ...]
    may_be_off: bool = False
    on_demand: bool = False
    absent: Mapping[str, str] = field(default_factory=dict)
    any_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    check: Check = checks.nothing
    about: tuple[str, ...] = ()
    taken: Callable[[Any], Mapping[str, Any]] = attributes


def object_schema(section: Section) -> dict[str, Any]:
    """The section as JSON Schema."""
    groups = {"anyOf": section.any_of, "oneOf": section.one_of}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [field.key for field in section.fields if field.default is None],
        "properties": {field.key: _property(field) for field in section.fields},
        **{rule: [{"required": [key]} for key in keys] for rule, keys in groups.items() if keys},
    }


def _property(field: Field) -> dict[str, Any]:
    kind = field.kind
    if isinstance(kind, Section):
        form = object_schema(kind)
        needs = form["required"] or kind.any_of or kind.one_of
        words = [False] * kind.may_be_off + [True] * (kind.on_demand and not needs)
        if words:
            form = {"anyOf": [form, {"enum": words}]}
    elif isinstance(kind, Table):
        form = {"type": "object", "minProperties": 1, "propertyNames": kind.keys.schema(), "additionalProperties": kind.values.schema()}
    else:
        form = kind.schema()
    if field.many:
        form = {"type": "array", "minItems": 1, "items": form}
    if field.several:
        form = {"anyOf": [form, {"type": "array", "minItems": 0 if field.default == "" else 1, "items": form}]}
    note = f" (default {field.default})" if field.default else ""
    return {"description": field.doc + note, **form}
