"""Kinds that say where: addresses to listen at and to connect to, networks, names of hosts and of services in DNS."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from balance.lb.config.kinds import Kind, KindError
from balance.lb.config.model import Address

_LABELS = r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*"


class Network(Kind):
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


class Endpoint(Kind):
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


class Service(Endpoint):
    """``name:port``: a name whose addresses DNS knows. An empty text is none at all."""

    def __init__(self) -> None:
        super().__init__(listening=False)
        self.cure = "write it as api.example.org:8080"

    def parse(self, text: str) -> Address | None:  # type: ignore[override]  # the empty text alone
        if not text:
            return None
        if text.startswith("unix:"):
            raise KindError(f"{text!r} is no name in DNS", self.cure)
        return super().parse(text)


class HostPattern(Kind):
    """``example.org``, ``*.example.org`` for everything below it, or an address in brackets where it is of IPv6: in lower case, without a port."""

    def parse(self, text: str) -> str:
        name = text.lower()
        if not re.fullmatch(rf"(\*\.)?{_LABELS}|\[[0-9a-f:.]+\]", name) or len(name) > 253:
            raise KindError(f"{text!r} is no host to match", "write it as example.org or *.example.org, without a port")
        return name

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^((\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])$"}
