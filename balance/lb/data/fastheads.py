"""A fast parser for simple heads, and a cache of results by heads.

Theory. Checking, cleaning and rewriting a head is a pure function of its bytes and of the configuration. Clients and origins repeat
themselves, so results are cached by the bytes of the head (`HeadCache`), and header lines too. Heads not seen before are parsed here if
they are *plain*: a well-known method, a path, HTTP/1.1, lines of ``token: value`` without control characters, no transfer coding and no
connection option except keep-alive. That is a small part of what the full parser accepts, read in the same way; everything that is not
plain, or would be rejected, is left to the full parser. So neither changes a result; tests compare them.

Secrets: heads contain cookies and credentials. Everything cached is dropped after at most `FORGET_SECONDS`, and is found only with
exactly the same bytes.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from balance.lb.data.fields import CONTROLS, FIELDS, FieldKind, Line
from balance.lb.data.wire import RequestHead, ResponseHead

FORGET_SECONDS = 10.0
"""Maximum seconds that a head is cached."""
_HEADS, _HEAD_BYTES = 512, 4096
_LINES, _LINE_BYTES = 1024, 256
_SIGHTINGS = 8192
_REQUEST_LINE = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) (/[!\"$-~]*) HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\t -~]*)")
_PERSISTENT = frozenset({b"keep-alive", b"Keep-Alive"})
_CONNECTION = frozenset({b"connection", b"proxy-connection"})  # the parser respects both

T = TypeVar("T")


class HeadCache(Generic[T]):
    """A cache of at most `heads` results by the bytes of heads; bounded in size, and in time by its owner, which calls `forget`."""

    __slots__ = ("_heads", "_known", "_seen", "get")

    def __init__(self, heads: int = _HEADS) -> None:
        self._heads = heads
        self._known: dict[bytes, T] = {}
        self._seen: set[int] = set()  # hashes of heads: only repeated heads are cached
        self.get = self._known.get
        """the result for these bytes, or None"""

    def __repr__(self) -> str:
        return f"<HeadCache of {len(self._known)}>"

    def keep(self, head: bytes, made: T) -> None:
        """Cache the result `made` for a head, if the head has been seen before."""
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
        """Clear the cache."""
        self._known.clear()
        self._seen.clear()


class FastHeadParser:
    """Parses plain heads of at most `max_size` bytes and `max_headers` fields, with a first line of at most `max_target` bytes."""

    __slots__ = ("_lines", "_max_headers", "_max_size", "_max_target")

    def __init__(self, max_size: int, max_headers: int, max_target: int) -> None:
        self._max_size, self._max_headers, self._max_target = max_size, max_headers, max_target
        self._lines = _Lines()

    def __repr__(self) -> str:
        return f"<FastHeadParser with {len(self._lines)} lines>"

    def forget(self) -> None:
        """Clear the cache of header lines."""
        self._lines.clear()

    def request(self, head: bytes) -> RequestHead | None:
        """Parse the head of a request, with its empty line; None if it is not plain. A field of kind INVALID means that only the full parser
        can decide."""
        texts = head.split(b"\r\n")
        match = _REQUEST_LINE.fullmatch(texts[0])
        if match is None or len(head) > self._max_size or len(texts) - 3 > self._max_headers or len(texts[0]) > self._max_target:
            return None
        lines = self._lines
        return RequestHead(match[1].decode(), match[2], (1, 1), [lines[text] for text in texts[1:-2]])

    def response(self, head: bytes) -> ResponseHead | None:
        """Parse the head of a final response, in the same way."""
        texts = head.split(b"\r\n")
        match = _STATUS_LINE.fullmatch(texts[0])
        if match is None or len(head) > self._max_size or len(texts) - 3 > self._max_headers:
            return None
        lines = self._lines
        return ResponseHead(int(match[1]), match[2], (1, 1), [lines[text] for text in texts[1:-2]])


class _Lines(dict[bytes, Line]):
    """A cache of parsed header lines. Transfer codings and connection options are left to the full parser."""

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
