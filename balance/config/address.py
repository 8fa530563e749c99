"""Addresses: where to listen and where to connect."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from balance.config.kinds import Kind, KindError


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: a host and port, or the path of a Unix socket. An empty host means every interface."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Endpoint(Kind):
    """``host:port``, ``[::1]:port`` or, with `unix`, ``unix:path``; if `listening` also ``:port`` (every interface) and port 0 (any free port)."""

    noun = "address"

    def __init__(self, *, listening: bool = False, unix: bool = True, example: str = "10.0.0.1:8080") -> None:
        self.listening, self.unix = listening, unix
        forms = [example, "[::1]:8080", *[":8080"] * listening, *["unix:path"] * unix]
        self.rule = f"write it like {', '.join(forms[:-1])} or {forms[-1]}"
        self.words = ", ".join(["host:port", "[::1]:port", *[":port"] * listening, *["unix:path"] * unix])

    def parse(self, text: str) -> Address:
        if text.startswith("unix:"):
            if not self.unix:
                raise self.invalid(text, self.rule)
            path = text.removeprefix("unix:")
            if not 1 <= len(path.encode()) <= 107:
                raise self.invalid(text, "the path of a socket must have 1 to 107 bytes")
            return Address(path=path)
        host, colon, port = text.rpartition(":")
        if not colon or not (host or self.listening):
            raise self.invalid(text, f"a {'host' if colon else 'port'} is missing: {self.rule}")
        least = int(not self.listening)
        if not re.fullmatch("[0-9]{1,5}", port) or not least <= int(port) <= 65535:
            raise KindError(f"invalid port {port!r}", f"must be {least} to 65535")
        return Address(self._host(host), int(port))

    def _host(self, host: str) -> str:
        """Check a host. Returns IPv6 addresses without brackets, in their shortest form."""
        try:
            if host.startswith("[") and host.endswith("]"):
                return str(ipaddress.IPv6Address(host[1:-1]))
            if re.fullmatch("[0-9.]+", host):
                return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise KindError(f"invalid IP address {host!r}", self.rule) from None
        if host and not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,252}", host):
            raise KindError(f"invalid host {host!r}", self.rule)
        return host

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(unix:.+|.*:[0-9]{1,5})$" if self.unix else r"^.*:[0-9]{1,5}$"}
