"""Kinds of scalar values: how each is read, written and described. The same text forms serve files, environment and command line."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

from balance.config import units
from balance.errors import suggestion

MASK = "***"
"""What is shown in place of what may be a secret."""
OFF = ("off", "false", "no")
"""How YAML spells false where it means a part that is switched off."""
ON = ("on", "true", "yes")


class KindError(ValueError):
    """A text that is not of the kind: what is wrong with it, and the rule or the cure."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


class Kind:
    """One kind of scalar. `noun` names it in messages, `words` on reference pages; `quoted`: it must be a string, also where YAML sees a number."""

    noun = "value"
    words = "text"
    quoted = False

    def parse(self, text: str) -> Any:
        """The value that the text stands for. Raises `KindError`."""
        return text

    def schema(self) -> dict[str, Any]:
        """The kind as JSON Schema."""
        return {"type": "string"}

    def written(self, value: Any) -> Any:
        """The value as JSON that reads back as the same."""
        return value if isinstance(value, bool | int | float) else str(value)

    def shown(self, value: Any) -> Any:
        """The same for everyone's eyes: what may be a secret is masked."""
        return self.written(value)

    def invalid(self, text: str, cure: str) -> KindError:
        """The error for a text that is not of the kind."""
        return KindError(f"invalid {self.noun} {text[:80]!r}", cure)


class Duration(Kind):
    """``100ms``, ``1.5m``, ``1h30m``, ``1d``: seconds, more than `least` and at most `most`. `may_be_off`: ``off`` stands for 0 seconds.

    `whole`: a whole number of seconds, as an int, which is what Prometheus' rules and Alertmanager's routes take.
    """

    noun = "duration"

    def __init__(self, least: float = 0, most: float = 604_800, *, may_be_off: bool = False, whole: bool = False) -> None:
        self.least, self.most, self.may_be_off, self.whole = least, most, may_be_off, whole
        self.words = "duration" + " above 0s" * (whole and least == 0) + ", or off" * may_be_off

    def parse(self, text: str) -> float:
        if self.may_be_off and text.lower() in OFF:
            return 0.0
        seconds = units.length(text)
        if seconds is None:
            raise self.invalid(text, "write it like 100ms, 10s or 1h30m" + ", or off" * self.may_be_off)
        if not self.least < seconds <= self.most:
            above = "more than 0s, " * (self.least == 0)
            raise self.invalid(text, f"must be {above}at most {units.duration(self.most)}" + ", or off" * self.may_be_off)
        if self.whole and seconds != int(seconds):
            raise self.invalid(text, "must be a whole number of seconds")
        return int(seconds) if self.whole else seconds

    def written(self, value: float) -> Any:
        return units.duration(value) if value or not self.may_be_off else False

    def schema(self) -> dict[str, Any]:
        form = {"type": "string", "pattern": f"^{units.DURATION}$"}
        return {"anyOf": [form, {"const": False}]} if self.may_be_off else form


class Size(Kind):
    """``32KiB``, ``1MB`` or plain bytes, from `least` to `most` bytes."""

    noun = "size"
    words = "size: 32KiB, 1MB or bytes"

    def __init__(self, least: int = 0, most: int = 2**50) -> None:
        self.least, self.most = least, most

    def parse(self, text: str) -> int:
        size = units.size(text)
        if size is None:
            raise self.invalid(text, "write it like 512, 32KiB or 1MB")
        if not self.least <= size <= self.most:
            raise self.invalid(text, f"must be {units.bytes_text(self.least)} to {units.bytes_text(self.most)}")
        return size

    def written(self, value: int) -> Any:
        text = units.bytes_text(value)
        return value if text.isdigit() else text

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": self.least}, {"type": "string", "pattern": f"^{units.SIZE}$"}]}


class Number(Kind):
    """A number, a whole one as an int, within bounds where there are any."""

    noun = "number"
    pattern, type = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", "number"

    def __init__(self, least: float = -math.inf, most: float = math.inf) -> None:
        self.least, self.most = least, most
        what = {"number": "number", "integer": "whole number"}[self.type]
        bounds = "" if least == -math.inf else f"{least} or more" if most == math.inf else f"{least} to {most}"
        self.words = bounds if most != math.inf else what
        self.rule = f"must be a {what}" + (f", {bounds}" if bounds else "")

    def parse(self, text: str) -> Any:
        if not re.fullmatch(self.pattern, text):
            raise self.invalid(text, self.rule)
        number = int(text) if re.fullmatch("[-+]?[0-9]+", text) else float(text)
        if not self.least <= number <= self.most:
            raise self.invalid(text, self.rule)
        return number

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.least, "maximum": self.most}
        return {"type": self.type, **{key: bound for key, bound in bounds.items() if math.isfinite(bound)}}


class Integer(Number):
    """A whole number within bounds."""

    pattern, type = r"-?[0-9]{1,15}", "integer"


class Choice(Kind):
    """One word of a closed set."""

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
    """``true`` or ``false``, also as YAML's on, off, yes, no."""

    words = "true or false"

    def parse(self, text: str) -> bool:
        if text.lower() not in (*ON, *OFF):
            raise self.invalid(text, "must be true or false")
        return text.lower() in ON

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Text(Kind):
    """A text that matches a pattern; `rule` says in words what that is. `check` may refuse more (`KindError`), or make something of it."""

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
    """The path of a file; the walker makes a relative one start at the folder of the configuration file."""

    noun = "path"
    words = "path of a file"

    def parse(self, text: str) -> str:
        if "\0" in text:
            raise self.invalid(text, "name a file")
        return text

    def written(self, value: str) -> Any:
        """From the root, so that it is the same file wherever the configuration lies."""
        return os.path.abspath(value)
