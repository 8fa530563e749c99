"""A YAML file as a tree of nodes with positions, and the environment variables and assignments that override parts of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from balance.config.kinds import OFF, ON
from balance.config.schema import Section, variables
from balance.errors import BalanceError, Problem, nearest

_MAP, _MERGE, _BOOLEAN, _NULL, STRING = (f"tag:yaml.org,2002:{name}" for name in ("map", "merge", "bool", "null", "str"))


def read_text(path: str, cure: str, error: type[BalanceError]) -> str:
    """Read a file as UTF-8. Raises `error` with `cure` if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as reason:
        raise error(f"cannot be read: {(reason.strerror or str(reason)).lower()}", where=path or "''", cure=cure) from None
    except UnicodeDecodeError:
        raise error("is not UTF-8 text", where=path, cure="save it as UTF-8") from None


def compose(text: str, source: str, error: type[BalanceError]) -> yaml.Node | None:
    """Parse a YAML document into a tree, None if it is empty; `source` is its name in messages. Raises `error` if it is invalid."""
    try:
        loader = yaml.SafeLoader(text)
        loader.name = source
        return loader.get_single_node()
    except yaml.MarkedYAMLError as reason:
        line = reason.problem_mark.line + 1 if reason.problem_mark else 1
        context = f"{reason.context}, " if (reason.problem or "").startswith("but ") else ""
        raise error(f"invalid YAML: {context}{reason.problem}", where=f"{source}:{line}", cure="fix the syntax") from None
    except yaml.YAMLError as reason:
        raise error(f"invalid YAML: {' '.join(str(reason).split())}", where=source, cure="fix the syntax") from None
    except RecursionError:
        raise error("is nested too deeply", where=source, cure="reduce the number of levels") from None


def scalar(text: str, source: str) -> yaml.ScalarNode:
    """A string node from another `source` than a file, such as ``--set``."""
    return yaml.ScalarNode(STRING, text, yaml.Mark(source, 0, 0, 0, None, 0))


def is_word(node: yaml.Node | None, words: tuple[str, ...]) -> bool:
    """True for an unquoted YAML boolean that is one of `words` (`ON`, `OFF`)."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _BOOLEAN and node.value.lower() in words


def items(node: yaml.MappingNode, seen: tuple[yaml.Node, ...] = ()) -> list[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a mapping: its own, then those that it merges (``<<: *other``) and does not have itself."""
    own, merged = [], list[yaml.Node]()
    for key, value in node.value:
        if key.tag == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        else:
            own.append((key, value))
    for other in merged:
        if isinstance(other, yaml.MappingNode) and other not in seen:
            names = {str(key.value) for key, _ in own}
            own += [(key, value) for key, value in items(other, (*seen, node)) if str(key.value) not in names]
    return own


def with_assignment(root: yaml.Node | None, assignment: str) -> yaml.Node:
    """The tree with the value of ``--set key.path=value``, which is YAML, or else a string. Raises `ValueError` (what, cure)."""
    path, equals, text = assignment.partition("=")
    keys = tuple(path.split("."))
    if not (equals and all(keys)):
        raise ValueError("invalid assignment", "write key.path=value, for example thresholds.error_ratio=0.02")
    try:
        value = compose(text, "--set", BalanceError) or yaml.ScalarNode(_NULL, "", scalar("", "--set").start_mark)
    except BalanceError:
        value = scalar(text, "--set")
    return with_value(root, keys, value)


def with_value(node: yaml.Node | None, path: tuple[str, ...], value: yaml.Node) -> yaml.Node:
    """A copy of the tree with the value at the key path. Raises `ValueError` (what, cure) if a node above it is not a mapping."""
    if not path:
        return value
    source = value.start_mark.name
    if node is None or is_word(node, ON):
        node = yaml.MappingNode(_MAP, [], scalar("", source).start_mark)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"cannot set {path[0]!r}: its parent is not a mapping", "set the parent instead")
    key, *below = path
    at = next((index for index, (name, _) in enumerate(node.value) if name.value == key), len(node.value))
    before = node.value[at] if at < len(node.value) else (scalar(key, source), None)
    pair = (before[0] if below else scalar(key, source), with_value(before[1], tuple(below), value))
    return yaml.MappingNode(node.tag, [*node.value[:at], pair, *node.value[at + 1 :]], node.start_mark)


def with_environment(
    root: yaml.Node | None, section: Section, environment: Mapping[str, str], prefix: str, foreign: tuple[str, ...] = ()
) -> tuple[yaml.Node | None, list[Problem]]:
    """The tree with the values of the environment variables with that prefix, and their problems; names that begin with `foreign` are ignored."""
    known, problems = dict(variables(section, prefix)), []
    for name in sorted(environment):
        if not name.startswith(prefix) or name.startswith(foreign):
            continue
        path = known.get(name) or next(_in_tables(name, known), None)
        if path is None:
            near = nearest(name.removeprefix(prefix), (other.removeprefix(prefix) for other in known))
            problems.append(
                Problem(name, "unknown variable", f"did you mean {prefix}{near}?" if near else f"unset it: the prefix {prefix} is reserved")
            )
            continue
        try:
            root = with_value(root, path, scalar(environment[name], name))
        except ValueError:
            problems += _conflicts(name, root, path)
    return root, problems


def _in_tables(name: str, known: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    return ((*path, name.removeprefix(start).lower()) for start, path in known.items() if start.endswith("_") and name.startswith(start))


def _conflicts(name: str, root: yaml.Node | None, path: tuple[str, ...]) -> Iterator[Problem]:
    """A problem if the variable belongs to a section that the file switches off; other wrong values are reported where they are read."""
    for depth, key in enumerate(path):
        if is_word(root, OFF):
            yield Problem(name, f"is set, but the file says {'.'.join(path[:depth])}: off", "unset it, or remove the off")
            return
        root = next((value for known, value in items(root) if known.value == key), None) if isinstance(root, yaml.MappingNode) else None
