"""Header fields on their way through, as pure functions: which are ours to remove, replace or refuse (RFC 9110 section 7.6.1).

Names and values stay the bytes that were received: case, order, repetitions and characters beyond ASCII are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from balance.lb.data.wire import Header, WireError
from balance.lb.policy.faults import Fault


class Field(Enum):
    """What a field means to the balancer. A policy of this product: names with an underscore are dropped from requests, because
    many frameworks cannot tell ``X_Forwarded_For`` from ``X-Forwarded-For``."""

    PLAIN = 1
    """passed on as it is"""
    HOP = 2
    """ends here: meant for this connection only"""
    CONNECTION = 3
    HOST = 4
    LENGTH = 5
    CODING = 6
    EXPECT = 7
    FORWARDED = 8
    """states who the client is: not believed"""
    UNDERSCORED = 9
    UPGRADE = 10
    """ends here too, unless it is offered anew (`protocols`)"""
    INVALID = 11
    """no token (RFC 9110 section 5.6.2)"""


_SPECIAL = {
    b"connection": Field.CONNECTION, b"host": Field.HOST, b"content-length": Field.LENGTH, b"transfer-encoding": Field.CODING,
    b"expect": Field.EXPECT, b"forwarded": Field.FORWARDED, b"x-real-ip": Field.FORWARDED,
    b"keep-alive": Field.HOP, b"proxy-connection": Field.HOP, b"te": Field.HOP, b"trailer": Field.HOP, b"upgrade": Field.UPGRADE,
    b"proxy-authenticate": Field.HOP, b"proxy-authorization": Field.HOP, b"http2-settings": Field.HOP,
}  # fmt: skip
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PROTOCOL = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+(?:/[!#$%&'*+.^_`|~0-9a-z-]+)?")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_HARMLESS_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"trailer", b"http2-settings", b""})
_USUAL = frozenset({b"close", b"keep-alive", b"Keep-Alive"})
_PROTECTED = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)
_REMEMBERED = 1024


class _Fields(dict[bytes, Field]):
    """What the field of a name means. Names seen before are remembered, up to a bound: a peer can send any number of them."""

    def __missing__(self, name: bytes) -> Field:
        found = _classify(name)
        if len(self) < _REMEMBERED and len(name) <= 64:
            self[name] = found
        return found


def _classify(name: bytes) -> Field:
    if not _TOKEN.fullmatch(name):
        return Field.INVALID
    lower = name.lower()
    if lower.startswith(b"x-forwarded-"):
        return Field.FORWARDED
    if b"_" in name:
        return Field.UNDERSCORED
    return _SPECIAL.get(lower, Field.PLAIN)


FIELDS = _Fields()


def options(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, in lower case."""
    return [option.strip(b" \t") for option in value.lower().split(b",")]


def upgrades(headers: Sequence[Header]) -> list[bytes]:
    """The values of `Upgrade`, as they are."""
    return [value for name, value in headers if FIELDS[name] is Field.UPGRADE]


def protocols(values: list[bytes]) -> frozenset[bytes]:
    """What the values of `Upgrade` name, in lower case; nothing if one of them is no protocol (RFC 9110 section 7.8)."""
    names = frozenset(options(b",".join(values))) - {b""}
    return names if all(map(_PROTOCOL.fullmatch, names)) else frozenset()


def without(lines: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    """Header lines but those of these fields (lower case)."""
    return [line for line in lines if line.partition(b":")[0].lower() not in names]


def without_nominated(lines: list[bytes], connection: list[bytes], fault: Fault) -> list[bytes]:
    """Header lines but those that the values of `Connection` declare to be hop-by-hop.

    Raises `WireError` with `fault` if that would remove what the next hop needs in order to understand the message.
    """
    if all(value in _USUAL for value in connection):
        return lines
    names = frozenset(option for value in connection for option in options(value)) - _HARMLESS_OPTIONS
    if not names.isdisjoint(_PROTECTED):
        raise WireError(fault)
    return without(lines, names) if names else lines


def valid_host(value: bytes) -> bool:
    """Whether it is ``uri-host [":" port]`` (RFC 9110 section 7.2), and not empty."""
    return _HOST.fullmatch(value) is not None


def head(lines: list[bytes], fault: Fault) -> bytes:
    """The head of a message; raises `WireError` with `fault` if a line holds a control character other than a tab."""
    text = b"\r\n".join(lines)
    if len(text.translate(None, _CONTROLS)) != len(text) - 2 * (len(lines) - 1):
        raise WireError(fault)
    return text + b"\r\n\r\n"
