"""Kinds of scalar values: how each is written, read and described. The same text forms serve the file and the environment."""

from __future__ import annotations

import os
import re
from typing import Any

from balance.errors import choices


class KindError(ValueError):
    """A text that is not of the kind: what is wrong with it and how it should look."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


MASK = "***"
"""What is shown in place of what may be a secret."""


class Kind:
    """One kind of scalar."""

    def parse(self, text: str) -> Any:
        """The value that the text stands for; raises `KindError`."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """The kind as JSON Schema."""
        raise NotImplementedError

    def written(self, value: Any) -> Any:
        """The value as JSON that reads back as the same."""
        return value if isinstance(value, bool | int | float) else str(value)

    def shown(self, value: Any) -> Any:
        """The same for everyone's eyes: what may be a secret is masked."""
        return self.written(value)


OFF = ("off", "false", "no")
"""How YAML spells false where it means a part that is switched off."""
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BINARY = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
_SIZE_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class Duration(Kind):
    """``100ms``, ``1.5s``, ``10m``, ``1h``: seconds, more than 0 and at most a week. Where it may be ``off``, that is 0 seconds."""

    most = 7 * 24 * 3600.0

    def __init__(self, *, may_be_off: bool = False) -> None:
        self.may_be_off = may_be_off
        self.cure = "write it as 100ms, 10s, 1m or 1h" + ", or off" * may_be_off

    def parse(self, text: str) -> float:
        if self.may_be_off and text.lower() in OFF:
            return 0.0
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", text)
        if not match:
            raise KindError(f"{text!r} is no duration", self.cure)
        seconds = float(match[1]) * _DURATION_UNITS[match[2]]
        if not 0 < seconds <= self.most:
            raise KindError(f"{text!r} is out of range", "more than 0, at most 168h" + ", or off" * self.may_be_off)
        return seconds

    def written(self, value: float) -> Any:
        """In the greatest unit that gives a whole number, or else in the one that gives the very value."""
        if not value:
            return False
        texts = [f"{value / _DURATION_UNITS[unit]:.6f}".rstrip("0").rstrip(".") + unit for unit in ("h", "m", "s", "ms")]
        exact = [text for text in texts if self._reads_as(text, value)]
        return next((text for text in exact if "." not in text), exact[0] if exact else texts[-1])

    def _reads_as(self, text: str, value: float) -> bool:
        try:
            return self.parse(text) == value
        except KindError:
            return False

    def schema(self) -> dict[str, Any]:
        form = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h)$"}
        return {"anyOf": [form, {"const": False}]} if self.may_be_off else form


class Size(Kind):
    """``32KiB``, ``1MB`` or plain bytes, within bounds."""

    def __init__(self, least: int = 0, most: int = 2**50) -> None:
        self.least, self.most = least, most

    def parse(self, text: str) -> int:
        match = re.fullmatch(r"(\d{1,16})([A-Za-z]*)", text)
        if not match or match[2] not in _SIZE_UNITS:
            raise KindError(f"{text!r} is no size", "write it as 512, 32KiB or 1MB")
        size = int(match[1]) * _SIZE_UNITS[match[2]]
        if not self.least <= size <= self.most:
            raise KindError(f"{text!r} is out of range", f"{self.least} to {self.most} bytes")
        return size

    def written(self, value: int) -> Any:
        return next((f"{value // size}{unit}" for unit, size in _BINARY if value and value % size == 0), value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": self.least}, {"type": "string", "pattern": "^[0-9]{1,16}(B|KB|MB|GB|KiB|MiB|GiB)?$"}]}


class Integer(Kind):
    """A whole number within bounds."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"-?\d{1,15}", text):
            raise KindError(f"{text!r} is no whole number", f"{self.least} to {self.most}")
        number = int(text)
        if not self.least <= number <= self.most:
            raise KindError(f"{number} is out of range", f"{self.least} to {self.most}")
        return number

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


class Decimal(Kind):
    """A number, perhaps with a fraction, within bounds."""

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    def parse(self, text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text):
            raise KindError(f"{text!r} is no number", f"{self.least} to {self.most}")
        if not self.least <= float(text) <= self.most:
            raise KindError(f"{text} is out of range", f"{self.least} to {self.most}")
        return float(text)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.least, "maximum": self.most}


class Choice(Kind):
    """One word of a closed set."""

    def __init__(self, *values: str) -> None:
        self.values = values

    def parse(self, text: str) -> str:
        if text not in self.values:
            raise KindError(f"{text!r} is not supported", f"choices: {choices(self.values)}")
        return text

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}


class Workers(Kind):
    """The number of worker processes; 0 stands for ``auto``, one for each processor."""

    most = 64

    def parse(self, text: str) -> int:
        if text == "auto":
            return 0
        if not re.fullmatch(r"\d{1,9}", text) or not 1 <= int(text) <= self.most:
            raise KindError(f"{text!r} is no number of workers", f"auto, or 1 to {self.most}")
        return int(text)

    def written(self, value: int) -> Any:
        return value or "auto"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": self.most}, {"const": "auto"}]}


class Flag(Kind):
    """``true`` or ``false``, also as YAML's on, off, yes, no."""

    words = {"true": True, "false": False, "on": True, "off": False, "yes": True, "no": False}  # noqa: RUF012 -- a constant table

    def parse(self, text: str) -> bool:
        if text.lower() not in self.words:
            raise KindError(f"{text!r} is neither true nor false", "choices: true, false")
        return self.words[text.lower()]

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Text(Kind):
    """A text that matches a pattern."""

    def __init__(self, pattern: str, cure: str) -> None:
        self.pattern, self.cure = pattern, cure

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise KindError(f"{text!r} is not allowed", self.cure)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({self.pattern})$"}


class Target(Text):
    """The target of a request, whose query may hold a key."""

    def shown(self, value: str) -> Any:
        path, mark, _query = value.partition("?")
        return path + mark + MASK * bool(mark)


class File(Kind):
    """The path of a file; a relative one starts at the folder of the configuration file (the reader sees to it)."""

    def parse(self, text: str) -> str:
        if "\0" in text:
            raise KindError(f"{text!r} is no path", "name a file")
        return text

    def written(self, value: str) -> Any:
        """From the root, so that it is the same file wherever the configuration lies."""
        return os.path.abspath(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}
