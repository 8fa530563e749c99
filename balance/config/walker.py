"""Read a YAML tree along the declared keys of a file, and collect every problem with its file, line and key path.

`make` and `check` of a section see valid values only. A section with a problem is not made, unless all of its keys may be left out: then the invalid
ones are left out, so that later checks can report their problems together with these.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml

from balance.config.kinds import OFF, ON, File, Kind, KindError
from balance.config.problems import Problems
from balance.config.schema import Field, Section, Table
from balance.config.tree import STRING, is_word, items
from balance.errors import suggestion

INVALID = object()
"""Stands for a value with a problem."""


class Walker(Problems):
    """Reads one file: returns values and collects problems."""

    def _where(self, node: yaml.Node) -> str:
        mark = node.start_mark
        return f"{mark.name}:{mark.line + 1}" if mark.name == self.source else str(mark.name)

    def _first(self, place: str) -> str:
        """The cure for a duplicate of what is at `place`."""
        return f"first in {place.replace(f'{self.source}:', 'line ')}: remove one"

    def section(self, section: Section, node: yaml.Node | None, path: str) -> Any:
        """The value of a section at a key path, or `INVALID`. Without a node every key has its default."""
        if (section.may_be_off and is_word(node, OFF)) or (section.on_demand and node is None):
            return None
        if node is not None and section.on_demand and is_word(node, ON):
            node = yaml.MappingNode("", [], node.start_mark)
        if node is not None and not isinstance(node, yaml.MappingNode):
            self.add(path, "must be a mapping of keys", "indent its keys below it" + ", or write off" * section.may_be_off)
            return INVALID
        before = len(self.found)
        values = self._values(section, node, path)
        return section.make(**values) if section.partial or len(self.found) == before else INVALID

    def _values(self, section: Section, node: yaml.MappingNode | None, path: str) -> dict[str, Any]:
        """The values of a section by name, without the invalid ones."""
        given = self._given(section, node, path)
        before = len(self.found)
        self._check_groups(section, given, path)
        absent = section.absent if node is None else {}
        fields = [field for field in section.fields if field.key in given or not field.inherited]
        found = ((field.name, self._value(field, given.get(field.key), absent, _join(path, field.key))) for field in fields)
        values = {name: value for name, value in found if value is not INVALID}
        self._check_only(fields, given, values, path)
        if not any(self.has_problem(_join(path, key)) for key in section.check_keys) if section.check_keys else len(self.found) == before:
            for key, what, cure in section.check(values):
                self.add(_join(path, key), what, cure)
        return values

    def _given(self, section: Section, node: yaml.MappingNode | None, path: str) -> dict[str, yaml.Node]:
        """The nodes of the given keys; adds problems for unknown, refused and duplicate keys."""
        known = [field.key for field in section.fields]
        found: dict[str, yaml.Node] = {}
        if node and not path:
            self.places[""] = self._where(node)
        for key_node, value_node in items(node) if node else ():
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            here = _join(path, key)
            if key in section.refused:
                self.add(here, *section.refused[key], self._where(key_node))
            elif key not in known:
                self.add(here, "unknown setting", suggestion(key, known), self._where(key_node))
            elif key in found:
                self.add(here, "is given twice", self._first(self.places[here]), self._where(key_node))
            else:
                found[key], self.places[here] = value_node, self._where(key_node)
        return found

    def _check_groups(self, section: Section, given: Mapping[str, yaml.Node], path: str) -> None:
        """Add problems for groups of which no key, or too many, are given."""
        for keys, most in ((section.any_of, len(section.any_of)), (section.one_of, 1)):
            found = [key for key in keys if key in given]
            if keys and not found:
                self.add(_join(path, keys[0]), "is missing", f"give {' or '.join(keys)}")
            for key in found[most:]:
                self.add(_join(path, key), f"is given beside {found[0]}", "give one of them")

    def _check_only(self, fields: list[Field], given: Mapping[str, yaml.Node], values: Mapping[str, Any], path: str) -> None:
        """Add problems for keys that have no effect with the value of another key."""
        for field in fields:
            if field.only and field.key in given and values.get(field.only[0], field.only[1]) != field.only[1]:
                needed = ": ".join(field.only)
                self.add(_join(path, field.key), f"is only for {needed}", f"remove it, or write {needed}")

    def _value(self, field: Field, node: yaml.Node | None, absent: Mapping[str, str], path: str) -> Any:
        if node is None:
            return self._default(field, absent.get(field.key, field.default), path)
        if field.many or (field.several and isinstance(node, yaml.SequenceNode)):
            return self.entries(field.kind, node, path, least=0 if field.may_be_empty else 1)
        value = self._single(field.kind, node, path)
        return (value,) if field.several and value is not INVALID else value

    def _default(self, field: Field, default: str | None, path: str) -> Any:
        """The value of a key that is not given."""
        kind = field.kind
        if default is None:
            self.add(path, "is missing", f"it is required: {field.doc}")
            return INVALID
        if default == "" and (field.many or field.several):
            return ()
        if isinstance(kind, Section):
            return self.section(kind, None, path)
        value = kind.parse(default) if isinstance(kind, Kind) else kind.make([])
        return (value,) if field.several else value

    def _single(self, kind: Kind | Section | Table, node: yaml.Node, path: str) -> Any:
        """The value of a node that is not a list of several values."""
        if isinstance(kind, Section):
            return self.section(kind, node, path)
        return self._pairs(kind, node, path) if isinstance(kind, Table) else self._scalar(kind, node, path)

    def entries(self, kind: Kind | Section | Table, node: yaml.Node | None, path: str, least: int = 1) -> Any:
        """The values of a list with at least `least` entries, without the invalid ones. Entries must differ, by their name if they have one."""
        if not isinstance(node, yaml.SequenceNode) or len(node.value) < least:
            self.add(path, "must be a list" + " with at least one entry" * least, "begin each entry with a dash")
            return INVALID
        values, places = [], dict[Any, str]()
        for index, child in enumerate(node.value):
            here = f"{path}[{index}]"
            self.places[here] = self._where(child)
            value = self._single(kind, child, here)
            pairs = child.value if isinstance(child, yaml.MappingNode) else ()
            identity = next((str(name.value) for key, name in pairs if key.value == "name"), value)
            if identity in places:
                self.add(here, f"{str(identity)!r} is given twice", self._first(places[identity]))
            if identity is not INVALID:
                places.setdefault(identity, self.places[here])
            if value is not INVALID:
                values.append(value)
        return tuple(values)

    def _pairs(self, table: Table, node: yaml.Node, path: str) -> Any:
        """The value of a table from its pairs, without the invalid ones."""
        if not isinstance(node, yaml.MappingNode) or not (node.value or table.empty):
            self.add(path, "must be a mapping" + " with at least one entry" * (not table.empty), "write it like {NAME: value}")
            return INVALID
        pairs, found = [], dict[str, str]()
        for key_node, value_node in items(node):
            name = self._scalar(table.keys, key_node, path, self._where(key_node))
            if name is INVALID:
                continue
            here = _join(path, str(key_node.value))
            identity = name.lower() if table.folded else name
            if identity in found:
                self.add(here, "is given twice", self._first(found[identity]) + ", whatever its case" * table.folded, self._where(key_node))
                continue
            found[identity] = self.places[here] = self._where(key_node)
            value = self._single(table.values, value_node, here)
            if value is not INVALID:
                pairs.append((name, value))
        return table.make(pairs)

    def _scalar(self, kind: Kind, node: yaml.Node, path: str, at: str = "") -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.add(path, "must be a single value", "neither a list nor a mapping", at)
            return INVALID
        if kind.quoted and node.tag != STRING:
            self.add(path, "must be a string", "put it in quotes", at)
            return INVALID
        try:
            value = kind.parse(node.value)
        except KindError as error:
            self.add(path, error.what, error.cure, at)
            return INVALID
        return os.path.join(os.path.dirname(self.source), value) if isinstance(kind, File) and value else value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key
