"""Reads a configuration file by the schema: one walk over YAML nodes, so that every problem knows its line and key path.

All problems are collected and raised together. The environment overrides every scalar outside lists: `BALANCE_` and the key path
in capitals, joined by underscores (`timeouts.first_byte` is `BALANCE_TIMEOUTS_FIRST_BYTE`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml

from balance.errors import Problem, suggestion
from balance.lb.config.kinds import File, Kind, KindError
from balance.lb.config.model import Config
from balance.lb.config.schema import CONFIG, Field, Section
from balance.lb.errors import ConfigError

PREFIX = "BALANCE_"
FOREIGN = ("BALANCE_SERVICE_", "BALANCE_PORT")
"""What Kubernetes and container links set for a service that is called "balance": none of our business."""
_BOOLEAN = "tag:yaml.org,2002:bool"


def load(path: str, environment: Mapping[str, str]) -> Config:
    """The configuration in the file at `path`; raises `ConfigError` with every problem."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(f"cannot be read: {(error.strerror or str(error)).lower()}", where=path, cure="name a readable file with -c") from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", where=path, cure="save it as UTF-8") from None
    return parse(text, path, environment)


def parse(text: str, source: str, environment: Mapping[str, str]) -> Config:
    """The configuration that `text` states; `source` is its name in messages; raises `ConfigError` with every problem."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"is no YAML: {error.problem}", where=f"{source}:{line}", cure="mend the syntax") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is no YAML: {' '.join(str(error).split())}", where=source, cure="mend the syntax") from None
    except RecursionError:
        raise ConfigError("is nested too deeply", where=source, cure="the configuration has four levels") from None
    if node is None:
        raise ConfigError("is empty", where=source, cure="at least listen and backends are needed")
    walker = _Walker(source, environment)
    config: Config = walker.section(CONFIG, node, "")
    walker.check_environment()
    if walker.problems:
        raise ConfigError(problems=walker.problems)
    return config


def variables(section: Section = CONFIG, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The environment variables that override something, each with its key path."""
    for field in section.fields:
        here = (*path, field.key)
        if isinstance(field.kind, Section):
            if not field.many:
                yield from variables(field.kind, here)
        elif not field.later:
            yield PREFIX + "_".join(here).upper(), ".".join(here)


class _Walker:
    """One reading of one file: gathers values and problems."""

    def __init__(self, source: str, environment: Mapping[str, str]) -> None:
        self.source = source
        self.environment = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        self.problems: list[Problem] = []

    def complain(self, node: yaml.Node | None, path: str, what: str, cure: str) -> None:
        place = f"{self.source}:{node.start_mark.line + 1}" if node else self.source
        self.problems.append(Problem(f"{place}: {path}" if path else place, what, cure))

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
        return [name for name, key in variables() if name in self.environment and f"{key}.".startswith(f"{path}.")]

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
        absent = section.absent if node is None and not self.overridden(path) else {}
        before = len(self.problems)
        values = {field.key: self._value(field, node, nodes, path, absent) for field in section.fields if not field.later}
        if len(self.problems) == before:
            for key, what, cure in section.check(values):
                self.complain(nodes.get(key) or node, f"{path}.{key}", what, cure)
        return section.make(**values)

    def _keys(self, section: Section, node: yaml.MappingNode | None, path: str) -> dict[str, yaml.Node]:
        fields = {field.key: field for field in section.fields}
        found: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value if node else ():
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            here = f"{path}.{key}" if path else key
            if key not in fields:
                self.complain(key_node, here, "unknown key", suggestion(key, (field.key for field in section.fields if not field.later)))
            elif fields[key].later:
                self.complain(key_node, here, "is not supported yet", "remove it")
            elif key in found:
                self.complain(key_node, here, "is given twice", f"first in line {found[key].start_mark.line + 1}: remove one")
            else:
                found[key] = value_node
        return found

    def _value(self, field: Field, parent: yaml.Node | None, nodes: Mapping[str, yaml.Node], path: str, absent: Mapping[str, str]) -> Any:
        node = nodes.get(field.key)
        here = f"{path}.{field.key}" if path else field.key
        kind = field.kind
        name = PREFIX + here.replace(".", "_").upper()
        if name in self.environment and not isinstance(kind, Section) and "[" not in here:
            value = self._parse(kind, self.environment[name], lambda what, cure: self.problems.append(Problem(name, what, cure)))
            return (value,) if field.several else value
        if node is None and field.unless in nodes:
            return ()
        if node is None and field.default is None:
            self.complain(parent, here, "is missing", f"it is required: {field.doc}")
            return None
        if field.several and field.default == "" and (node is None or (isinstance(node, yaml.SequenceNode) and not node.value)):
            return ()
        if field.many or (field.several and isinstance(node, yaml.SequenceNode)):
            return self._list(kind, node, here)
        if isinstance(kind, Section):
            return self.section(kind, node, here)
        value = self._scalar(kind, node, here) if node is not None else kind.parse(absent.get(field.key, field.default or ""))
        return (value,) if field.several else value

    def _list(self, kind: Kind | Section, node: yaml.Node | None, path: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.complain(node, path, "must be a list with at least one entry", "begin each entry with a dash")
            return ()
        values, names = [], dict[Any, int]()
        for index, child in enumerate(node.value):
            here = f"{path}[{index}]"
            value = self.section(kind, child, here) if isinstance(kind, Section) else self._scalar(kind, child, here)
            identity = getattr(value, "name", value)
            if identity is not None and identity in names:
                self.complain(child, here, f"{str(identity)!r} is already in line {names[identity]}", "each may be there once")
            names.setdefault(identity, child.start_mark.line + 1)
            values.append(value)
        return tuple(values)

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


def _is_off(node: yaml.Node | None) -> bool:
    """Whether it is YAML's ``off`` (which reads as false)."""
    return _is_word(node, ("off", "false", "no"))


def _is_on(node: yaml.Node | None) -> bool:
    """Whether it is YAML's ``on`` (which reads as true)."""
    return _is_word(node, ("on", "true", "yes"))


def _is_word(node: yaml.Node | None, words: tuple[str, ...]) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _BOOLEAN and node.value.lower() in words
