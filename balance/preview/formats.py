"""Numbers with their units, as Grafana writes them.

Theory. Grafana scales a number to its unit's prefix or to the largest unit of time that fits, and then shows three significant digits, or all digits
of an integer (@grafana/data, valueFormats/baseFormatters and dateTimeFormatters). The tests compare this with @grafana/data 13 itself and with a
table of its results.
"""

from __future__ import annotations

import math
from decimal import Decimal

_SHORT = ("", " K", " Mil", " Bil", " Tri", " Quadr", " Quint", " Sext", " Sept")
_COUNT = ("", "K", "M", "B", "T")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SI = ("f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E", "Z", "Y")

_SCALED: dict[str, tuple[int, tuple[str, ...], int]] = {
    "short": (1000, _SHORT, 0),
    "reqps": (1000, tuple(f"{prefix} req/s" for prefix in _COUNT), 0),
    "cps": (1000, tuple(f"{prefix} c/s" for prefix in _COUNT), 0),
    "bytes": (1024, tuple(f" {prefix}B" for prefix in _BINARY), 0),
    "Bps": (1000, tuple(f" {prefix}B/s" for prefix in _SI), _SI.index("")),
}
"""By unit: the factor between prefixes, the suffixes, and the index of the one without a prefix."""
_TIMES = (
    (1e-6, 1e-9, " ns"), (1e-3, 1e-6, " µs"), (1, 1e-3, " ms"), (60, 1, " s"),
    (3600, 60, " min"), (86400, 3600, " hour"), (604800, 86400, " day"), (31536000, 604800, " week"), (math.inf, 31556900, " year"),
)  # fmt: skip
"""Upper limit in seconds, length of the unit in seconds, its suffix."""


def formatted(value: float | None, unit: str, decimals: int | None = None) -> str:
    """A value with the Grafana unit id `unit`: ``1234, "reqps"`` is ``1.23K req/s``. Empty for None."""
    if value is None:
        return ""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    number, suffix = scaled(value, unit)
    return digits(number, decimals if value or unit != "s" else 0) + suffix


def scaled(value: float, unit: str) -> tuple[float, str]:
    """The number to show for a finite value, and its suffix."""
    if unit == "percentunit":
        return 100 * value, "%"
    if unit == "s":
        return _time(value)
    if unit not in _SCALED:
        return value, ""
    factor, suffixes, one = _SCALED[unit]
    power = math.floor(math.log10(abs(value)) / math.log10(factor)) if value else 0
    power = max(-one, min(power, len(suffixes) - one - 1))
    return value / float(factor) ** power, suffixes[one + power]


def _time(value: float) -> tuple[float, str]:
    if not value:
        return 0.0, " s"
    _, one, name = next(row for row in _TIMES if abs(value) < row[0])
    number = value * round(1 / one) if one < 1 else value / one
    return number, name + ("s" if one >= 60 and abs(number) > 1 else "")


def digits(number: float, decimals: int | None = None) -> str:
    """A number with `decimals`, by default as many as three significant digits need; very large and small ones with an exponent, as in JavaScript."""
    if decimals is None:
        decimals = _decimals(number)
    if decimals > 300:
        return repr(number)
    power = 10.0**decimals
    raised = number * power
    rounded = (math.floor(raised + 0.5) if abs(raised) < 2**52 else raised) / power
    if rounded and not 1e-6 <= abs(rounded) < 1e21:
        return repr(rounded).replace("e-0", "e-")
    return f"{Decimal(repr(rounded)):.{decimals}f}"


def _decimals(number: float) -> int:
    if number % 1 == 0:
        return 0
    return max(0, 2 - math.floor(math.log(abs(number)) / math.log(10)))
