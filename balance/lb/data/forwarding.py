"""Headers that tell backends about the client: X-Forwarded-For, -Proto and -Host, Forwarded (RFC 7239), Via (RFC 9110 section 7.6.3).

Theory. Such fields from a client are not trusted and are dropped, unless the client is a trusted proxy; then ours are appended to them.
Lines that depend only on the client are made once per connection (`Peer.suffix`) and end every head; lines that depend on the request
come just before. `Forwarded` has both in one line: `begin` ends with its first half, the suffix begins with the second.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from balance.lb.config.model import Forwarding
from balance.lb.data.fields import Line, name_of
from balance.lb.policy.networks import covered

_FOR, _HOST, _PROTO, _FORWARDED = b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a client's connection.

    `name`: its address, or "unix"; `local`: the authority that it connected to; `suffix`: the end of heads for backends; `proto`: http or
    https; `trusted`: it is a trusted proxy.
    """

    name: str
    local: bytes
    suffix: bytes
    proto: bytes = b"http"
    trusted: bool = False


class ForwardingFields:
    """The fields about clients that a configuration asks for."""

    def __init__(self, policy: Forwarding) -> None:
        self._policy = policy
        self._via = policy.via.encode()
        self._beginnings = {http10: self._beginning(http10=http10) for http10 in (False, True)}

    def __repr__(self) -> str:
        return f"<ForwardingFields {self._policy}>"

    def peer(self, address: str, local: bytes, *, secure: bool = False) -> Peer:
        """The peer at an IP address, or "unix" for a Unix socket. `secure`: it uses TLS."""
        proto = b"https" if secure else b"http"
        if self._trusts(address):
            return Peer(address, local, b"\r\n", proto, trusted=True)
        lines = []
        if self._policy.forwarded:
            lines.append(_element(address, proto))
        if self._policy.x_forwarded:
            lines += [b"X-Forwarded-For: " + address.encode()] * (address != "unix") + [b"X-Forwarded-Proto: " + proto]
        return Peer(address, local, b"".join(line + b"\r\n" for line in (*lines, b"")), proto)

    def begin(self, host: bytes, *, http10: bool) -> bytes:
        """The lines about a request of an untrusted peer, whose suffix must follow."""
        return self._beginnings[http10].replace(b"\0", host)

    def _beginning(self, *, http10: bool) -> bytes:
        lines = [b"X-Forwarded-Host: \0"] * self._policy.x_forwarded + [self.via(http10=http10)] * bool(self._via)
        return b"".join(line + b"\r\n" for line in lines) + b'Forwarded: host="\0";' * self._policy.forwarded

    def append(self, host: bytes, peer: Peer, received: Sequence[Line], *, http10: bool) -> bytes:
        """The lines about a request of a trusted proxy: the `received` fields, with ours appended."""
        said: dict[bytes, list[bytes]] = {}
        others = []
        for _kind, text, value in received:
            name = name_of(text)
            if name in (_FOR, _HOST, _PROTO, _FORWARDED):
                said.setdefault(name, []).append(value)
            else:
                others.append(text)
        lines = others
        if self._policy.x_forwarded:
            lines.append(b"X-Forwarded-Host: " + b", ".join(said.get(_HOST, [host])))
            hops = [value for value in said.get(_FOR, []) if value] + [peer.name.encode()] * (peer.name != "unix")
            lines += [b"X-Forwarded-For: " + b", ".join(hops)] * bool(hops)
            lines.append(b"X-Forwarded-Proto: " + b", ".join(said.get(_PROTO, [peer.proto])))
        if self._policy.forwarded:
            element = b'host="' + host + b'";' + _element(peer.name, peer.proto)
            lines.append(b"Forwarded: " + b", ".join([*said.get(_FORWARDED, []), element]))
        if self._via:
            lines.append(self.via(http10=http10))
        return b"".join(line + b"\r\n" for line in lines)

    def via(self, *, http10: bool = False) -> bytes:
        """The Via line for a message of this version; empty if Via is off."""
        return (b"Via: 1.0 " if http10 else b"Via: 1.1 ") + self._via if self._via else b""

    def client(self, peer: Peer, received: Sequence[Line]) -> str:
        """The client behind a trusted proxy: the last address in X-Forwarded-For that is not a trusted proxy (the first if all are)."""
        hops = [hop.strip() for _kind, text, value in received if name_of(text) == _FOR for hop in value.decode("latin-1").split(",")]
        found = peer.name
        for hop in reversed(hops):
            try:
                found = str(ipaddress.ip_address(hop.partition("%")[0]))  # without the zone, which may be any text
            except ValueError:  # an obfuscated name or a host name: unknown
                break
            if not self._trusts(found):
                break
        return found

    def _trusts(self, address: str) -> bool:
        return covered(address, self._policy.trusted_proxies)


def _element(address: str, proto: bytes) -> bytes:
    """The element of `Forwarded` for a peer, without the host (RFC 7239 section 6: IPv6 addresses in brackets and quotes)."""
    node = "unknown" if address == "unix" else f'"[{address}]"' if ":" in address else address
    return f"for={node};proto=".encode() + proto
