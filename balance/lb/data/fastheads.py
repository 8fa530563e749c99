"""Heads that need no parser, and a memory of what became of them.

Theory. Checking, cleaning and writing anew a head is a pure function of its bytes and of configuration. Clients and origins repeat
themselves, so what was made of a head is remembered by its bytes (`HeadCache`), and so is each header line. Heads not seen before
are recognised here if they are *plain*: a well-known method, a path, HTTP/1.1, lines of ``token: value`` without control
characters, no transfer coding and no connection option but keep-alive. That is a small part of what the parser accepts, and read
in the same way; whatever is not plain, or would be refused, is left to the parser. So neither changes an outcome, which the tests compare.

Secrets: heads hold cookies and credentials. Whatever is remembered is forgotten after at most `FORGET_SECONDS` and is found
only by somebody who sends the very same bytes.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from balance.lb.data.fields import CONTROLS, FIELDS, FieldKind, Line
from balance.lb.data.wire import RequestHead, ResponseHead

FORGET_SECONDS = 10.0
"""How long a head may be remembered."""
_HEADS, _HEAD_BYTES = 512, 4096
_LINES, _LINE_BYTES = 1024, 256
_SIGHTINGS = 8192
_REQUEST_LINE = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) (/[!\"$-~]*) HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t -~]*)")
_PERSISTENT = frozenset({b"keep-alive", b"Keep-Alive"})
_CONNECTION = frozenset({b"connection", b"proxy-connection"})  # of which the parser believes either

T = TypeVar("T")


class HeadCache(Generic[T]):
    """What was made of at most `heads` heads, by their bytes; bounded in size and time too (its owner calls `forget`)."""

    __slots__ = ("_heads", "_known", "_seen", "get")

    def __init__(self, heads: int = _HEADS) -> None:
        self._heads = heads
        self._known: dict[bytes, T] = {}
        self._seen: set[int] = set()  # hashes: only what is seen again is worth remembering
        self.get = self._known.get
        """What was made of these bytes, if that is known"""

    def __repr__(self) -> str:
        return f"<HeadCache of {len(self._known)}>"

    def keep(self, head: bytes, made: T) -> None:
        """Remember what was made of a head if it comes for the second time."""
        if not self._heads:
            return
        mark = hash(head)
        if mark not in self._seen:
            if len(self._seen) >= _SIGHTINGS:
                self._seen.clear()
            self._seen.add(mark)
        elif len(head) <= _HEAD_BYTES:
            if len(self._known) >= self._heads:
                self._known.clear()
            self._known[head] = made

    def forget(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._seen.clear()


class FastHeadParser:
    """Recognises plain heads of at most `max_size` bytes and `max_headers` fields; remembers header lines."""

    __slots__ = ("_lines", "_max_headers", "_max_size", "_max_target")

    def __init__(self, max_size: int, max_headers: int, max_target: int) -> None:
        self._max_size, self._max_headers, self._max_target = max_size, max_headers, max_target
        self._lines = _Lines()

    def __repr__(self) -> str:
        return f"<FastHeadParser with {len(self._lines)} lines>"

    def forget(self) -> None:
        """Forget every line."""
        self._lines.clear()

    def request(self, head: bytes) -> RequestHead | None:
        """What a head of a request says, up to and with its empty line; None if it is not plain. A field of the kind INVALID is one that
        only the parser can judge."""
        texts = head.split(b"\r\n")
        match = _REQUEST_LINE.fullmatch(texts[0])
        if match is None or len(head) > self._max_size or len(texts) - 3 > self._max_headers or len(texts[0]) > self._max_target:
            return None
        lines = self._lines
        return RequestHead(match[1].decode(), match[2], (1, 1), [lines[text] for text in texts[1:-2]])

    def response(self, head: bytes) -> ResponseHead | None:
        """The same for a head of a final response."""
        texts = head.split(b"\r\n")
        match = _STATUS_LINE.fullmatch(texts[0])
        if match is None or len(head) > self._max_size or len(texts) - 3 > self._max_headers:
            return None
        lines = self._lines
        return ResponseHead(int(match[1]), match[2], (1, 1), [lines[text] for text in texts[1:-2]])


class _Lines(dict[bytes, Line]):
    """Header lines by their bytes. Framing other than by length, and connection options, are left to the parser."""

    def __missing__(self, text: bytes) -> Line:
        name, colon, value = text.partition(b":")
        kind = FIELDS[name]
        value = value.strip(b" \t")
        if not colon or len(text.translate(None, CONTROLS)) != len(text):
            kind = FieldKind.INVALID
        elif kind is not FieldKind.PLAIN:
            if name.lower() in _CONNECTION:
                kind = FieldKind.HOP if value in _PERSISTENT else FieldKind.INVALID
            elif kind is FieldKind.CODING:
                kind = FieldKind.INVALID
        clean = name + b": " + value
        found = kind, clean, value
        if len(text) <= _LINE_BYTES:
            if len(self) >= _LINES:
                self.clear()
            self[text] = found
        return found
