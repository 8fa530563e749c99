"""How a backend's response goes on to the client: a pure function of its head and of the request that it answers."""

from __future__ import annotations

from balance.lb.data.headers import FIELDS, Field, head, options, protocols, upgrades, without, without_nominated
from balance.lb.data.request import Body, Request
from balance.lb.data.wire import ResponseHead, WireError
from balance.lb.policy.faults import Fault

_LENGTH = frozenset({b"content-length"})
_KEPT = (Field.PLAIN, Field.HOST, Field.EXPECT, Field.FORWARDED, Field.UNDERSCORED)


class Response:
    """One response. `head` are the bytes for the client; `body` is how the backend marks its end, `chunked` that we do so by chunks.

    `reusable`: the backend's connection may serve on. `client_keep`: the client's may.
    """

    __slots__ = ("body", "chunked", "client_keep", "head", "reusable", "status")

    def __init__(self, status: int) -> None:
        self.status = status
        self.body = Body.NONE
        self.chunked = False
        self.client_keep = True
        self.reusable = True
        self.head = b""

    def __repr__(self) -> str:
        return f"<Response {self.status} body {self.body.value}>"


def interim(message: ResponseHead) -> bytes:
    """A 1xx response other than 101 as bytes for an HTTP/1.1 client; raises `WireError` for what must not be passed on."""
    if message.version != (1, 1):
        raise WireError(Fault.INVALID_RESPONSE)
    lines, _length, _coding = _clean(message)
    return head(without(lines, _LENGTH), Fault.INVALID_RESPONSE)


def switched(message: ResponseHead, request: Request) -> bytes:
    """A 101 as bytes for the client; raises `WireError` unless it names nothing but protocols that were offered (RFC 9110 section 7.8)."""
    values = upgrades(message.raw_headers)
    names = protocols(values)
    lines, length, coding = _clean(message)
    if message.version != (1, 1) or not message.upgrade or not names or not names <= request.offered or length is not None or coding:
        raise WireError(Fault.INVALID_RESPONSE)
    return head([*lines, b"Connection: upgrade", *(b"Upgrade: " + value for value in values)], Fault.INVALID_RESPONSE)


def compose(message: ResponseHead, request: Request, *, keep: bool) -> Response:
    """The response to pass on. `keep`: the client's connection may be kept; raises `WireError` for what must not be passed on."""
    if not 200 <= message.code <= 599 or message.version not in ((1, 0), (1, 1)):
        raise WireError(Fault.INVALID_RESPONSE)
    response = Response(message.code)
    lines, length, coding = _clean(message)
    response.body = _framing(message, request, length, coding)
    if message.code == 204:
        lines = without(lines, _LENGTH)
    response.reusable = not message.should_close and response.body is not Body.CLOSE
    response.client_keep = keep
    if response.body in (Body.CHUNKED, Body.CLOSE):
        if request.http10:
            response.client_keep = False
        else:
            response.chunked = True
            lines.append(b"Transfer-Encoding: chunked")
    if not response.client_keep:
        lines.append(b"Connection: close")
    elif request.http10:
        lines.append(b"Connection: keep-alive")
    response.head = head(lines, Fault.INVALID_RESPONSE)
    return response


def _clean(message: ResponseHead) -> tuple[list[bytes], bytes | None, bool]:
    """The status line and header lines to pass on, the Content-Length if any, and whether the body is chunked."""
    lines = [b"HTTP/1.1 %d %b" % (message.code, message.reason.encode("utf-8", "surrogateescape"))]
    connection: list[bytes] = []
    length: bytes | None = None
    coding = False
    for name, value in message.raw_headers:
        kind = FIELDS[name]
        if kind in _KEPT:
            lines.append(name + b": " + value)
        elif kind is Field.LENGTH:
            if length is not None or coding or not value.isdigit():
                raise WireError(Fault.INVALID_RESPONSE)
            length = value
            lines.append(name + b": " + value)
        elif kind is Field.CODING:
            if coding or length is not None or message.version == (1, 0) or options(value) != [b"chunked"]:
                raise WireError(Fault.INVALID_RESPONSE)
            coding = True
        elif kind is Field.CONNECTION:
            connection.append(value)
        elif kind is Field.INVALID:
            raise WireError(Fault.INVALID_RESPONSE)
    if connection:
        lines = without_nominated(lines, connection, Fault.INVALID_RESPONSE)
    return lines, length, coding


def _framing(message: ResponseHead, request: Request, length: bytes | None, coding: bool) -> Body:
    if request.method == "HEAD" or message.code in (204, 304):
        return Body.NONE
    if coding:
        return Body.CHUNKED
    return Body.LENGTH if length is not None else Body.CLOSE
