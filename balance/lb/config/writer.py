"""The inverse of the reader: writes a configuration as the content of a file, with all defaults, as JSON (which is YAML)."""

from __future__ import annotations

from typing import Any

from balance.config.kinds import Kind
from balance.config.schema import Field, Section, Table
from balance.lb.config.model import Config
from balance.lb.config.schema import CONFIG


def written(config: Config, *, masked: bool = False) -> dict[str, Any]:
    """A file's content that means this configuration. Files are given by their paths. `masked`: hide possible secrets in the configuration
    itself: the values of header fields and the query of a health check's path."""
    return _section(CONFIG, config, masked=masked)


def _section(section: Section, value: Any, *, masked: bool) -> dict[str, Any]:
    values = section.arguments(value)
    return {
        field.key: _field(field, values[field.name], masked=masked)
        for field in section.fields
        if field.name in values and _is_stated(field, values[field.name]) and (not field.only or values[field.only[0]] == field.only[1])
    }


def _is_stated(field: Field, value: Any) -> bool:
    """True if the file has to contain the key: it has a value, or it is off."""
    if isinstance(field.kind, Section):
        return value != () if value is not None else field.kind.may_be_off
    return field.default != "" or value not in (None, "", ())


def _field(field: Field, value: Any, *, masked: bool) -> Any:
    if field.many or field.several:
        return [_single(field.kind, one, masked=masked) for one in value]
    return _single(field.kind, value, masked=masked)


def _single(kind: Kind | Section | Table, value: Any, *, masked: bool) -> Any:
    if value is None:
        return False
    if isinstance(kind, Section):
        return _section(kind, value, masked=masked)
    if isinstance(kind, Table):
        return {kind.keys.written(name): _single(kind.values, text, masked=masked) for name, text in value}
    return kind.shown(value) if masked else kind.written(value)
