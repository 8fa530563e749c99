"""Kinds of scalar values: how each is parsed, written and described. Files, environment variables and the command line share them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

from balance.config import units
from balance.errors import suggestion

MASK = "***"
"""Shown in place of a value that may be a secret."""
OFF = ("off", "false", "no")
"""YAML's words for false, which switch a part off."""
ON = ("on", "true", "yes")


class KindError(ValueError):
    """An invalid text: what is wrong with it, and the rule or the cure."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


class Kind:
    """A kind of scalar. `noun` names it in messages, `words` on reference pages. `quoted`: the YAML value must be a string, never a number."""

    noun = "value"
    words = "text"
    quoted = False

    def parse(self, text: str) -> Any:
        """Parse a text. Returns the value; raises `KindError`."""
        return text

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the kind."""
        return {"type": "string"}

    def written(self, value: Any) -> Any:
        """The value as JSON, which reads back as the same value."""
        return value if isinstance(value, bool | int | float) else str(value)

    def shown(self, value: Any) -> Any:
        """Like `written`, with possible secrets masked."""
        return self.written(value)

    def invalid(self, text: str, cure: str) -> KindError:
        """The error for an invalid text."""
        return KindError(f"invalid {self.noun} {text[:80]!r}", cure)


class Duration(Kind):
    """A duration such as ``100ms``, ``1.5m``, ``1h30m`` or ``1d``, in seconds: more than `minimum`, at most `maximum`.

    `may_be_off`: ``off`` means 0 seconds. `whole`: whole seconds only, as an int, which Prometheus' rules and Alertmanager's routes need.
    """

    noun = "duration"

    def __init__(self, minimum: float = 0, maximum: float = 604_800, *, may_be_off: bool = False, whole: bool = False) -> None:
        self.minimum, self.maximum, self.may_be_off, self.whole = minimum, maximum, may_be_off, whole
        self.words = "duration" + " above 0s" * (whole and minimum == 0) + ", or off" * may_be_off

    def parse(self, text: str) -> float:
        if self.may_be_off and text.lower() in OFF:
            return 0.0
        seconds = units.parse_duration(text)
        if seconds is None:
            raise self.invalid(text, "write it like 100ms, 10s or 1h30m" + ", or off" * self.may_be_off)
        if not self.minimum < seconds <= self.maximum:
            above = "more than 0s, " * (self.minimum == 0)
            raise self.invalid(text, f"must be {above}at most {units.format_duration(self.maximum)}" + ", or off" * self.may_be_off)
        if self.whole and seconds != int(seconds):
            raise self.invalid(text, "must be a whole number of seconds")
        return int(seconds) if self.whole else seconds

    def written(self, value: float) -> Any:
        return units.format_duration(value) if value or not self.may_be_off else False

    def schema(self) -> dict[str, Any]:
        form = {"type": "string", "pattern": f"^{units.DURATION}$"}
        return {"anyOf": [form, {"const": False}]} if self.may_be_off else form


class Size(Kind):
    """``32KiB``, ``1MB`` or plain bytes, from `minimum` to `maximum` bytes."""

    noun = "size"
    words = "size: 32KiB, 1MB or bytes"

    def __init__(self, minimum: int = 0, maximum: int = 2**50) -> None:
        self.minimum, self.maximum = minimum, maximum

    def parse(self, text: str) -> int:
        size = units.parse_size(text)
        if size is None:
            raise self.invalid(text, "write it like 512, 32KiB or 1MB")
        if not self.minimum <= size <= self.maximum:
            raise self.invalid(text, f"must be {units.format_size(self.minimum)} to {units.format_size(self.maximum)}")
        return size

    def written(self, value: int) -> Any:
        text = units.format_size(value)
        return value if text.isdigit() else text

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": self.minimum}, {"type": "string", "pattern": f"^{units.SIZE}$"}]}


class Number(Kind):
    """A number from `minimum` to `maximum`; whole numbers are ints."""

    noun = "number"
    pattern, type = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", "number"

    def __init__(self, minimum: float = -math.inf, maximum: float = math.inf) -> None:
        self.minimum, self.maximum = minimum, maximum
        what = {"number": "number", "integer": "whole number"}[self.type]
        bounds = "" if minimum == -math.inf else f"{minimum} or more" if maximum == math.inf else f"{minimum} to {maximum}"
        self.words = bounds if maximum != math.inf else what
        self.rule = f"must be a {what}" + (f", {bounds}" if bounds else "")

    def parse(self, text: str) -> Any:
        if not re.fullmatch(self.pattern, text):
            raise self.invalid(text, self.rule)
        number = int(text) if re.fullmatch("[-+]?[0-9]+", text) else float(text)
        if not self.minimum <= number <= self.maximum:
            raise self.invalid(text, self.rule)
        return number

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": self.type, **{key: bound for key, bound in bounds.items() if math.isfinite(bound)}}


class Integer(Number):
    """A whole number from `minimum` to `maximum`."""

    pattern, type = r"-?[0-9]{1,15}", "integer"


class Choice(Kind):
    """One of several words."""

    def __init__(self, *values: str) -> None:
        self.values = values
        self.words = f"one of {', '.join(values)}"

    def parse(self, text: str) -> str:
        if text not in self.values:
            raise self.invalid(text, suggestion(text, self.values))
        return text

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}


class Flag(Kind):
    """``true`` or ``false``; YAML's on, off, yes and no are accepted too."""

    words = "true or false"

    def parse(self, text: str) -> bool:
        if text.lower() not in (*ON, *OFF):
            raise self.invalid(text, "must be true or false")
        return text.lower() in ON

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Text(Kind):
    """A text that matches a regular expression, which `rule` describes in words. `check` may raise `KindError`, or convert the text."""

    def __init__(
        self, pattern: str, rule: str, noun: str = "value", *, words: str = "", quoted: bool = False, check: Callable[[str], Any] = str
    ) -> None:
        self.pattern, self.rule, self.noun, self.quoted, self.check = pattern, rule, noun, quoted, check
        self.words = words or rule

    def parse(self, text: str) -> Any:
        if not re.fullmatch(self.pattern, text):
            raise self.invalid(text, self.rule)
        return self.check(text)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({self.pattern})$"}


class File(Kind):
    """The path of a file. The walker resolves relative paths against the folder of the configuration file."""

    noun = "path"
    words = "path of a file"

    def parse(self, text: str) -> str:
        if "\0" in text:
            raise self.invalid(text, "name a file")
        return text

    def written(self, value: str) -> Any:
        """The absolute path, which does not depend on the folder of the configuration."""
        return os.path.abspath(value)
