"""Parses bytes to messages: the only module that uses aiohttp's parsers, behind an interface small enough to replace them.

Theory. The parsers are llhttp in C. What they accept beyond the standard is rejected here or where heads are examined (`request`,
`response`); every message is rewritten from its header lines, so their leniency never reaches the other side. A parser reads one message:
otherwise a trailer field of a chunked message would become the first header of the next one, and an error would discard the messages
parsed earlier in the same read. Bytes beyond the end of a request are handed back; after a chunked body that works only if there are
none. Payload readers want to pause their protocol; they get a stand-in, because flow control is done at the sockets.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpResponseParser
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from balance.lb.config.model import Limits
from balance.lb.data.fields import Line, line
from balance.lb.policy.faults import Fault

_BUFFER = 2**22
"""More than one read of the event loop, so that a payload reader never asks for a pause."""
_NO_LIMIT = 2**30
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_UNKNOWN_METHOD = re.compile(rb"(?:\r\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/1\.[01]\r?\n")


class RequestHead:
    """The parsed head of a request."""

    __slots__ = ("chunked", "fields", "method", "should_close", "target", "upgrade", "version")

    def __init__(
        self, method: str, target: bytes, version: tuple[int, int], fields: list[Line],
        *, should_close: bool = False, upgrade: bool = False, chunked: bool = False,
    ) -> None:  # fmt: skip
        self.method, self.target, self.version, self.fields = method, target, version, fields
        self.should_close, self.upgrade, self.chunked = should_close, upgrade, chunked

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target!r} {len(self.fields)} fields>"


class ResponseHead:
    """The parsed head of a response."""

    __slots__ = ("chunked", "code", "fields", "reason", "should_close", "upgrade", "version")

    def __init__(
        self, code: int, reason: bytes, version: tuple[int, int], fields: list[Line],
        *, should_close: bool = False, upgrade: bool = False, chunked: bool = False,
    ) -> None:  # fmt: skip
        self.code, self.reason, self.version, self.fields = code, reason, version, fields
        self.should_close, self.upgrade, self.chunked = should_close, upgrade, chunked

    def __repr__(self) -> str:
        return f"<ResponseHead {self.code} {len(self.fields)} fields>"


class WireError(Exception):
    """Bytes that are not acceptable HTTP/1.1; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class _Unpaused:
    """Stand-in for the protocol of a payload reader; there is nothing to pause."""

    _reading_paused = False

    def pause_reading(self) -> None:
        """Not called: the buffer is larger than any read."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called at the end of each payload."""


_PROTOCOL = cast("BaseProtocol", _Unpaused())


def require_c_parsers() -> None:
    """Raise `RuntimeError` unless the parsers are the C ones: the Python ones are slower and accept other input."""
    for parser in (HttpRequestParser, HttpResponseParser):
        if parser.__module__ != "aiohttp._http_parser":
            raise RuntimeError(f"{parser.__name__} is not aiohttp's C parser; install aiohttp with its extensions")


class RequestReader:
    """Parses one request: `feed` until it returns a head, then `feed_body` until `done`, taking data with `body`.

    Any `WireError` must end the connection.
    """

    __slots__ = ("_barren", "_before", "_held", "_limits", "_parser", "_payload", "_tail", "followed", "rest")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._limits = limits
        self._parser: Any = HttpRequestParser(
            _PROTOCOL, loop, _BUFFER, max_line_size=limits.max_header_size, max_headers=_NO_LIMIT, max_field_size=limits.max_header_size,
            auto_decompress=False, max_msg_queue_size=1,
        )  # fmt: skip
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._before = b""  # bytes of an incomplete head
        self._held = b""  # the part of it that the parser has not seen
        self._barren = 0  # bytes in a row without any body data
        self._tail: bytes | None = None  # the last seven bytes of a chunked message
        self.rest: bytes | None = b""
        """when `done`: bytes beyond its end; None if they cannot be told apart from trailers"""
        self.followed = False
        """if `rest` is None: True if there certainly were bytes beyond its end"""

    @property
    def _longest_line(self) -> int:
        return min(self._limits.max_request_line, self._limits.max_header_size)

    @property
    def partial(self) -> bool:
        """True if part of a head has arrived; an empty line, as old clients send after a body, does not count."""
        return self._before not in (b"", b"\r\n")

    @property
    def done(self) -> bool:
        """True when the body is complete."""
        return self._payload.is_eof()

    def feed(self, data: bytes) -> RequestHead | None:
        """Parse bytes; returns the head of the request once it is complete. Raises `WireError`."""
        block = self._before + data if self._before else data
        data, self._held = self._held + data, b""
        if b"\n" not in block[2:]:
            self._hold(data, block)
            return None
        try:
            messages = self._parser.feed_data(data)[0]
        except (HttpProcessingError, ValueError) as error:
            raise WireError(self._diagnose(error, block)) from None
        if not messages:
            self._before = block
            if len(block) > self._limits.max_header_size:
                raise WireError(self._too_long(block))
            return None
        message, self._payload = messages[0]
        self._before = b""
        end = self._check(len(message.raw_headers), block)
        if message.chunked:
            self._tail = b""
            self._consumed_chunked(block)
        else:
            self.rest = block[end + self._payload.total_bytes :]
        return RequestHead(
            message.method, message.path.encode("utf-8", "surrogateescape"), message.version, [line(*pair) for pair in message.raw_headers],
            should_close=message.should_close, upgrade=message.upgrade, chunked=message.chunked,
        )  # fmt: skip

    def feed_body(self, data: bytes) -> None:
        """Parse more of the body; must not be called when `done`. Raises `WireError`."""
        before = self._payload.total_bytes
        try:
            self._parser.feed_data(data)
        except (HttpProcessingError, ValueError):
            raise WireError(Fault.BAD_FRAMING) from None
        self._barren = self._barren + len(data) if self._payload.total_bytes == before else 0
        if self._barren > self._limits.max_header_size and not self.done:  # endless trailers, which the parser would collect
            raise WireError(Fault.HEADER_TOO_LARGE)
        if self._tail is None:
            self.rest = data[self._payload.total_bytes - before :]
        else:
            self._consumed_chunked(data)

    def body(self) -> bytes:
        """The data of the body since the last call."""
        return self._payload.read_nowait(-1)

    def _consumed_chunked(self, data: bytes) -> None:
        """Find out whether a complete chunked message ended with the last byte and without trailers."""
        self._tail = tail = ((self._tail or b"") + data)[-len(_LAST_CHUNK) :]
        if not self.done:
            return
        self._parser.message_consumed()
        try:
            self.followed = bool(self._parser.feed_data(b"")[0])
        except (HttpProcessingError, ValueError):
            self.followed = True
        self.rest = None if self.followed or tail != _LAST_CHUNK else b""

    def _hold(self, data: bytes, block: bytes) -> None:
        """Keep an incomplete request line, so that errors in it do not depend on how it was split."""
        line = block.removeprefix(b"\r\n")
        if not line[:1].isalpha() and line not in (b"", b"\r"):
            raise WireError(Fault.BAD_REQUEST)
        if len(line) > self._longest_line:
            raise WireError(Fault.TARGET_TOO_LONG)
        self._held, self._before = data, block

    def _check(self, count: int, block: bytes) -> int:
        """Reject heads that the parser accepts: too large, with several spaces or empty lines, RTSP, ICE. Returns where the head ends."""
        first = block[: block.find(b"\r\n", 2)].removeprefix(b"\r\n")
        if first.count(b" ") != 2 or not first[:1].isalpha() or b" HTTP/" not in first:
            raise WireError(Fault.BAD_REQUEST)
        if len(first) > self._longest_line:
            raise WireError(Fault.TARGET_TOO_LONG)
        end = block.find(b"\r\n\r\n", 2) + 4
        if end > self._limits.max_header_size or count > self._limits.max_headers:
            raise WireError(Fault.HEADER_TOO_LARGE)
        return end

    def _diagnose(self, error: Exception, block: bytes) -> Fault:
        if isinstance(error, LineTooLong):
            return self._too_long(block)
        if isinstance(error, InvalidURLError):
            return Fault.BAD_TARGET
        if isinstance(error, BadHttpMethod) and _UNKNOWN_METHOD.match(block):
            return Fault.NOT_IMPLEMENTED
        return Fault.BAD_REQUEST

    def _too_long(self, block: bytes) -> Fault:
        return Fault.HEADER_TOO_LARGE if 0 <= block.find(b"\n", 2) <= self._longest_line else Fault.TARGET_TOO_LONG


class ResponseReader:
    """Parses one response, including its interim ones. `bodiless`: it answers a HEAD. `unread`: bytes after a 101."""

    __slots__ = ("_fed", "_final", "_held", "_limit", "_parser", "_payload", "unread")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, *, bodiless: bool) -> None:
        self._limit = limits.max_header_size
        self._parser: Any = HttpResponseParser(
            _PROTOCOL, loop, _BUFFER, max_line_size=self._limit, max_headers=limits.max_headers, max_field_size=self._limit,
            response_with_body=not bodiless, read_until_eof=True, auto_decompress=False,
        )  # fmt: skip
        self._payload: StreamReader | None = None
        self._fed = 0
        self._held = b""  # an incomplete status line or interim head: each begins on a new line, and is HTTP
        self._final = False  # True once data belongs to the final response
        self.unread = b""

    @property
    def done(self) -> bool:
        """True when the body is complete."""
        return self._payload is not None and self._payload.is_eof()

    def feed(self, data: bytes) -> list[ResponseHead]:
        """Parse bytes; returns the heads completed by them: any number of interim ones, at most one final one. Raises `WireError`."""
        heads: list[ResponseHead] = []
        while not self._final:
            block, self._held = self._held + data, b""
            line = block.find(b"\n") + 1
            folded = line and block[line : line + 1] in (b" ", b"\t")
            if folded or not b"HTTP/1.".startswith(block[:7]):  # the parser knows RTSP and ICE as well
                raise WireError(Fault.INVALID_RESPONSE)
            is_interim = block[8:10] == b" 1"
            end = _END_OF_HEAD.search(block) if is_interim else None
            if len(block) <= line or not line or (is_interim and not end):
                self._held = block
                if len(block) > self._limit:
                    raise WireError(Fault.INVALID_RESPONSE)
                return heads
            if not end:
                self._final, data = True, block
                break
            heads += self._parse(block[: end.end()])
            data = block[end.end() :]
            if heads[-1].code == 101:
                self.unread = data
                return heads
        return heads + self._parse(data)

    def _parse(self, data: bytes) -> list[ResponseHead]:
        try:
            messages = self._parser.feed_data(data)[0]
        except (HttpProcessingError, ValueError):
            raise WireError(Fault.INVALID_RESPONSE) from None
        if not messages:
            if self._payload is None:
                self._fed += len(data)
                if self._fed > self._limit:
                    raise WireError(Fault.INVALID_RESPONSE)
            return []
        measure = self._fed + len(data) > self._limit  # else no head can be too large
        self._fed = 0
        heads: list[ResponseHead] = []
        for message, payload in messages:
            if self._payload is not None:  # something after the final response
                raise WireError(Fault.INVALID_RESPONSE)
            if message.code >= 200 or message.code < 100:
                self._payload = payload
            if measure and sum(len(name) + len(value) + 4 for name, value in message.raw_headers) > self._limit:
                raise WireError(Fault.INVALID_RESPONSE)
            reason = message.reason.encode("utf-8", "surrogateescape")
            fields = [line(*pair) for pair in message.raw_headers]
            heads.append(ResponseHead(
                message.code, reason, message.version, fields,
                should_close=message.should_close, upgrade=message.upgrade, chunked=message.chunked,
            ))  # fmt: skip
        return heads

    def body(self) -> bytes:
        """The data of the body since the last call."""
        return self._payload.read_nowait(-1) if self._payload is not None else b""

    def eof(self) -> bool:
        """The peer has closed the connection. Returns True if that is the normal end of the body."""
        if self._payload is None:
            return False
        try:
            self._parser.feed_eof()
        except (HttpProcessingError, ValueError):
            return False
        return self._payload.is_eof()
