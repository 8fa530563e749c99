"""Header fields on their way through: what a field means to the balancer, by its name (RFC 9110 section 7.6.1).

Names and values stay the bytes that were received: case, order, repetitions and characters beyond ASCII are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache


class FieldKind(Enum):
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
    """states who the client is: believed of trusted proxies only"""
    UNDERSCORED = 9
    UPGRADE = 10
    """ends here too, unless it is offered anew (`protocols`)"""
    INVALID = 11
    """no token (RFC 9110 section 5.6.2)"""
    TRACE = 12
    """whose trace it is part of: passed on, and noted"""


Line = tuple[FieldKind, bytes, bytes]
"""One field: what it means, the line to send for it (without its end), and its value."""

_SPECIAL = {
    b"connection": FieldKind.CONNECTION, b"host": FieldKind.HOST, b"content-length": FieldKind.LENGTH, b"transfer-encoding": FieldKind.CODING,
    b"expect": FieldKind.EXPECT, b"forwarded": FieldKind.FORWARDED, b"x-real-ip": FieldKind.FORWARDED,
    b"keep-alive": FieldKind.HOP, b"proxy-connection": FieldKind.HOP, b"te": FieldKind.HOP, b"trailer": FieldKind.HOP, b"upgrade": FieldKind.UPGRADE,
    b"proxy-authenticate": FieldKind.HOP, b"proxy-authorization": FieldKind.HOP, b"http2-settings": FieldKind.HOP,
    b"traceparent": FieldKind.TRACE,
}  # fmt: skip
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_PROTOCOL = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+(?:/[!#$%&'*+.^_`|~0-9a-z-]+)?")
CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)
"""What no value may hold: the control characters but for the tab."""
_REMEMBERED = 1024


class _Fields(dict[bytes, FieldKind]):
    """What the field of a name means. Names seen before are remembered, up to a bound: a peer can send any number of them."""

    def __missing__(self, name: bytes) -> FieldKind:
        found = _classify(name)
        if len(self) < _REMEMBERED and len(name) <= 64:
            self[name] = found
        return found


def _classify(name: bytes) -> FieldKind:
    if not _TOKEN.fullmatch(name):
        return FieldKind.INVALID
    lower = name.lower()
    if lower.startswith(b"x-forwarded-"):
        return FieldKind.FORWARDED
    if b"_" in name:
        return FieldKind.UNDERSCORED
    return _SPECIAL.get(lower, FieldKind.PLAIN)


FIELDS = _Fields()


def line(name: bytes, value: bytes) -> Line:
    """The line of a field."""
    return FIELDS[name], name + b": " + value, value


def name_of(text: bytes) -> bytes:
    """The name, in lower case, of the field that a line states."""
    return text.partition(b":")[0].lower()


def options(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, in lower case."""
    return [option.strip(b" \t") for option in value.lower().split(b",")]


def upgrades(fields: Sequence[Line]) -> list[bytes]:
    """The values of `Upgrade`, as they are."""
    return [value for kind, _text, value in fields if kind is FieldKind.UPGRADE]


def protocols(values: list[bytes]) -> frozenset[bytes]:
    """What the values of `Upgrade` name, in lower case; nothing if one of them is no protocol (RFC 9110 section 7.8)."""
    names = frozenset(options(b",".join(values))) - {b""}
    return names if all(map(_PROTOCOL.fullmatch, names)) else frozenset()


@lru_cache(maxsize=256)
def valid_host(value: bytes) -> bool:
    """Whether it is ``uri-host [":" port]`` (RFC 9110 section 7.2), and not empty."""
    return _HOST.fullmatch(value) is not None
