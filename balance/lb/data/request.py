"""What a request asks of us, and how it goes on to a backend: a pure function of its head, the client and the limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from balance.lb.data.headers import FIELDS, Field, options, protocols, upgrades, valid_host, without_nominated
from balance.lb.data.wire import RequestHead, WireError
from balance.lb.policy.faults import Fault


class Body(Enum):
    """How the end of a body is marked (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


_HTTP = frozenset({b"h2c", b"h2", b"http"})


@dataclass(frozen=True, slots=True)
class Peer:
    """The client of a connection. `forwarded`: the header lines that say so; `local`: the authority it connected to."""

    name: str
    forwarded: tuple[bytes, ...]
    local: bytes


class Request:
    """One request, ready to be sent: `head` are its bytes. `offered`: the protocols to which the backend may switch, in lower case."""

    __slots__ = ("body", "head", "http10", "keep_alive", "length", "method", "offered", "target")

    def __init__(self, message: RequestHead) -> None:
        self.method = message.method
        self.target = message.path
        self.http10 = message.version == (1, 0)
        self.keep_alive = not message.should_close and not message.upgrade
        self.body = Body.CHUNKED if message.chunked else Body.NONE
        self.length = 0
        self.head = b""
        self.offered: frozenset[bytes] = frozenset()

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target} body {self.body.value}>"


def examine(message: RequestHead, peer: Peer, max_request_size: int) -> Request:
    """The request that a head stands for; raises `WireError` for what must not be passed on (RFC 9112 section 11)."""
    if message.version not in ((1, 0), (1, 1)):
        raise WireError(Fault.BAD_VERSION)
    if message.method == "CONNECT":
        raise WireError(Fault.NOT_IMPLEMENTED)
    request = Request(message)
    target, authority = _target(message.method, message.path)
    fields = _clean(message, request, authority or peer.local)
    if request.length > max_request_size > 0:
        raise WireError(Fault.BODY_TOO_LARGE)
    lines = [b"%b %b HTTP/1.1" % (message.method.encode(), target), *fields, *peer.forwarded]
    if message.upgrade:
        lines += _offer(message, request)
    if request.body is Body.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    lines.append(b"\r\n")
    request.head = b"\r\n".join(lines)
    return request


def _target(method: str, path: str) -> tuple[bytes, bytes]:
    """The target to send, and the authority if the client named one in it (RFC 9112 section 3.2)."""
    try:
        target = path.encode("ascii")
    except UnicodeEncodeError:
        raise WireError(Fault.BAD_TARGET) from None
    if b"#" in target:
        raise WireError(Fault.BAD_TARGET)
    if target.startswith(b"/") or (target == b"*" and method == "OPTIONS"):
        return target, b""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise WireError(Fault.BAD_TARGET)
    size = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, path_query = rest[:size], rest[size:]
    if not valid_host(authority):
        raise WireError(Fault.BAD_TARGET)
    if not path_query:
        return (b"*" if method == "OPTIONS" else b"/"), authority
    return (path_query if path_query.startswith(b"/") else b"/" + path_query), authority


def _clean(message: RequestHead, request: Request, authority: bytes) -> list[bytes]:
    """The header lines to pass on; takes note of framing and expectations. `authority` stands in where the target names one,
    or where an HTTP/1.0 client named none."""
    lines: list[bytes] = []
    connection: list[bytes] = []
    host = b""
    codings = 0
    absolute = not message.path.startswith(("/", "*"))
    for name, value in message.raw_headers:
        kind = FIELDS[name]
        if kind is Field.PLAIN:
            lines.append(name + b": " + value)
        elif kind is Field.HOST:
            if host or not valid_host(value):
                raise WireError(Fault.BAD_HOST)
            host = authority if absolute else value
            lines.append(name + b": " + host)
        elif kind is Field.CONNECTION:
            connection.append(value)
        elif kind is Field.LENGTH:
            request.body, request.length = Body.LENGTH, int(value)
            lines.append(name + b": " + value)
        elif kind is Field.CODING:
            codings += 1
            _check_coding(value, request, codings)
        elif kind is Field.EXPECT:
            if value.lower() != b"100-continue":
                raise WireError(Fault.BAD_EXPECTATION)
            if not request.http10:  # which cannot wait for 100 (RFC 9110 section 10.1.1)
                lines.append(name + b": " + value)
        elif kind is Field.INVALID:
            raise WireError(Fault.BAD_REQUEST)
    if connection:
        lines = without_nominated(lines, connection, Fault.BAD_REQUEST)
    if not host:
        host = authority
        lines.append(b"Host: " + host)
    lines.append(b"X-Forwarded-Host: " + host)
    return lines


def _offer(message: RequestHead, request: Request) -> list[bytes]:
    """The lines that ask the backend to switch protocols, if it may; ignoring such a wish is always allowed (RFC 9110 section 7.8).

    It is ignored with a body, whose end could be seen differently by the two ends; and for another HTTP, most of all ``h2c``, because
    the requests inside such a tunnel would be seen by nobody.
    """
    values = upgrades(message.raw_headers)
    names = protocols(values)
    has_body = request.body is Body.CHUNKED or request.length > 0
    if request.http10 or message.should_close or has_body or not names or any(name.partition(b"/")[0] in _HTTP for name in names):
        return []
    request.offered = names
    return [b"Connection: upgrade", *(b"Upgrade: " + value for value in values)]


def _check_coding(value: bytes, request: Request, count: int) -> None:
    """Only ``chunked``, once, from HTTP/1.1; codings that end in it exist, but not here."""
    codings = options(value)
    if request.http10 or count > 1 or request.body is Body.LENGTH or codings[-1] != b"chunked":
        raise WireError(Fault.BAD_FRAMING)
    if len(codings) > 1:
        raise WireError(Fault.NOT_IMPLEMENTED)
