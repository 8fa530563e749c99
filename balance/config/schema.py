"""Declarations of the keys of a file, from which its reader, environment variables, JSON Schema and reference page follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from balance.config.kinds import Kind

Complaint = tuple[str, str, str]
"""A problem that the check of a section found: key (or path below the section, as in ``routes[0].pool``), what is wrong, cure."""
SectionCheck = Callable[[Mapping[str, Any]], Iterator[Complaint]]


def nothing(_values: Mapping[str, Any]) -> Iterator[Complaint]:
    """The check of a section without rules of its own."""
    return iter(())


def attributes(value: Any) -> Mapping[str, Any]:
    """The fields of a dataclass instance, by name."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


@dataclass(frozen=True)
class Field:
    """A key of a section. `default` is a text of its kind, or ``None`` if the key is required; `doc` describes it on reference pages.

    `many`: the value is a list. `several`: one value or a list. `empty`: the list may be empty (implied by an empty default). `inherited`: without a
    value in the file, the key is left out of the values. `only`: another key and its value, without which this key has no effect. `attribute`: the
    name of the value, if it differs from the key.
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
        """The name of the value in the section's values."""
        return self.attribute or self.key

    @property
    def may_be_empty(self) -> bool:
        """True if an empty list is valid."""
        return self.empty or (self.several and self.default == "" and not self.inherited)


def optional(key: str, kind: Kind | Section | Table, doc: str, **more: Any) -> Field:
    """A key that is left out of the values if the file does not have it: the object that the section makes has its own default."""
    return Field(key, kind, "", doc, inherited=True, **more)


@dataclass(frozen=True)
class Table:
    """A mapping whose keys the user chooses. `make` is called with the pairs. `folded`: keys are case-insensitive."""

    keys: Kind
    values: Kind | Section
    words: str = "names and values"
    empty: bool = True
    folded: bool = False
    make: Callable[[list[tuple[str, Any]]], Any] = dict


@dataclass(frozen=True)
class Section:
    """A mapping of declared keys, which becomes `make(**values)`.

    `may_be_off`: ``off`` instead of the mapping becomes ``None``. `on_demand`: absent, it becomes ``None``, and ``on`` means an empty mapping; other
    absent sections have their defaults, of which `absent` replaces some. `any_of`: at least one of these keys must be given; `one_of`: exactly one.
    `refused`: keys that are known and invalid, each with what is wrong and the cure. `check` is called with the values if those of the keys
    `check_keys` (or all) are valid. `arguments` is the inverse of `make`: the values from which an object was made.
    """

    make: Callable[..., Any]
    fields: tuple[Field, ...]
    may_be_off: bool = False
    on_demand: bool = False
    absent: Mapping[str, str] = field(default_factory=dict)
    any_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    check: SectionCheck = nothing
    check_keys: tuple[str, ...] = ()
    arguments: Callable[[Any], Mapping[str, Any]] = attributes

    @property
    def partial(self) -> bool:
        """True if any subset of the keys is enough to make the value."""
        return all(each.inherited for each in self.fields)


def variables(section: Section, prefix: str, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The environment variables that set scalars outside lists, each with its key path. A name that ends in an underscore is the prefix of a
    table's variables: the rest, in lower case, is the key in the table.
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
    """The JSON Schema (2020-12) of a file, for editors and other programs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **object_schema(section)}


def object_schema(section: Section) -> dict[str, Any]:
    """The JSON Schema of a section."""
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
