"""Functions of bytes that must not raise: each is a claim about the code that parses untrusted input.

Theory. The only exception that may leave that code is `WireError`. And how the network cuts a stream into reads must not change what is
taken from it: a message that is whole either way is the same message, and a stream that is refused one way is refused the other way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

from balance.lb.config.reader import parse
from balance.lb.data.accesslog import Entry, render
from balance.lb.data.activeconfig import ActiveRoute
from balance.lb.data.fastheads import FastHeadParser
from balance.lb.data.forwarding import ForwardingFields
from balance.lb.data.pool import Pool
from balance.lb.data.request import Body, Examiner, Request
from balance.lb.data.response import compose, interim
from balance.lb.data.wire import RequestReader, ResponseReader, WireError

LOOP = asyncio.new_event_loop()
TEXT = """
listen: ":0"
backends: [{name: a, address: "a:1"}]
limits: {max_header_size: 1024, max_request_line: 512, max_headers: 20}
"""
CONFIG = parse(TEXT, "fuzz", {})
LIMITS = CONFIG.limits
FORWARDING = ForwardingFields(CONFIG.forwarding)
ROUTE = ActiveRoute(CONFIG.routes[0], cast("Pool", SimpleNamespace(recognises=False)))
EXAMINER = Examiner(FORWARDING, 0, lambda _method, _host, _target, _lines: ROUTE)
PEER = FORWARDING.peer("127.0.0.1", b"127.0.0.1:80")
PLAIN = FastHeadParser(LIMITS.max_header_size, LIMITS.max_headers, LIMITS.max_request_line)
Harness = Callable[[bytes], object]


@dataclass(frozen=True)
class ParsedStream:
    """Heads and bodies of the complete requests, and what followed: a refusal, part of a request or nothing."""

    whole: tuple[tuple[bytes, bytes], ...]
    end: str


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """The stream in a fuzzer's input, and its pieces: the first byte says how many, as many more say where."""
    count = data[0] % 8 if data else 0
    places, stream = data[1 : 1 + count], data[1 + count :]
    ends = sorted({place * (1 + len(stream) // 256) for place in places if place * (1 + len(stream) // 256) < len(stream)} - {0})
    return stream, [stream[begin:end] for begin, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


def requests(pieces: list[bytes], *, plain: bool = False) -> ParsedStream:
    """Parse a client's bytes as its connection does. `plain`: use the fast parser for simple heads."""
    whole: list[tuple[bytes, bytes]] = []
    stash, incoming = b"", iter(pieces)
    try:
        while data := stash or next(incoming, b""):
            end = data.find(b"\r\n\r\n") + 4
            if plain and (request := _recognised(data[:end])):
                body, stash = data[end : end + request.length], data[end + request.length :]
                while len(body) < request.length:
                    if not (data := next(incoming, b"")):
                        return ParsedStream(tuple(whole), "part")
                    missing = request.length - len(body)
                    body, stash = body + data[:missing], data[missing:]
            else:
                reader = RequestReader(LOOP, LIMITS)
                while not (message := reader.feed(data)):
                    if not (data := next(incoming, b"")):
                        return ParsedStream(tuple(whole), "part" if reader.partial else "nothing")
                request = EXAMINER.examine(message, PEER)
                body = reader.body()
                while not reader.done:
                    if not (data := next(incoming, b"")):
                        return ParsedStream(tuple(whole), "part")
                    reader.feed_body(data)
                    body += reader.body()
                stash = reader.rest or b""
                if request.final and (reader.followed or stash not in (b"", b"\r\n")):
                    return ParsedStream(tuple(whole), "refused")
                if reader.rest is None or not request.keep_alive:
                    whole.append((request.head, body))
                    return ParsedStream(tuple(whole), "closed")
            _check(request.head + PEER.suffix)
            access_log(request.target)
            whole.append((request.head, body))
    except WireError:
        return ParsedStream(tuple(whole), "refused")
    return ParsedStream(tuple(whole), "nothing")


def _recognised(head: bytes) -> Request | None:
    message = PLAIN.request(head)
    try:
        return EXAMINER.examine(message, PEER) if message else None
    except WireError:
        return None


def request_splits(data: bytes) -> None:
    """Requests are the same however the stream was cut, and so is what comes after them: a refusal may only come earlier in one than in
    the other, and a connection be closed where a chunked request and a further one came together."""
    stream, pieces = cut(data)
    one, many = requests([stream]), requests(pieces)
    short, long = sorted((one, many), key=lambda outcome: len(outcome.whole))
    assert long.whole[: len(short.whole)] == short.whole, (one, many)
    if short.end != "closed" and "part" not in (short.end, long.end):
        more = len(long.whole) - len(short.whole)  # bytes behind the last request have it refused only if they came with it
        assert short == long or (long.end == "closed" and more <= (short.end == "refused")), (one, many)


def responses(pieces: list[bytes], *, bodiless: bool) -> tuple[list[bytes], bytes, str]:
    """Heads for the client, the body, and how the response ended: complete, unfinished or refused."""
    reader = ResponseReader(LOOP, LIMITS, bodiless=bodiless)
    heads: list[bytes] = []
    body, final = b"", False
    try:
        for piece in pieces:
            for head in reader.feed(piece):
                final = not 100 <= head.code < 200
                heads.append(compose(head, bodiless=bodiless).head + b"\r\n" if final else interim(head))
                _check(heads[-1])
            body += reader.body()
            if reader.done:
                return heads, body, "whole"
        if reader.eof():
            return heads, body + reader.body(), "whole"
    except WireError:
        return heads, body, "refused"
    return heads, body, "unfinished"


def response_splits(data: bytes) -> None:
    """A response that is whole either way is the same one; what is junk if it comes at once may come too late to matter."""
    if not data:
        return
    stream, pieces = cut(data[1:])
    one, many = (responses(found, bodiless=bool(data[0] & 1)) for found in ([stream], pieces))
    if one[2] == many[2] == "whole":
        assert one == many, (one, many)
    elif one[2] == "whole":
        raise AssertionError((one, many))


def differential(data: bytes) -> None:
    """If the fast parser takes a head, the full parser agrees about it and what follows."""
    stream, pieces = cut(data)
    assert requests(pieces, plain=True) == requests(pieces)
    message = PLAIN.response(stream[: stream.find(b"\r\n\r\n") + 4])
    try:
        response = compose(message, bodiless=False) if message else None
    except WireError:
        return
    if response and response.body is not Body.CLOSE:
        (parsed,) = ResponseReader(LOOP, LIMITS, bodiless=False).feed(stream[: stream.find(b"\r\n\r\n") + 4])
        expected = compose(parsed, bodiless=False)
        assert all(getattr(expected, name) == getattr(response, name) for name in response.__slots__), (expected.head, response.head)


def access_log(target: bytes) -> None:
    """A target of any bytes gives one log line, which can be parsed back."""
    entry = Entry("127.0.0.1", "GET", target, 200, "a", 0, 2, 0.5, 1, "ok", "complete")
    line = render("2026-01-02T03:04:05.678Z", entry, "json")
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["target"] == target.decode("utf-8", "backslashreplace")
    text = render("2026-01-02T03:04:05.678Z", entry, "text")
    assert text[:-1].isprintable()
    assert text.isascii()


HARNESSES: dict[str, Harness] = {
    "requests": request_splits, "responses": response_splits, "differential": differential, "access_log": access_log,
}  # fmt: skip


def _check(head: bytes) -> None:
    """A written head has one end, no bare CR or LF and no control characters."""
    assert head.endswith(b"\r\n\r\n"), head
    assert head.index(b"\r\n\r\n") == len(head) - 4, head
    rest = head.replace(b"\r\n", b"")
    assert not [byte for byte in rest if (byte < 32 and byte != 9) or byte == 127], head
