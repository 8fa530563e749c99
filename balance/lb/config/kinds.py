"""Kinds of scalar values: how each is written, read and described. The same text forms serve the file and the environment."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Protocol

from balance.errors import choices
from balance.lb.config.model import Address


class KindError(ValueError):
    """A text that is not of the kind: what is wrong with it and how it should look."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


class Kind(Protocol):
    """One kind of scalar."""

    def parse(self, text: str) -> Any:
        """The value that the text stands for; raises `KindError`."""

    def schema(self) -> dict[str, Any]:
        """The kind as JSON Schema."""


_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class Duration:
    """``100ms``, ``1.5s``, ``10m``, ``1h``: seconds, more than 0 and at most a week."""

    most = 7 * 24 * 3600.0
    cure = "write it as 100ms, 10s, 1m or 1h"

    def parse(self, text: str) -> float:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", text)
        if not match:
            raise KindError(f"{text!r} is no duration", self.cure)
        seconds = float(match[1]) * _DURATION_UNITS[match[2]]
        if not 0 < seconds <= self.most:
            raise KindError(f"{text!r} is out of range", "more than 0, at most 168h")
        return seconds

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h)$"}


class Size:
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

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": self.least}, {"type": "string", "pattern": "^[0-9]{1,16}(B|KB|MB|GB|KiB|MiB|GiB)?$"}]}


class Integer:
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


class Choice:
    """One word of a closed set. `later` names what the contract knows and this version does not do yet."""

    def __init__(self, *values: str, later: tuple[str, ...] = ()) -> None:
        self.values, self.later = values, later

    def parse(self, text: str) -> str:
        if text not in self.values:
            raise KindError(f"{text!r} is not supported{' yet' * (text in self.later)}", f"choices: {choices(self.values)}")
        return text

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}


class Workers:
    """The number of worker processes: one, until there is a supervisor."""

    def parse(self, text: str) -> int:
        if text != "1":
            later = text == "auto" or (text.isdecimal() and int(text) > 1)
            raise KindError(f"{text!r} is not supported{' yet' * later}", "choices: 1")
        return 1

    def schema(self) -> dict[str, Any]:
        return {"const": 1}


class Flag:
    """``true`` or ``false``, also as YAML's on, off, yes, no."""

    words = {"true": True, "false": False, "on": True, "off": False, "yes": True, "no": False}  # noqa: RUF012 -- a constant table

    def parse(self, text: str) -> bool:
        if text.lower() not in self.words:
            raise KindError(f"{text!r} is neither true nor false", "choices: true, false")
        return self.words[text.lower()]

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Text:
    """A text that matches a pattern."""

    def __init__(self, pattern: str, cure: str) -> None:
        self.pattern, self.cure = pattern, cure

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise KindError(f"{text!r} is not allowed", self.cure)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


class Network:
    """``10.0.0.0/8``, ``2001:db8::/32``, a single address, or ``unix`` for whoever comes by a Unix socket."""

    def parse(self, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | str:
        if text == "unix":
            return text
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            raise KindError(f"{text!r} is no network: {error}", "write it as 10.0.0.0/8, 2001:db8::/32, 192.0.2.1 or unix") from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(unix|[0-9A-Fa-f.:]+(/[0-9]{1,3})?)$"}


class File:
    """The path of a file; a relative one starts at the folder of the configuration file (the reader sees to it)."""

    def parse(self, text: str) -> str:
        if "\0" in text:
            raise KindError(f"{text!r} is no path", "name a file")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class Endpoint:
    """``host:port``, ``[::1]:port`` or ``unix:path``; where one listens also ``:port`` (every interface) and port 0 (any free one)."""

    def __init__(self, *, listening: bool) -> None:
        self.listening = listening
        self.cure = f"write it as 10.0.0.1:8080, [::1]:8080{', :8080' * listening} or unix:path"

    def parse(self, text: str) -> Address:
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path or len(path.encode()) > 107:
                raise KindError(f"{text!r} has no usable path", "a socket path of 1 to 107 bytes")
            return Address(path=path)
        host, colon, port = text.rpartition(":")
        if not colon:
            raise KindError(f"{text!r} has no port", self.cure)
        if not re.fullmatch(r"\d{1,5}", port) or not int(not self.listening) <= int(port) <= 65535:
            raise KindError(f"{port!r} is no port", f"{int(not self.listening)} to 65535")
        return Address(self._host(text, host), int(port))

    def _host(self, text: str, host: str) -> str:
        if not host and self.listening:
            return ""
        if host.startswith("[") and host.endswith("]"):
            try:
                return str(ipaddress.IPv6Address(host[1:-1]))
            except ValueError:
                raise KindError(f"{host!r} is no IPv6 address", self.cure) from None
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})", host):
            raise KindError(f"{text!r} has no valid host", self.cure)
        if re.fullmatch(r"[\d.]+", host):
            try:
                ipaddress.IPv4Address(host)
            except ValueError:
                raise KindError(f"{host!r} is no IPv4 address", self.cure) from None
        return host

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(unix:.+|.*:[0-9]{1,5})$"}
