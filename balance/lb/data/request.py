"""Checks a request and rewrites it for the backend: a pure function of its head, the client and the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import copy
from enum import Enum
from typing import TYPE_CHECKING

from balance.lb.data import trace
from balance.lb.data.fields import FieldKind, Line, name_of, options, protocols, upgrades, valid_host
from balance.lb.data.forwarding import ForwardingFields, Peer
from balance.lb.data.headers import without_nominated
from balance.lb.data.wire import RequestHead, WireError
from balance.lb.policy.faults import Fault
from balance.lb.policy.route import rewrite

if TYPE_CHECKING:
    from balance.lb.data.activeconfig import ActiveRoute


Find = Callable[[str, bytes, bytes, list[bytes]], "ActiveRoute"]
"""Finds the route of a request by method, host, target and header lines. Raises `WireError` if none matches."""


class Body(Enum):
    """How the end of a body is determined (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


_TRACES = frozenset({b"traceparent", b"tracestate"})
_NOTHING: frozenset[bytes] = frozenset()
_HTTP = frozenset({b"h2c", b"h2", b"http"})


class Request:
    """A request, ready to be sent: `head` is its head without the peer's suffix. Immutable once made, since it may be cached.

    `route`: the route it takes. `client`: address of the client behind a trusted proxy, empty if the peer is the client. `final`: the client
    sends no further request. `key`: bytes that consistent-hash hashes, if they are in the head. `session`: value of the sticky session's
    cookie. `offered`: protocols that the backend may switch to, in lower case. `length`: bytes of its body. `trace`: trace id, or empty.
    """

    __slots__ = (
        "body", "client", "final", "head", "http10", "keep_alive", "key", "length", "method", "offered", "route", "session", "target", "trace",
    )  # fmt: skip

    def __init__(self, message: RequestHead) -> None:
        self.route: ActiveRoute
        self.method = message.method
        self.target = message.target
        self.http10 = message.version == (1, 0)
        self.final = message.should_close
        self.keep_alive = not message.should_close
        self.body = Body.CHUNKED if message.chunked else Body.NONE
        self.length = 0
        self.client = ""
        self.key: bytes | None = None
        self.session = ""
        self.head = b""
        self.offered: frozenset[bytes] = _NOTHING
        self.trace = ""

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target!r} body {self.body.value}>"

    def traced(self) -> Request:
        """A copy that starts a new trace; its own trace fields, which are invalid, are dropped."""
        made = copy(self)
        made.trace, parent = trace.begin()
        first, *lines = self.head.split(b"\r\n")
        kept = [text for text in lines if name_of(text) not in _TRACES]
        made.head = b"\r\n".join((first, b"traceparent: " + parent, *kept))
        return made


class Examiner:
    """Examines requests under one configuration.

    `max_request_size`: bytes of a body, 0 for no limit. `only`: the route that takes every request, if there is one. `tracing`: use trace ids.
    """

    def __init__(
        self, forwarding: ForwardingFields, max_request_size: int, route: Find, *, only: ActiveRoute | None = None, tracing: bool = True
    ) -> None:
        self._forwarding = forwarding
        self._route = route
        self._only = only
        self._max_request_size = max_request_size
        self._tracing = tracing

    def __repr__(self) -> str:
        return f"<Examiner {self._forwarding}>"

    def examine(self, message: RequestHead, peer: Peer) -> Request:
        """The request to send for a head. Raises `WireError` for requests that must not be passed on (RFC 9112 section 11).

        For an untrusted peer the result depends only on the head, unless the head has no Host.
        """
        if message.version not in ((1, 0), (1, 1)):
            raise WireError(Fault.BAD_VERSION)
        if message.method == "CONNECT":
            raise WireError(Fault.NOT_IMPLEMENTED)
        request = Request(message)
        target, authority = _target(message.method, message.target)
        lines, host, about = _clean(message, request, authority)
        if request.trace and not self._tracing:
            request.trace = ""
        if request.length > self._max_request_size > 0:
            raise WireError(Fault.BODY_TOO_LARGE)
        if not host:
            if not request.http10:
                raise WireError(Fault.BAD_HOST)
            host = authority or peer.local
            lines.append(b"Host: " + host)
        request.route = route = self._only or self._route(message.method, host, target, lines)
        if route.pool.recognises:
            request.key, request.session = route.pool.key_of(lines, target), route.pool.session_of(lines)
        if route.rewrites:
            target = rewrite(target, route.config)
        if message.upgrade:
            lines += _offer(message, request)
            request.keep_alive = not request.final and request.body is Body.NONE and not request.offered
        if request.body is Body.CHUNKED:
            lines.append(b"Transfer-Encoding: chunked")
        if peer.trusted:
            request.client = self._forwarding.client(peer, about)
            tail = self._forwarding.append(host, peer, about, http10=request.http10)
        else:
            tail = self._forwarding.begin(host, http10=request.http10)
        if route.edit_request:
            lines = route.edit_request(lines)
        request.head = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (message.method.encode(), target, b"\r\n".join(lines), tail)
        return request


def _target(method: str, target: bytes) -> tuple[bytes, bytes]:
    """The target to send, and the authority of a target in absolute form, else empty (RFC 9112 section 3.2)."""
    if b"#" in target or not target.isascii():
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


_PLAIN = FieldKind.PLAIN
_NUMBER = re.compile(rb"[0-9]{1,19}")


def _clean(message: RequestHead, request: Request, authority: bytes) -> tuple[list[bytes], bytes, list[Line]]:
    """The header lines to pass on, the host, and the peer's fields about the client; sets framing and trace in `request`. `authority`: replaces
    the host if it is not empty."""
    lines: list[bytes] = []
    connection: list[bytes] = []
    about: list[Line] = []
    traces: list[Line] = []
    host = b""
    codings = 0
    for field in message.fields:
        kind, text, value = field
        if kind is _PLAIN:
            lines.append(text)
        elif kind is FieldKind.HOST:
            if host or not valid_host(value):
                raise WireError(Fault.BAD_HOST)
            host = authority or value
            lines.append(text if host is value else text[: len(text) - len(value)] + host)
        elif kind is FieldKind.CONNECTION:
            connection.append(value)
        elif kind is FieldKind.LENGTH:
            if request.body is not Body.NONE or not _NUMBER.fullmatch(value):
                raise WireError(Fault.BAD_FRAMING)
            request.body, request.length = Body.LENGTH, int(value)
            lines.append(text)
        elif kind is FieldKind.CODING:
            codings += 1
            _check_coding(value, request, codings)
        elif kind is FieldKind.EXPECT:
            if value.lower() != b"100-continue":
                raise WireError(Fault.BAD_EXPECTATION)
            if not request.http10:  # HTTP/1.0 cannot wait for 100 (RFC 9110 section 10.1.1)
                lines.append(text)
        elif kind is FieldKind.FORWARDED:
            about.append(field)
        elif kind is FieldKind.TRACE:
            traces.append(field)
            lines.append(text)
        elif kind is FieldKind.INVALID:
            raise WireError(Fault.BAD_REQUEST)
    if connection:
        lines = without_nominated(lines, connection, Fault.BAD_REQUEST)
    if traces:
        request.trace = trace.trace_id([value for _kind, text, value in traces if text in lines])
    return lines, host, about


def _offer(message: RequestHead, request: Request) -> list[bytes]:
    """The lines that offer an upgrade to the backend; ignoring an upgrade is always allowed (RFC 9110 section 7.8).

    It is ignored if the request has a body, whose end the two sides could see differently, and for HTTP versions, especially ``h2c``,
    because requests inside such a tunnel would not be checked.
    """
    values = upgrades(message.fields)
    names = protocols(values)
    has_body = request.body is Body.CHUNKED or request.length > 0
    if request.http10 or message.should_close or has_body or not names or any(name.partition(b"/")[0] in _HTTP for name in names):
        return []
    request.offered = names
    return [b"Connection: upgrade", *(b"Upgrade: " + value for value in values)]


def _check_coding(value: bytes, request: Request, count: int) -> None:
    """Raise `WireError` unless the coding is ``chunked``, once, and from HTTP/1.1; other codings are not implemented."""
    codings = options(value)
    if request.http10 or count > 1 or request.body is Body.LENGTH or codings[-1] != b"chunked":
        raise WireError(Fault.BAD_FRAMING)
    if len(codings) > 1:
        raise WireError(Fault.NOT_IMPLEMENTED)
