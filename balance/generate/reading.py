"""How settings are read: a tree of keys and values along tables of keys, everything that is wrong with it collected."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from balance.errors import Problem, suggestion

_DURATION = r"(?:(\d{1,3})w)?(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?"
_LENGTHS = (604800, 86400, 3600, 60, 1)


class RefusedError(Exception):
    """A value that a setting cannot have: what is wrong, and the cure."""


class Reader:
    """Walks a tree along a table of keys, converts the values and collects what is wrong with them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []

    def mapping(self, path: str, tree: Any, table: Table) -> dict[str, Any]:
        """The values of a mapping under the names of the record's fields."""
        result = {}
        for key, value in self.items(path, tree):
            place = f"{path}.{key}" if path else key
            if key not in table:
                self.refuse(place, "is no setting", suggestion(key, table))
                continue
            field, read, _ = table[key]
            try:
                result[field] = read(self, place, value)
            except RefusedError as refusal:
                self.refuse(place, *refusal.args)
        return result

    def items(self, path: str, tree: Any) -> list[tuple[str, Any]]:
        if isinstance(tree, dict):
            return [(str(key), value) for key, value in tree.items()]
        self.refuse(path, "is no mapping", "write keys and values")
        return []

    def refuse(self, path: str, what: str, cure: str) -> None:
        self.problems.append(Problem(f"{self.source}: {path}", what, cure))


Read = Callable[[Reader, str, Any], Any]
"""Converts a value, or refuses it; its docstring says what kind of value it takes."""
Table = Mapping[str, tuple[str, Read, str]]
"""By key: the record's field, how the value is read, and what it means."""


class Section:
    """Reads a mapping into a record; or, where there are `names`, a mapping from names to such mappings."""

    def __init__(self, record: type[Any], table: Table, names: str = "") -> None:
        self.record, self.table, self.names = record, table, names

    def __call__(self, reader: Reader, path: str, value: Any) -> Any:
        if not self.names:
            return self.made(reader.mapping(path, value, self.table))
        return {name: self.made(reader.mapping(f"{path}.{name}", chosen, self.table)) for name, chosen in reader.items(path, value)}

    def made(self, fields: dict[str, Any]) -> Any:
        """What becomes of the fields that are given."""
        return self.record(**fields)


class Part(Section):
    """Reads what differs from a record that is declared elsewhere: the fields that are given, and no others."""

    def made(self, fields: dict[str, Any]) -> Any:
        """The fields themselves."""
        return fields


def text(_: Reader, _path: str, value: Any) -> str:
    """text"""
    if isinstance(value, str) and value:
        return value
    raise RefusedError(f"{value!r} is no text", "write a non-empty text")


def one_of(*options: str) -> Read:
    def read(_: Reader, _path: str, value: Any) -> str:
        if value in options:
            return str(value)
        raise RefusedError(f"{value!r} is not known", suggestion(str(value), options))

    read.__doc__ = f"one of {', '.join(options)}"
    return read


def texts(_: Reader, _path: str, value: Any) -> tuple[str, ...]:
    """list of texts"""
    items = value if isinstance(value, list) else [value]
    if items and all(isinstance(item, str) and item for item in items):
        return tuple(items)
    raise RefusedError(f"{value!r} is no list of texts", "write a list of texts")


def switch(_: Reader, _path: str, value: Any) -> bool:
    """true or false"""
    if isinstance(value, bool):
        return value
    raise RefusedError(f"{value!r} is no switch", "write true or false")


def whole(_: Reader, _path: str, value: Any) -> int:
    """whole number"""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise RefusedError(f"{value!r} is no whole number above 0", "write 1")


def duration_of(text: str) -> int | None:
    """The seconds of a duration as Prometheus writes it, None if it is none."""
    found = re.fullmatch(_DURATION, text) if text else None
    return sum(int(count) * length for count, length in zip(found.groups(), _LENGTHS, strict=True) if count) if found else None


def duration(_: Reader, _path: str, value: Any) -> int:
    """duration"""
    seconds = duration_of(value) if isinstance(value, str) else None
    if seconds is None:
        raise RefusedError(f"{value!r} is no duration", "write a number with its unit: 0s, 30s, 5m, 1h30m")
    return seconds


def interval(reader: Reader, path: str, value: Any) -> int:
    """duration above 0s"""
    seconds = duration(reader, path, value)
    if seconds:
        return seconds
    raise RefusedError("must be longer than nothing", "write 15s")
