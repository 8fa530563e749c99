"""Classifies header fields by what they mean to the load balancer (RFC 9110 section 7.6.1).

Names and values stay as received: case, order, repetitions and non-ASCII bytes are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache


class FieldKind(Enum):
    """What a field means to the load balancer. Requests lose fields whose names contain an underscore, because many frameworks cannot
    tell ``X_Forwarded_For`` from ``X-Forwarded-For``."""

    PLAIN = 1
    """passed on unchanged"""
    HOP = 2
    """hop-by-hop: dropped"""
    CONNECTION = 3
    HOST = 4
    LENGTH = 5
    CODING = 6
    EXPECT = 7
    FORWARDED = 8
    """states who the client is: accepted from trusted proxies only"""
    UNDERSCORED = 9
    UPGRADE = 10
    """hop-by-hop, but may be offered to the backend (`protocols`)"""
    INVALID = 11
    """its name is not a token (RFC 9110 section 5.6.2)"""
    TRACE = 12
    """trace context: passed on, and its id is logged"""


Line = tuple[FieldKind, bytes, bytes]
"""A field: its kind, the line to send (without CRLF), and its value."""

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
"""Bytes that no value may contain: control characters, except the tab."""
_REMEMBERED = 1024


class _Fields(dict[bytes, FieldKind]):
    """Kinds of fields by their names, cached up to a limit, since a peer can send any number of names."""

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
"""The kind of a field, by its name in any case."""


def line(name: bytes, value: bytes) -> Line:
    """The `Line` of a field."""
    return FIELDS[name], name + b": " + value, value


def name_of(text: bytes) -> bytes:
    """The field name of a header line, in lower case."""
    return text.partition(b":")[0].lower()


def options(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, stripped and in lower case."""
    return [option.strip(b" \t") for option in value.lower().split(b",")]


def upgrades(fields: Sequence[Line]) -> list[bytes]:
    """The values of all `Upgrade` fields, unchanged."""
    return [value for kind, _text, value in fields if kind is FieldKind.UPGRADE]


def protocols(values: list[bytes]) -> frozenset[bytes]:
    """The protocols in the values of `Upgrade`, in lower case; empty if one is invalid (RFC 9110 section 7.8)."""
    names = frozenset(options(b",".join(values))) - {b""}
    return names if all(map(_PROTOCOL.fullmatch, names)) else frozenset()


@lru_cache(maxsize=256)
def valid_host(value: bytes) -> bool:
    """True if it is a non-empty ``uri-host [":" port]`` (RFC 9110 section 7.2)."""
    return _HOST.fullmatch(value) is not None
