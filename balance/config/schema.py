"""What the keys of a file are declared with; what reads it, its variables, its JSON Schema and its page follow from that alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from balance.config.kinds import Kind

Complaint = tuple[str, str, str]
"""What a check of a whole section found: key (or path from there, as in ``routes[0].pool``), what, cure."""
Check = Callable[[Mapping[str, Any]], Iterator[Complaint]]


def nothing(_values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Find nothing wrong."""
    return iter(())


def attributes(value: Any) -> Mapping[str, Any]:
    """The fields of a dataclass."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


@dataclass(frozen=True)
class Field:
    """One key. `default` is a text of its kind, or ``None`` if the key is required.

    `many`: a list. `several`: one value or a list; `empty`: which may be empty, as it may where the default is. `inherited`: left out of the values
    where the file doesn't give it. `only`: another key of the section and its value without which this one means nothing. `attribute`: the name under
    which the value goes into the section's, if it is not the key.
    """

    key: str
    kind: Kind | Section | Table
    default: str | None
    doc: str
    many: bool = False
    several: bool = False
    empty: bool = False
    inherited: bool = False
    only: tuple[str, str] | None = None
    attribute: str = ""

    @property
    def name(self) -> str:
        """The name of the value among those of the section."""
        return self.attribute or self.key

    @property
    def may_be_empty(self) -> bool:
        """Whether an empty list will do."""
        return self.empty or (self.several and self.default == "" and not self.inherited)


def optional(key: str, kind: Kind | Section | Table, doc: str, **more: Any) -> Field:
    """A key that is left out of the values where the file doesn't give it: what the section becomes has a default of its own."""
    return Field(key, kind, "", doc, inherited=True, **more)


@dataclass(frozen=True)
class Table:
    """A mapping whose keys are the user's own. `make` gets the pairs. `folded`: keys that differ in case alone are the same."""

    keys: Kind
    values: Kind | Section
    words: str = "names and values"
    empty: bool = True
    folded: bool = False
    make: Callable[[list[tuple[str, Any]]], Any] = dict


@dataclass(frozen=True)
class Section:
    """A mapping of keys that becomes `make(**values)`; ``off`` instead of it becomes ``None`` where `may_be_off`.

    Not mentioned at all, it has its defaults, of which `absent` replaces some, or is ``None`` where `on_demand`; ``on`` is then short
    for an empty mapping. Of the keys in `any_of` at least one must be given, of those in `one_of` exactly one. `refused` are keys that are
    known and not taken, each with what is wrong and the cure. `check` sees the values once those of the keys `about` (or all) are right.
    `taken` is the inverse of `make`: the values that it was given.
    """

    make: Callable[..., Any]
    fields: tuple[Field, ...]
    may_be_off: bool = False
    on_demand: bool = False
    absent: Mapping[str, str] = field(default_factory=dict)
    any_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    check: Check = nothing
    about: tuple[str, ...] = ()
    taken: Callable[[Any], Mapping[str, Any]] = attributes

    @property
    def partial(self) -> bool:
        """Whether something can be made of any of its keys alone."""
        return all(each.inherited for each in self.fields)


def variables(section: Section, prefix: str, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The environment variables that set a scalar outside lists, each with its key path; for a table of scalars the beginning of their names,
    which ends in an underscore: the rest, in lower case, is the name in the table.
    """
    for each in section.fields:
        here = (*path, each.key)
        name = prefix + "_".join(here).upper()
        if isinstance(each.kind, Section):
            yield from () if each.many else variables(each.kind, prefix, here)
        elif isinstance(each.kind, Kind):
            yield name, here
        elif isinstance(each.kind.values, Kind):
            yield name + "_", here


def json_schema(section: Section, title: str) -> dict[str, Any]:
    """A file of such keys as JSON Schema 2020-12, for editors and other programs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **object_schema(section)}


def object_schema(section: Section) -> dict[str, Any]:
    """The section as JSON Schema."""
    groups = {"anyOf": section.any_of, "oneOf": section.one_of}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [each.key for each in section.fields if each.default is None],
        "properties": {each.key: _property(each) for each in section.fields},
        **{rule: [{"required": [key]} for key in keys] for rule, keys in groups.items() if keys},
    }


def _property(each: Field) -> dict[str, Any]:
    form = _form(each.kind)
    if each.many:
        form = {"type": "array", "minItems": 1, "items": form}
    if each.several:
        form = {"anyOf": [form, {"type": "array", "minItems": 0 if each.may_be_empty else 1, "items": form}]}
    note = f" (default {each.default})" if each.default else ""
    return {"description": each.doc + note, **form}


def _form(kind: Kind | Section | Table) -> dict[str, Any]:
    if isinstance(kind, Table):
        return {
            "type": "object",
            "minProperties": int(not kind.empty),
            "propertyNames": kind.keys.schema(),
            "additionalProperties": _form(kind.values),
        }
    if isinstance(kind, Kind):
        return kind.schema()
    form = object_schema(kind)
    needs = form["required"] or kind.any_of or kind.one_of
    words = [False] * kind.may_be_off + [True] * (kind.on_demand and not needs)
    return {"anyOf": [form, {"enum": words}]} if words else form
