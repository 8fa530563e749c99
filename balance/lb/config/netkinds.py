"""Kinds of values for networks, host names and DNS services, and for the number of workers."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from balance.config.address import Address, Endpoint
from balance.config.kinds import Kind, Text

_LABEL = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_LABELS = rf"{_LABEL}(\.{_LABEL})*"


class Network(Kind):
    """``10.0.0.0/8``, ``2001:db8::/32``, a single address, or ``unix`` for clients on a Unix socket."""

    noun = "network"
    words = "10.0.0.0/8, 2001:db8::/32, 192.0.2.1 or unix"

    def parse(self, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | str:
        if text == "unix":
            return text
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            raise self.invalid(text, f"{error}: write it like {self.words}") from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(unix|[0-9A-Fa-f.:]+(/[0-9]{1,3})?)$"}


class HostPort(Endpoint):
    """``name:port``, a host name to resolve and a port. An empty text means None."""

    def __init__(self) -> None:
        super().__init__(unix=False, example="api.example.org:8080")
        self.words = "name:port"

    def parse(self, text: str) -> Address | None:  # type: ignore[override]  # the empty text alone
        return super().parse(text) if text else None


HOST = Text(
    rf"(?=.{{1,253}}$)((\*\.)?{_LABELS}|\[[0-9A-Fa-f:.]+\])", "write it like example.org or *.example.org, without a port", "host",
    words="example.org, *.example.org or [::1]", check=str.lower,
)  # fmt: skip
"""A host to match: a name, ``*.`` and a name for all subdomains, or an IPv6 address in brackets; lower case, without a port."""


class WorkerCount(Kind):
    """The number of worker processes; 0 stands for ``auto``, one per processor."""

    noun = "number of workers"
    maximum = 64
    words = f"auto, or 1 to {maximum}"

    def parse(self, text: str) -> int:
        if text == "auto":
            return 0
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= self.maximum:
            raise self.invalid(text, f"must be {self.words}")
        return int(text)

    def written(self, value: int) -> Any:
        return value or "auto"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": self.maximum}, {"const": "auto"}]}
