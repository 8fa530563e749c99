"""What was made held against what a running system has: it may have more, such as defaults that it filled in, but nothing else."""

from __future__ import annotations

from typing import Any

HIDDEN = "<secret>"
"""What Alertmanager shows instead of a secret."""


def differences(made: Any, there: Any, path: str = "") -> list[str]:
    """Where `there` lacks something that was made or has something else: ``panels[2].title: made 'a', there 'b'``."""
    if there == HIDDEN:
        return []
    if isinstance(made, dict) and isinstance(there, dict):
        return [line for key, value in made.items() for line in _entry(value, there, key, f"{path}.{key}" if path else str(key))]
    if isinstance(made, list) and isinstance(there, list) and len(made) == len(there):
        return [line for index, pair in enumerate(zip(made, there, strict=True)) for line in differences(*pair, f"{path}[{index}]")]
    if isinstance(made, list) and isinstance(there, list):
        return [f"{path}: {len(made)} made, {len(there)} there"]
    return [] if made == there else [f"{path}: made {_short(made)}, there {_short(there)}"]


def _entry(value: Any, there: dict[str, Any], key: str, path: str) -> list[str]:
    if key in there:
        return differences(value, there[key], path)
    return [] if value in (None, "", False) or value == [] or value == {} else [f"{path}: made {_short(value)}, not there"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
