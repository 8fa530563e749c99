"""The ticks of an axis and their labels."""

from __future__ import annotations

import math

from balance.preview.formats import formatted, scaled

_TIMES = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31556900)


def ticks(low: float, high: float, unit: str, count: int = 5) -> list[float]:
    """About `count` round values in equal steps that cover `low` to `high`, in the unit (Grafana's id)."""
    if high <= low:
        high = low + (abs(low) or 1)
    step = _step((high - low) / count, unit)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, last + 1)]


def _step(rough: float, unit: str) -> float:
    if unit == "s" and rough > 30:
        return next((float(step) for step in _TIMES if step >= rough), _TIMES[-1] * math.ceil(rough / _TIMES[-1]))
    if unit == "bytes" and rough >= 1:
        return 2.0 ** math.ceil(math.log2(rough))
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))


def tick_label(value: float, unit: str) -> str:
    """The label of a tick, with as few decimals as are exact."""
    if math.isinf(value):
        return formatted(value, unit)
    number, _ = scaled(value, unit)
    decimals = next((places for places in range(6) if math.isclose(round(number, places), number, rel_tol=1e-9, abs_tol=1e-12)), 6)
    return formatted(value, unit, decimals)
