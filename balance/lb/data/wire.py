"""Bytes to messages: the only module that knows aiohttp's parsers, behind an interface small enough to replace them.

Theory. The parsers are llhttp in C. What they accept beyond the standard is refused here or where heads are examined
(`request`, `response`); everything is written anew from `raw_headers`, so their leniency never reaches the other side. Three
properties shape this module. A trailer field of a chunked message becomes the first header of the *next* message on the same
parser; so a response gets a parser of its own, and a request parser is used on only after a chunked body that provably had no
trailers. An error discards messages parsed earlier in the same read; so requests are taken one at a time. And payload readers
want to pause "their" protocol; they get a stand-in, because flow control is done where the sockets are.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Protocol, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpResponseParser
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from balance.lb.policy.faults import Fault

_BUFFER = 2**22
"""More than a read of the event loop brings, so that a payload reader never asks for a pause."""
_NO_LIMIT = 2**30
_MAX_HEADERS = 128
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_UNKNOWN_METHOD = re.compile(rb"(?:\r\n)?[!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/1\.[01]\r?\n")

Header = tuple[bytes, bytes]


class RequestHead(Protocol):
    """What the request parser makes of a head."""

    method: str
    path: str
    version: tuple[int, int]
    raw_headers: tuple[Header, ...]
    should_close: bool
    upgrade: bool
    chunked: bool


class ResponseHead(Protocol):
    """What the response parser makes of a head."""

    code: int
    reason: str
    version: tuple[int, int]
    raw_headers: tuple[Header, ...]
    should_close: bool
    upgrade: bool
    chunked: bool


class WireError(Exception):
    """Bytes that are no acceptable HTTP/1.1; `fault` says in what way."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class _Unpaused:
    """Stands in for the protocol of a payload reader: nothing to pause."""

    _reading_paused = False

    def pause_reading(self) -> None:
        """Not called: the buffer is larger than any read."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called at the end of each payload."""


_PROTOCOL = cast("BaseProtocol", _Unpaused())


def require_c_parsers() -> None:
    """Raise `RuntimeError` unless the parsers are the compiled ones: the Python ones differ in speed and in what they accept."""
    for parser in (HttpRequestParser, HttpResponseParser):
        if parser.__module__ != "aiohttp._http_parser":
            raise RuntimeError(f"{parser.__name__} is not aiohttp's C parser; install aiohttp with its extensions")


class RequestReader:
    """The requests of one connection, one after the other.

    `feed` until it returns a head; then `body`, feeding `feed_body` until `done`; then `advance` to the next. `WireError` ends the
    connection, and so does `reusable` having become false.
    """

    __slots__ = ("_before", "_chunked", "_limit", "_parser", "_payload", "_rest", "reusable")

    def __init__(self, loop: asyncio.AbstractEventLoop, max_header_size: int) -> None:
        self._limit = max_header_size
        self._parser: Any = HttpRequestParser(
            _PROTOCOL, loop, _BUFFER, max_line_size=max_header_size, max_headers=_NO_LIMIT, max_field_size=max_header_size,
            auto_decompress=False, max_msg_queue_size=1,
        )  # fmt: skip
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._before = b""  # what was fed of an incomplete head
        self._rest = b""  # what was fed after the present message; of a chunked one: its last seven bytes
        self._chunked = False
        self.reusable = True

    @property
    def partial(self) -> bool:
        """Whether part of a head has been fed; an empty line, as old clients send after a body, is none."""
        return self._before not in (b"", b"\r\n")

    @property
    def done(self) -> bool:
        """Whether the body has arrived in full."""
        return self._payload.is_eof()

    @property
    def unread(self) -> bytes:
        """What was fed after the present message, which has no body."""
        return self._rest

    def feed(self, data: bytes) -> RequestHead | None:
        """Take bytes; the head of the next request once it is complete."""
        return self._parse(data, self._before + data if self._before else data)

    def feed_body(self, data: bytes) -> None:
        """Take more of the body; not to be called once it is `done`."""
        before = self._payload.total_bytes
        try:
            self._parser.feed_data(data)
        except (HttpProcessingError, ValueError):
            raise WireError(Fault.BAD_FRAMING) from None
        if self._chunked:
            self._rest = (self._rest + data)[-len(_LAST_CHUNK) :]
        else:
            self._rest = data[self._payload.total_bytes - before :]

    def body(self) -> bytes:
        """What has arrived of the body since the last call."""
        return self._payload.read_nowait(-1)

    def advance(self, more: bytes) -> RequestHead | None:
        """Turn to the next request; `more` arrived after the end of the present one."""
        chunked, rest = self._chunked, self._rest
        self._payload, self._chunked, self._rest = EMPTY_PAYLOAD, False, b""
        self._parser.message_consumed()
        if not chunked:
            return self._parse(more, rest + more) if rest or more else None
        try:
            messages = self._parser.feed_data(b"")[0]
        except (HttpProcessingError, ValueError):
            messages = (None,)
        if messages or rest != _LAST_CHUNK:  # trailers, or a further message that may have got them
            self.reusable = False
            return None
        return self._parse(more, more) if more else None

    def _parse(self, data: bytes, block: bytes) -> RequestHead | None:
        """Feed `data`, with which the head so far is `block`."""
        try:
            messages = self._parser.feed_data(data)[0]
        except (HttpProcessingError, ValueError) as error:
            raise WireError(self._diagnose(error, block)) from None
        if not messages:
            self._before = block
            if len(block) > self._limit:
                raise WireError(self._too_long(block))
            return None
        head: RequestHead = messages[0][0]
        self._payload = messages[0][1]
        self._before = b""
        end = self._check(head, block)
        self._chunked = head.chunked
        self._rest = block[-len(_LAST_CHUNK) :] if head.chunked else block[end + self._payload.total_bytes :]
        return head

    def _check(self, head: RequestHead, block: bytes) -> int:
        """Refuse what the parser lets pass in the form of the head: its size, several spaces or empty lines. Where the head ends."""
        line = block[: block.find(b"\r\n", 2)].removeprefix(b"\r\n")
        if line.count(b" ") != 2 or not line[:1].isalpha():
            raise WireError(Fault.BAD_REQUEST)
        end = block.find(b"\r\n\r\n", 2) + 4
        if end > self._limit or len(head.raw_headers) > _MAX_HEADERS:
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
        return Fault.HEADER_TOO_LARGE if 0 <= block.find(b"\n") <= self._limit else Fault.TARGET_TOO_LONG


class ResponseReader:
    """One response, its interim ones included. `bodiless`: it answers a HEAD. `unread`: what was fed after a 101."""

    __slots__ = ("_fed", "_limit", "_parser", "_payload", "begun", "unread")

    def __init__(self, loop: asyncio.AbstractEventLoop, max_header_size: int, *, bodiless: bool) -> None:
        self._limit = max_header_size
        self._parser: Any = HttpResponseParser(
            _PROTOCOL, loop, _BUFFER, max_line_size=max_header_size, max_headers=_MAX_HEADERS, max_field_size=max_header_size,
            response_with_body=not bodiless, read_until_eof=True, auto_decompress=False,
        )  # fmt: skip
        self._payload: StreamReader | None = None
        self._fed = 0
        self.begun = False
        self.unread = b""

    @property
    def done(self) -> bool:
        """Whether the body has arrived in full."""
        return self._payload is not None and self._payload.is_eof()

    def feed(self, data: bytes) -> list[ResponseHead]:
        """Take bytes; the heads that they completed: any number of interim ones, at most one final one."""
        self.begun = True
        try:
            messages, upgraded, rest = self._parser.feed_data(data)
        except (HttpProcessingError, ValueError):
            raise WireError(Fault.INVALID_RESPONSE) from None
        if not messages:
            if self._payload is None:
                self._fed += len(data)
                if self._fed > self._limit:
                    raise WireError(Fault.INVALID_RESPONSE)
            return []
        measure = self._fed + len(data) > self._limit  # otherwise no head in it can be too large
        self._fed = 0
        if upgraded:
            self.unread = rest
        heads: list[ResponseHead] = []
        for head, payload in messages:
            if self._payload is not None:  # something after the final response
                raise WireError(Fault.INVALID_RESPONSE)
            if head.code >= 200 or head.code < 100:
                self._payload = payload
            if measure and sum(len(name) + len(value) + 4 for name, value in head.raw_headers) > self._limit:
                raise WireError(Fault.INVALID_RESPONSE)
            heads.append(head)
        return heads

    def body(self) -> bytes:
        """What has arrived of the body since the last call."""
        return self._payload.read_nowait(-1) if self._payload is not None else b""

    def eof(self) -> bool:
        """The peer has closed: whether that is the proper end of the body."""
        if self._payload is None:
            return False
        try:
            self._parser.feed_eof()
        except (HttpProcessingError, ValueError):
            return False
        return self._payload.is_eof()
