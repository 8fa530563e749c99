"""The grammar of durations and sizes, for configuration files and PromQL. Standard library only."""

from __future__ import annotations

import re
from decimal import Decimal

_DURATIONS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
"""Milliseconds by unit."""
_SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
DURATION = "(?=[0-9])" + "".join(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?{unit})?" for unit in _DURATIONS)
"""Regular expression: numbers with units, each unit at most once, the longest first (https://prometheus.io/docs/prometheus/latest/configuration/)."""
SIZE = f"([0-9]{{1,16}})({'|'.join(_SIZES)})"


def parse_duration(text: str) -> float | None:
    """Parse a duration (``1h30m``, ``1.5m``, ``100ms``, ``1d``). Returns seconds, or None if it is invalid."""
    match = re.fullmatch(DURATION, text)
    if not match:
        return None
    parts = zip(match.groups(), _DURATIONS.items(), strict=True)
    return float(sum(Decimal(part.removesuffix(unit)) * factor for part, (unit, factor) in parts if part) / 1000)


def format_duration(seconds: float) -> str:
    """Format seconds as a duration, from weeks down to milliseconds: 5400 is ``1h30m``, 0 is ``0s``. `parse_duration` returns the same number."""
    rest = round(seconds * 1000)
    if rest / 1000 != seconds:
        return f"{seconds:.9f}".rstrip("0") + "s"
    text = ""
    for unit, factor in list(_DURATIONS.items())[1:]:
        count, rest = divmod(rest, factor)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_size(text: str) -> int | None:
    """Parse a size (``512``, ``32KiB``, ``1MB``). Returns bytes, or None if it is invalid."""
    match = re.fullmatch(SIZE, text)
    return int(match[1]) * _SIZES[match[2]] if match else None


def format_size(count: int) -> str:
    """Format a number of bytes, in the largest binary unit that gives a whole number: 32768 is ``32KiB``."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if count and count % _SIZES[unit] == 0), "")
    return f"{count // _SIZES[unit]}{unit}"
