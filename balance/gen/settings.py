"""A settings file and `--set key.path=value` to `Settings`. Whether thresholds and alerts of that name exist is known only once
the sources are loaded, and checked there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, get_args

from balance.catalog import metrics
from balance.catalog.model import TARGET_LABELS, is_name
from balance.errors import Problem, SettingsError, suggestion
from balance.monitoring.settings import AlertSettings, PrometheusSettings, Settings, Severity

_DURATION = r"(?:(\d{1,3})w)?(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?"
_LENGTHS = (604800, 86400, 3600, 60, 1)
RUNTIMES = tuple(metrics.RUNTIMES)


def load(file: str | None, assignments: list[str]) -> Settings:
    """Settings from an optional YAML file, with `assignments` (``thresholds.error_ratio=0.02``) laid over it.

    Raises `SettingsError` with every unknown key and every value of the wrong kind.
    """
    if file is None and not assignments:
        return Settings()
    tree = _file(file) if file else {}
    for assignment in assignments:
        _assign(tree, assignment)
    reader = _Reader(file or "--set")
    settings = Settings(**reader.mapping("", tree, _TOP))
    if reader.problems:
        raise SettingsError(problems=reader.problems)
    return settings


def _file(name: str) -> dict[str, Any]:
    import yaml

    try:
        with open(name, "rb") as stream:
            tree = yaml.load(stream, _unique_keys())  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=name, cure="check the path given with --settings") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise SettingsError(f"is no YAML: {problem}", where=f"{name}{line}", cure="mend the file") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError("is no mapping", where=name, cure=f"write keys and values; keys: {', '.join(sorted(_TOP))}")
    return tree


def _unique_keys() -> Any:
    """YAML's SafeLoader, refusing a key that is given twice: one of the two would be lost."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for index, key in enumerate(keys):
                if key in keys[:index]:
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.value[index][0].start_mark)
            return super().construct_mapping(node, deep)

    return Loader


def _assign(tree: dict[str, Any], assignment: str) -> None:
    import yaml

    path, equals, value = assignment.partition("=")
    keys = path.split(".")
    if not (equals and all(keys)):
        raise SettingsError("assigns nothing", where=f"--set {assignment}", cure="write key.path=value, for example thresholds.error_ratio=0.02")
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise SettingsError(f"{key!r} is no mapping", where=f"--set {assignment}", cure="give a key below a mapping")
        tree = below
    try:
        tree[keys[-1]] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        tree[keys[-1]] = value


class _RefusedError(Exception):
    """A value that a setting cannot have: what is wrong, and the cure."""


class _Reader:
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
            field, read = table[key]
            try:
                result[field] = read(self, place, value)
            except _RefusedError as refusal:
                self.refuse(place, *refusal.args)
        return result

    def items(self, path: str, tree: Any) -> list[tuple[str, Any]]:
        if isinstance(tree, dict):
            return [(str(key), value) for key, value in tree.items()]
        self.refuse(path, "is no mapping", "write keys and values")
        return []

    def refuse(self, path: str, what: str, cure: str) -> None:
        self.problems.append(Problem(f"{self.source}: {path}", what, cure))


Read = Callable[[_Reader, str, Any], Any]
Table = Mapping[str, tuple[str, Read]]


def _text(_: _Reader, _path: str, value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    raise _RefusedError(f"{value!r} is no text", "write a non-empty text")


def _one_of(*options: str) -> Read:
    def read(_: _Reader, _path: str, value: Any) -> str:
        if value in options:
            return str(value)
        raise _RefusedError(f"{value!r} is not known", suggestion(str(value), options))

    return read


def _texts(_: _Reader, _path: str, value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if items and all(isinstance(item, str) and item for item in items):
        return tuple(items)
    raise _RefusedError(f"{value!r} is no list of texts", "write a list of texts")


def _none_or_texts(reader: _Reader, path: str, value: Any) -> tuple[str, ...]:
    return () if value == [] else _texts(reader, path, value)


def _labels(reader: _Reader, path: str, value: Any) -> tuple[str, ...]:
    names = _texts(reader, path, value)
    for name in names:
        if not is_name(name) or name in TARGET_LABELS:
            raise _RefusedError(f"{name!r} is no label to keep", "write names of labels besides job and instance, for example [cluster, namespace]")
    return names


def _address(reader: _Reader, path: str, value: Any) -> str:
    return _text(reader, path, value).rstrip("/")


def duration_of(text: str) -> int | None:
    """The seconds of a duration as Prometheus writes it, None if it is none."""
    found = re.fullmatch(_DURATION, text) if text else None
    return sum(int(count) * length for count, length in zip(found.groups(), _LENGTHS, strict=True) if count) if found else None


def _duration(_: _Reader, _path: str, value: Any) -> int:
    seconds = duration_of(value) if isinstance(value, str) else None
    if seconds is None:
        raise _RefusedError(f"{value!r} is no duration", "write a number with its unit: 0s, 30s, 5m, 1h30m")
    return seconds


def _interval(reader: _Reader, path: str, value: Any) -> int:
    seconds = _duration(reader, path, value)
    if seconds:
        return seconds
    raise _RefusedError("must be longer than nothing", "write 15s")


def _thresholds(reader: _Reader, path: str, value: Any) -> dict[str, float]:
    numbers = {}
    for name, number in reader.items(path, value):
        if isinstance(number, str):
            with suppress(ValueError):
                number = float(number)  # YAML 1.1 takes 1e9 for a text
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            reader.refuse(f"{path}.{name}", f"{number!r} is no number", "write a number in the threshold's base unit")
        else:
            numbers[name] = number
    return numbers


def _objectives(reader: _Reader, path: str, value: Any) -> dict[str, Decimal]:
    return {name: Decimal(repr(share)) for name, share in _thresholds(reader, path, value).items()}


def _alerts(reader: _Reader, path: str, value: Any) -> dict[str, AlertSettings]:
    return {name: AlertSettings(**reader.mapping(f"{path}.{name}", chosen, _ALERT)) for name, chosen in reader.items(path, value)}


def _prometheus(reader: _Reader, path: str, value: Any) -> PrometheusSettings:
    return PrometheusSettings(**reader.mapping(path, value, _PROMETHEUS))


_ALERT: Table = {"for": ("wait", _duration), "severity": ("severity", _one_of(*get_args(Severity)))}
_PROMETHEUS: Table = {
    "scrape_interval": ("scrape_interval", _interval),
    "evaluation_interval": ("evaluation_interval", _interval),
    "targets": ("targets", _texts),
    "rule_files": ("rule_files", _texts),
    "alertmanagers": ("alertmanagers", _none_or_texts),
}
_TOP: Table = {
    "job": ("job", _text),
    "keep_labels": ("keep_labels", _labels),
    "runbook_base": ("runbook_base", _address),
    "grafana_url": ("grafana_url", _address),
    "runtime": ("runtime", _one_of(*RUNTIMES)),
    "thresholds": ("thresholds", _thresholds),
    "objectives": ("objectives", _objectives),
    "alerts": ("alerts", _alerts),
    "prometheus": ("prometheus", _prometheus),
}
