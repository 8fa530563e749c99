"""Pure functions on header lines: drops hop-by-hop fields, and checks the block to send."""

from __future__ import annotations

from balance.lb.data.fields import CONTROLS, name_of, options
from balance.lb.data.wire import WireError
from balance.lb.policy.faults import Fault

_HARMLESS_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"trailer", b"http2-settings", b""})
_USUAL = frozenset({b"close", b"keep-alive", b"Keep-Alive"})
_PROTECTED = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


def without(lines: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    """Header lines without the fields of these names (lower case)."""
    return [line for line in lines if name_of(line) not in names]


def without_nominated(lines: list[bytes], connection: list[bytes], fault: Fault) -> list[bytes]:
    """Header lines without the fields that the values of `Connection` declare as hop-by-hop.

    Raises `WireError` with `fault` if that would remove a field that the next hop needs to parse the message.
    """
    if all(value in _USUAL for value in connection):
        return lines
    names = frozenset(option for value in connection for option in options(value)) - _HARMLESS_OPTIONS
    if not names.isdisjoint(_PROTECTED):
        raise WireError(fault)
    return without(lines, names) if names else lines


def block(lines: list[bytes], fault: Fault) -> bytes:
    """The lines, each with CRLF. Raises `WireError` with `fault` if one contains a control character other than a tab."""
    text = b"\r\n".join(lines)
    if len(text.translate(None, CONTROLS)) != len(text) - 2 * (len(lines) - 1):
        raise WireError(fault)
    return text + b"\r\n"
