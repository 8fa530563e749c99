"""Compare generated configuration with that of a running system, which may have more keys, such as defaults, but no other values."""

from __future__ import annotations

from typing import Any

HIDDEN = "<secret>"
"""Shown by Alertmanager in place of a secret."""


def differences(made: Any, there: Any, path: str = "") -> list[str]:
    """Where `there` lacks a generated value or has another one: ``panels[2].title: generated 'a', found 'b'``."""
    if there == HIDDEN:
        return []
    if isinstance(made, dict) and isinstance(there, dict):
        return [line for key, value in made.items() for line in _entry(value, there, key, f"{path}.{key}" if path else str(key))]
    if isinstance(made, list) and isinstance(there, list) and len(made) == len(there):
        return [line for index, pair in enumerate(zip(made, there, strict=True)) for line in differences(*pair, f"{path}[{index}]")]
    if isinstance(made, list) and isinstance(there, list):
        return [f"{path}: {len(made)} generated, {len(there)} found"]
    return [] if made == there else [f"{path}: generated {_short(made)}, found {_short(there)}"]


def _entry(value: Any, there: dict[str, Any], key: str, path: str) -> list[str]:
    if key in there:
        return differences(value, there[key], path)
    return [] if value in (None, "", False) or value == [] or value == {} else [f"{path}: generated {_short(value)}, missing"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
