"""The subset of Prometheus' templates that alerts use: ``{{ $value | humanize }}``, ``{{ $labels.x }}``, ``{{ with ... }}...{{ else }}...{{ end }}``.

The functions follow Prometheus' template/template.go; the tests compare them with promtool.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping

from balance.catalog.model import BYTES, RATIO, SECONDS, Unit
from balance.errors import RenderError

_ACTION = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_LARGE, _SMALL, _BINARY = (
    ("k", "M", "G", "T", "P", "E", "Z", "Y"),
    ("m", "u", "n", "p", "f", "a", "z", "y"),
    ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"),
)
_HUMANIZE = {RATIO: ("humanizePercentage", ""), SECONDS: ("humanizeDuration", ""), BYTES: ("humanize1024", "B")}
"""The function that writes a value of the unit, and what follows it."""


def humanized(argument: str, unit: Unit) -> str:
    """A template that writes `argument` in the unit: ``{{ $value | humanizePercentage }}``."""
    function, suffix = _HUMANIZE.get(unit, ("humanize", ""))
    return f"{{{{ {argument} | {function} }}}}{suffix}"


def expand(template: str, labels: Mapping[str, str], value: float) -> str:
    """Expand an annotation for an alert with these labels and this value. Raises `RenderError` for anything outside the subset."""
    pieces = _ACTION.split(template)  # text at even indexes, actions at odd ones
    text, end = _block(pieces, 0, labels, value, "")
    if end < len(pieces):
        raise RenderError(f"unexpected {{{{ {pieces[end]} }}}}", where=template, cure="remove it, or open a block before it")
    return text


def _block(pieces: list[str], at: int, labels: Mapping[str, str], value: float, dot: str) -> tuple[str, int]:
    """The expanded text up to the ``else`` or ``end`` that closes the block, and the index of that action."""
    text = pieces[at]
    at += 1
    while at < len(pieces) and pieces[at] not in ("else", "end"):
        keyword, _, argument = pieces[at].partition(" ")
        if keyword in ("with", "if"):
            given = _value(argument.strip(), labels, value, dot)
            then, at = _block(pieces, at + 1, labels, value, given if keyword == "with" else dot)
            otherwise = ""
            if at < len(pieces) and pieces[at] == "else":
                otherwise, at = _block(pieces, at + 1, labels, value, dot)
            if at >= len(pieces):
                raise RenderError(f"{{{{ {keyword} {argument} }}}} is not closed", cure="add {{ end }}")
            text += then if given else otherwise
        else:
            text += _value(pieces[at], labels, value, dot)
        text += pieces[at + 1]
        at += 2
    return text, at


def _value(pipeline: str, labels: Mapping[str, str], value: float, dot: str) -> str:
    argument, *functions = (part.strip() for part in pipeline.split("|"))
    if argument == ".":
        result = dot
    elif argument.startswith("$labels."):
        result = labels.get(argument.removeprefix("$labels."), "")
    elif argument.startswith('"') and argument.endswith('"'):
        result = argument[1:-1]
    elif argument == "$value" and functions:
        result = repr(value)
    else:
        raise RenderError(f"unsupported template action {{{{ {pipeline} }}}}", cure="use $labels.NAME, or $value or a string with a function")
    for function in functions:
        if function not in FUNCTIONS:
            raise RenderError(f"unknown template function {function!r}", cure=f"choices: {', '.join(FUNCTIONS)}")
        result = FUNCTIONS[function](float(result))
    return result


def significant(value: float) -> str:
    """A value with four significant digits, as Go prints ``%.4g``."""
    if math.isnan(value):
        return "NaN"
    return f"{value:.4g}" if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"


def _unscaled(value: float) -> bool:
    return value == 0 or not math.isfinite(value)


def _scaled(value: float, prefixes: tuple[str, ...], factor: float, enough: Callable[[float], bool]) -> tuple[float, str]:
    last = ""
    for prefix in prefixes:
        if enough(abs(value)):
            break
        last, value = prefix, value * factor if prefixes is _SMALL else value / factor
    return value, last


def _humanize(value: float) -> str:
    if _unscaled(value):
        return significant(value)
    if abs(value) >= 1:
        value, prefix = _scaled(value, _LARGE, 1000, lambda size: size < 1000)
    else:
        value, prefix = _scaled(value, _SMALL, 1000, lambda size: size >= 1)
    return significant(value) + prefix


def _humanize1024(value: float) -> str:
    if abs(value) <= 1 or _unscaled(value):
        return significant(value)
    value, prefix = _scaled(value, _BINARY, 1024, lambda size: size < 1024)
    return significant(value) + prefix


def _humanize_duration(value: float) -> str:
    if not math.isfinite(value):
        return significant(value)
    if value == 0:
        return "0s"
    if abs(value) < 1:
        value, prefix = _scaled(value, _SMALL, 1000, lambda size: size >= 1)
        return f"{significant(value)}{prefix}s"
    return ("-" if value < 0 else "") + "".join(_duration_parts(abs(value)))


def _duration_parts(value: float) -> Iterator[str]:
    whole = int(value)
    days, hours, minutes, seconds = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if whole < 60:
        yield f"{significant(value)}s"
        return
    if days:
        yield f"{days}d "
    if days or hours:
        yield f"{hours}h "
    yield f"{minutes}m {seconds}s"


FUNCTIONS: dict[str, Callable[[float], str]] = {
    "humanize": _humanize,
    "humanize1024": _humanize1024,
    "humanizeDuration": _humanize_duration,
    "humanizePercentage": lambda value: f"{significant(value * 100)}%",
}
