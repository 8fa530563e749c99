"""Checks a backend's response and rewrites it for the client: a pure function of its head."""

from __future__ import annotations

import re

from balance.lb.data.fields import FieldKind, options, protocols, upgrades
from balance.lb.data.headers import block, without, without_nominated
from balance.lb.data.request import Body, Request
from balance.lb.data.wire import ResponseHead, WireError
from balance.lb.policy.edits import Editor
from balance.lb.policy.faults import Fault

_LENGTH = frozenset({b"content-length"})
_PLAIN = FieldKind.PLAIN
_NUMBER = re.compile(rb"[0-9]{1,19}")
_KEPT = (FieldKind.HOST, FieldKind.EXPECT, FieldKind.FORWARDED, FieldKind.UNDERSCORED, FieldKind.TRACE)


class Response:
    """A response. Immutable once made, since it may be cached.

    `head`: the lines for the client, each with CRLF, without those about the client's connection; `usual`: the whole head if there are none.
    `body`: how the backend marks the end of the body; `length`: its bytes if given; `reusable`: the backend's connection can be reused.
    """

    __slots__ = ("body", "head", "length", "reusable", "status", "usual")

    def __init__(self, status: int, body: Body, length: int, head: bytes, *, reusable: bool) -> None:
        self.status, self.body, self.length, self.head, self.reusable = status, body, length, head, reusable
        self.usual = head + b"\r\n"

    def __repr__(self) -> str:
        return f"<Response {self.status} body {self.body.value}>"


def interim(message: ResponseHead) -> bytes:
    """A 1xx response other than 101 as bytes for an HTTP/1.1 client. Raises `WireError` if it must not be passed on."""
    if message.version != (1, 1):
        raise WireError(Fault.INVALID_RESPONSE)
    lines, _length, _coding = _clean(message)
    return block(without(lines, _LENGTH), Fault.INVALID_RESPONSE) + b"\r\n"


def switched(message: ResponseHead, request: Request) -> bytes:
    """A 101 response as bytes for the client. Raises `WireError` unless it names only protocols that were offered (RFC 9110 section 7.8)."""
    values = upgrades(message.fields)
    names = protocols(values)
    lines, length, coding = _clean(message)
    if message.version != (1, 1) or not message.upgrade or not names or not names <= request.offered or length is not None or coding:
        raise WireError(Fault.INVALID_RESPONSE)
    lines += [b"Connection: upgrade", *(b"Upgrade: " + value for value in values)]
    return block(lines, Fault.INVALID_RESPONSE) + b"\r\n"


def compose(message: ResponseHead, *, bodiless: bool, via: bytes = b"", edit: Editor | None = None) -> Response:
    """The response to pass on. `bodiless`: it answers a HEAD; `via`: the Via line to add; `edit`: the route's edits. Raises `WireError` if it
    must not be passed on."""
    if not 200 <= message.code <= 599 or message.version not in ((1, 0), (1, 1)):
        raise WireError(Fault.INVALID_RESPONSE)
    lines, length, coding = _clean(message)
    if bodiless or message.code in (204, 304):
        body = Body.NONE
    elif coding:
        body = Body.CHUNKED
    else:
        body = Body.LENGTH if length is not None else Body.CLOSE
    if message.code == 204:
        lines = without(lines, _LENGTH)
    if message.code == 426:  # must name the protocol (RFC 9110 section 15.5.22)
        lines += [b"Connection: upgrade", *(b"Upgrade: " + value for value in upgrades(message.fields))]
    if via:
        lines.append(via)
    if edit:
        lines[1:] = edit(lines[1:])
    size = int(length) if length is not None and body is Body.LENGTH else 0
    head = block(lines, Fault.INVALID_RESPONSE)
    return Response(message.code, body, size, head, reusable=not message.should_close and body is not Body.CLOSE)


def _clean(message: ResponseHead) -> tuple[list[bytes], bytes | None, bool]:
    """The status line and header lines to pass on, the Content-Length if any, and whether the body is chunked."""
    lines = [b"HTTP/1.1 %d %b" % (message.code, message.reason)]
    connection: list[bytes] = []
    length: bytes | None = None
    coding = False
    for kind, text, value in message.fields:
        if kind is _PLAIN or kind in _KEPT:
            lines.append(text)
        elif kind is FieldKind.LENGTH:
            if length is not None or coding or not _NUMBER.fullmatch(value):
                raise WireError(Fault.INVALID_RESPONSE)
            length = value
            lines.append(text)
        elif kind is FieldKind.CODING:
            if coding or length is not None or not message.chunked or message.version == (1, 0) or options(value) != [b"chunked"]:
                raise WireError(Fault.INVALID_RESPONSE)
            coding = True
        elif kind is FieldKind.CONNECTION:
            connection.append(value)
        elif kind is FieldKind.INVALID:
            raise WireError(Fault.INVALID_RESPONSE)
    if connection:
        lines = without_nominated(lines, connection, Fault.INVALID_RESPONSE)
    return lines, length, coding
