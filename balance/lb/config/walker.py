"""The walk over a file's YAML nodes by the schema: every problem knows its line and key path, and all of them are gathered.

The environment overrides every scalar outside lists: `BALANCE_` and the key path in capitals, joined by underscores
(`timeouts.first_byte` is `BALANCE_TIMEOUTS_FIRST_BYTE`). Nothing is made of a section in which something is wrong: makers and checks see right
values only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml

from balance.errors import Problem, suggestion
from balance.lb.config.kinds import File, Kind, KindError
from balance.lb.config.schema import CONFIG
from balance.lb.config.section import Field, Section, Table
from balance.lb.errors import ConfigError

PREFIX = "BALANCE_"
FOREIGN = ("BALANCE_SERVICE_", "BALANCE_PORT")
"""What Kubernetes and container links set for a service that is called "balance": none of our business."""
_BOOLEAN = "tag:yaml.org,2002:bool"


def variables(section: Section = CONFIG, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The environment variables that override something, each with its key path."""
    for field in section.fields:
        here = (*path, field.key)
        if isinstance(field.kind, Section):
            if not field.many:
                yield from variables(field.kind, here)
        elif not field.many:
            yield PREFIX + "_".join(here).upper(), ".".join(here)


class Walker:
    """One reading of one file: gathers values and problems."""

    def __init__(self, source: str, environment: Mapping[str, str]) -> None:
        self.source = source
        self.environment = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        self.problems: list[Problem] = []
        self._overrides = [(name, key) for name, key in variables() if name in self.environment]
        self._places: dict[str, yaml.Node] = {}
        """where each key path is in the file"""
        self._wrong: list[str] = []
        """key paths of problems"""

    def end(self) -> None:
        """Raise `ConfigError` if anything is wrong."""
        if self.problems:
            raise ConfigError(problems=self.problems)

    def complain(self, node: yaml.Node | None, path: str, what: str, cure: str) -> None:
        self._wrong.append(path)
        place = f"{self.source}:{node.start_mark.line + 1}" if node else self.source
        self.problems.append(Problem(f"{place}: {path}" if path else place, what, cure))

    def _complain_of(self, name: str, path: str, what: str, cure: str) -> None:
        self._wrong.append(path)
        self.problems.append(Problem(name, what, cure))

    def check_environment(self) -> None:
        """Complain about variables that look like ours and override nothing."""
        known = dict(variables())
        for name in sorted(self.environment.keys() - known.keys()):
            if not name.startswith(FOREIGN):
                near = get_close_matches(name, known, n=1, cutoff=0.8)
                cure = f"did you mean {near[0]}?" if near else "unset it: names beginning with BALANCE_ are ours"
                self.problems.append(Problem(name, "overrides no configuration key", cure))

    def overridden(self, path: str) -> list[str]:
        """The variables that are set for the key or something below it."""
        return [name for name, key in self._overrides if f"{key}.".startswith(f"{path}.")]

    def section(self, section: Section, node: yaml.Node | None, path: str) -> Any:
        """The value of a section. Without a node every key has its default, or what the environment says."""
        if section.may_be_off and _is_off(node):
            for name in self.overridden(path):
                self.problems.append(Problem(name, f"is set, but the file says {path}: off", "unset it, or remove the off"))
            return None
        if section.on_demand and node is None and not self.overridden(path):
            return None
        if section.on_demand and node is not None and _is_on(node):
            node = yaml.MappingNode("", [], node.start_mark)
        if node is not None and not isinstance(node, yaml.MappingNode):
            cure = "indent its keys below it" + (", or write off" if section.may_be_off else "")
            self.complain(node, path, "must be a mapping of keys", cure)
            return None
        nodes = self._keys(section, node, path)
        given = {field.key for field in section.fields if field.key in nodes or self.overridden(_join(path, field.key))}
        absent = section.absent if node is None and not given else {}
        before = len(self.problems)
        self._check_given(section, given, node, path)
        fields = [field for field in section.fields if field.key in given or not field.inherited]
        values = {field.key: self._value(field, node, nodes, path, absent) for field in fields}
        for field in fields:
            if field.only and field.key in given and values[field.only[0]] not in (field.only[1], None):
                needed = ": ".join(field.only)
                self.complain(nodes.get(field.key, node), _join(path, field.key), f"is only for {needed}", f"remove it, or write {needed}")
        if not self._spoiled(section, path, before):
            for key, what, cure in section.check(values):
                here = _join(path, key)
                self.complain(self._places.get(here, node), here, what, cure)
        return section.make(**values) if len(self.problems) == before else None

    def _spoiled(self, section: Section, path: str, before: int) -> bool:
        """Whether something is wrong with what the section's check looks at; there were so many problems `before` its values were read."""
        keys = tuple(_join(path, key) + end for key in section.about for end in (".", "["))
        return any(f"{wrong}.".startswith(keys) for wrong in self._wrong) if keys else len(self.problems) > before

    def _check_given(self, section: Section, given: set[str], node: yaml.Node | None, path: str) -> None:
        for keys, most in ((section.any_of, len(section.any_of)), (section.one_of, 1)):
            found = [key for key in keys if key in given]
            if keys and not found:
                self.complain(node, _join(path, keys[0]), "is missing", f"give {' or '.join(keys)}")
            for key in found[most:]:
                here = _join(path, key)
                self.complain(self._places.get(here, node), here, f"is given beside {found[0]}", "give one of them")

    def _keys(self, section: Section, node: yaml.MappingNode | None, path: str) -> dict[str, yaml.Node]:
        fields = {field.key: field for field in section.fields}
        found: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value if node else ():
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            here = _join(path, key)
            if key not in fields:
                self.complain(key_node, here, "unknown key", suggestion(key, fields))
            elif key in found:
                self.complain(key_node, here, "is given twice", f"first in line {found[key].start_mark.line + 1}: remove one")
            else:
                found[key] = self._places[here] = value_node
        return found

    def _value(self, field: Field, parent: yaml.Node | None, nodes: Mapping[str, yaml.Node], path: str, absent: Mapping[str, str]) -> Any:
        node = nodes.get(field.key)
        here = _join(path, field.key)
        kind = field.kind
        name = PREFIX + here.replace(".", "_").upper()
        if name in self.environment and not isinstance(kind, Section | Table) and not field.many and "[" not in here:
            value = self._parse(kind, self.environment[name], lambda what, cure: self._complain_of(name, here, what, cure))
            return (value,) if field.several else value
        if node is None and field.default is None:
            self.complain(parent, here, "is missing", f"it is required: {field.doc}")
            return None
        optional = (field.many or field.several) and field.default == ""
        if optional and (node is None or (field.several and isinstance(node, yaml.SequenceNode) and not node.value)):
            return ()
        if field.many or (field.several and isinstance(node, yaml.SequenceNode)):
            return self.entries(kind, node, here)
        if isinstance(kind, Section):
            return self.section(kind, node, here)
        if node is None:
            value = kind.parse(absent.get(field.key, field.default or "")) if not isinstance(kind, Table) else ()
        else:
            value = self._single(kind, node, here)
        return (value,) if field.several else value

    def _single(self, kind: Kind | Section | Table, node: yaml.Node, path: str) -> Any:
        """The value of a node that is there."""
        if isinstance(kind, Section):
            return self.section(kind, node, path)
        return self._pairs(kind, node, path) if isinstance(kind, Table) else self._scalar(kind, node, path)

    def entries(self, kind: Kind | Section | Table, node: yaml.Node | None, path: str) -> tuple[Any, ...]:
        """The values of a list, each of which may be there once: by its name if it has one."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.complain(node, path, "must be a list with at least one entry", "begin each entry with a dash")
            return ()
        values, names = [], dict[Any, int]()
        for index, child in enumerate(node.value):
            here = f"{path}[{index}]"
            self._places[here] = child
            value = self._single(kind, child, here)
            named = self._places.get(f"{here}.name")
            identity = value if named is None else str(named.value)
            if identity is not None and identity in names:
                self.complain(child, here, f"{str(identity)!r} is already in line {names[identity]}", "each may be there once")
            names.setdefault(identity, child.start_mark.line + 1)
            values.append(value)
        return tuple(values)

    def _pairs(self, kind: Table, node: yaml.Node, path: str) -> tuple[tuple[str, str], ...]:
        if not isinstance(node, yaml.MappingNode) or not node.value:
            self.complain(node, path, "must be a mapping with at least one entry", "write it as {Name: value}")
            return ()
        found: dict[str, tuple[str, str]] = {}
        for key_node, value_node in node.value:
            name = self._scalar(kind.keys, key_node, path)
            value = self._scalar(kind.values, value_node, f"{path}.{name}")
            if name is not None and name.lower() in found:
                self.complain(key_node, f"{path}.{name}", "is given twice", "each may be there once, in whatever case")
            elif name is not None:
                found[name.lower()] = (name, value)
        return tuple(found.values())

    def _scalar(self, kind: Kind, node: yaml.Node, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.complain(node, path, "must be a single value", "neither a list nor a mapping")
            return None
        return self._parse(kind, node.value, lambda what, cure: self.complain(node, path, what, cure))

    def _parse(self, kind: Kind, text: str, complain: Any) -> Any:
        try:
            value = kind.parse(text)
            return os.path.join(os.path.dirname(self.source), value) if isinstance(kind, File) and value else value
        except KindError as error:
            complain(error.what, error.cure)
            return None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key


def _is_off(node: yaml.Node | None) -> bool:
    """Whether it is YAML's ``off`` (which reads as false)."""
    return _is_word(node, ("off", "false", "no"))


def _is_on(node: yaml.Node | None) -> bool:
    """Whether it is YAML's ``on`` (which reads as true)."""
    return _is_word(node, ("on", "true", "yes"))


def _is_word(node: yaml.Node | None, words: tuple[str, ...]) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _BOOLEAN and node.value.lower() in words
