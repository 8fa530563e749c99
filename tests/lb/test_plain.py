"""The fast path for plain heads and its cache give the same result as the parser for the same bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from balance.lb.config.reader import parse
from balance.lb.control.service import process_instruments
from balance.lb.data.activeconfig import ActiveRoute
from balance.lb.data.fastheads import FORGET_SECONDS, FastHeadParser, HeadCache
from balance.lb.data.fields import FIELDS
from balance.lb.data.forwarding import ForwardingFields
from balance.lb.data.pool import Pool
from balance.lb.data.proxy import Proxy
from balance.lb.data.request import Body, Examiner, Request
from balance.lb.data.response import Response, compose
from balance.lb.data.wire import RequestReader, ResponseReader, WireError
from balance.lb.logs import EventLog
from balance.lb.policy.faults import Fault

CONFIG = parse(
    "listen: ':0'\nbackends: [{name: a, address: 'a:1'}]\nlimits: {max_header_size: 2KiB, max_headers: 20, max_request_line: 200}", "x", {}
)
FORWARDING = ForwardingFields(CONFIG.forwarding)
ROUTE = ActiveRoute(CONFIG.routes[0], cast("Pool", SimpleNamespace(recognises=False)))
EXAMINER = Examiner(FORWARDING, 1000, lambda _method, _host, _target, _lines: ROUTE)
PEER = FORWARDING.peer("192.0.2.1", b"local:80")
CASES = 40_000


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def plain() -> FastHeadParser:
    limits = CONFIG.limits
    return FastHeadParser(limits.max_header_size, limits.max_headers, limits.max_request_line)


def facts(made: Request | Response) -> dict[str, object]:
    return {name: getattr(made, name) for name in made.__slots__}


def parsed_request(loop: asyncio.AbstractEventLoop, data: bytes) -> tuple[Request, bytes | None, bool] | Fault | None:
    """Parse `data`: the request, the remaining bytes and whether the body is complete; or the fault; or None if incomplete."""
    reader = RequestReader(loop, CONFIG.limits)
    try:
        head = reader.feed(data)
        return None if head is None else (EXAMINER.examine(head, PEER), reader.rest, reader.done)
    except WireError as error:
        return error.fault


def recognised_request(recogniser: FastHeadParser, head: bytes) -> Request | None:
    message = recogniser.request(head)
    try:
        return EXAMINER.examine(message, PEER) if message else None
    except WireError:
        return None


PIECES = [
    b"Host: a", b"host: [::1]:80", b"HOST:a", b"Host: ", b"Host: a b", b"Content-Length: 2", b"Content-Length:0", b"content-length: 02", b"Content-Length: +2",
    b"Content-Length: 2000", b"Content-Length: 99999999999999999999", b"Content-Length: ", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"Connection: keep-alive", b"Connection: close", b"Connection: Keep-Alive", b"Connection: x-a", b"Connection: keep-alive, close", b"Connection: upgrade",
    b"Upgrade: websocket", b"Expect: 100-continue", b"Expect: cake", b"X-A: 1", b"x-a:1", b"X-A : 1", b" X-A: 1", b"\tfolded", b"X-A", b": x", b"X-A:", b"X-A: \t b \t",
    b"X_A: 1", b"X-A: \xff\xc3\xa9", b"X-A: \x00", b"X-A: a\rb", b"X-A: a\nb", b"X-A: \x7f", b"X-A: \x0b", b"X@A: 1", b"X-\xe9: 1", b"Cookie: a=b; c=d",
    b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6", b"TE: trailers", b"Keep-Alive: 5", b"Trailer: x", b"Proxy-Connection: close", b"HTTP2-Settings: x",
    b"X-Long: " + b"a" * 300, b"X-Long: " + b"a" * 3000, b"",
]  # fmt: skip
FIRST = [
    b"GET / HTTP/1.1", b"GET /a?b=c HTTP/1.1", b"POST /%2F//..? HTTP/1.1", b"GET /a|b\"<>^`{} HTTP/1.1", b"GET /[a]\\'~!$&()*+,;=:@ HTTP/1.1", b"HEAD / HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"GET http://b/ HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/2.0", b"GET /#a HTTP/1.1", b"GET  / HTTP/1.1", b"get / HTTP/1.1", b"BREW / HTTP/1.1",
    b"GET /\x01 HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"GET /" + b"a" * 250 + b" HTTP/1.1", b"DELETE / HTTP/1.1",
    b"PUT / HTTP/1.1", b"PATCH / HTTP/1.1", b"TRACE / HTTP/1.1", b"GET /\tb HTTP/1.1", b"",
]  # fmt: skip
BEHIND = [b"", b"ok", b"o", b"okGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n", b"junk"]
STATUS = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.1 404 Not \t Found", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 503 \xe9",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Switching", b"HTTP/1.1 600 X", b"HTTP/1.1 199 X", b"HTTP/1.1 999 X", b"HTTP/1.0 200 OK", b"HTTP/2.0 200 OK", b"HTTP/1.1  200 OK",
    b"http/1.1 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 200 \x01", b"HTTP/1.1 200 a\rb", b"ICY 200 OK", b"HTTP/1.1 226 IM Used", b"",
]  # fmt: skip


def message(chance: random.Random, first: list[bytes]) -> bytes:
    """A random head, usual or unusual, sometimes with one byte changed."""
    usual = chance.random() < 0.5
    lines = [chance.choice(first[:3] if usual else first)]
    lines += [b"Host: a"] * (first is FIRST) + chance.sample(PIECES, chance.randint(0, 2)) if usual else chance.sample(PIECES, chance.randint(0, 4))
    head = bytearray(b"\r\n".join(lines) + b"\r\n\r\n")
    if chance.random() < 0.2:
        head[chance.randrange(len(head))] = chance.choice(b"\r\n\t :\x00ax\xff,1")
    return bytes(head)


def test_plain_request_matches_parser(loop: asyncio.AbstractEventLoop) -> None:
    """Uncached and cached."""
    chance, recogniser, found = random.Random(1), plain(), set()
    for _case in range(CASES):
        data = message(chance, FIRST) + chance.choice(BEHIND)
        end = data.find(b"\r\n\r\n") + 4
        for _again in range(2):
            request = recognised_request(recogniser, data[:end])
            if request is None:
                continue
            expected = parsed_request(loop, data)
            assert isinstance(expected, tuple), (data, expected)
            assert facts(request) == facts(expected[0]), data
            assert expected[2] == (len(data) - end >= request.length), data
            if expected[2]:
                assert expected[1] == data[end + request.length :], data
            assert request.keep_alive, data
            found.add(data[:end])
    assert len(found) > 400


def recognised_response(recogniser: FastHeadParser, head: bytes) -> Response | None:
    message = recogniser.response(head)
    try:
        response = compose(message, bodiless=False) if message else None
    except WireError:
        return None
    return None if response and response.body is Body.CLOSE else response


def test_plain_response_matches_parser(loop: asyncio.AbstractEventLoop) -> None:
    """Uncached and cached."""
    chance, recogniser, found = random.Random(2), plain(), set()
    for _case in range(CASES):
        data = message(chance, STATUS)
        head = data[: data.find(b"\r\n\r\n") + 4]
        for _again in range(2):
            response = recognised_response(recogniser, head)
            if response is None:
                continue
            reader = ResponseReader(loop, CONFIG.limits, bodiless=False)
            (parsed,) = reader.feed(head)
            assert facts(compose(parsed, bodiless=False)) == facts(response), head
            assert reader.done == (response.length == 0), head
            assert response.reusable, head
            found.add(head)
    assert len(found) > 400


def test_usual_heads_are_plain() -> None:
    recogniser = plain()
    assert recognised_request(recogniser, b"GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\n")
    assert recognised_request(recogniser, b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: x\r\n\r\n")
    assert recogniser.response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n")


def test_head_is_cached_on_second_use() -> None:
    memo: HeadCache[int] = HeadCache()
    memo.keep(b"a", 1)
    assert memo.get(b"a") is None
    memo.keep(b"a", 1)
    assert memo.get(b"a") == 1
    memo.forget()
    assert memo.get(b"a") is None


def test_cache_is_bounded_in_number_and_size() -> None:
    memo: HeadCache[int] = HeadCache(heads=3)
    large = b"a" * 5000
    for head in (*[b"%d" % number for number in range(10)], large):
        memo.keep(head, 1)
        memo.keep(head, 1)
        assert sum(memo.get(b"%d" % number) is not None for number in range(10)) <= 3
    assert memo.get(large) is None
    recogniser = plain()
    for number in range(20_000):
        recogniser.request(b"GET / HTTP/1.1\r\nHost: a\r\nX-%d: 1\r\n\r\n" % number)
    assert int(repr(recogniser).split()[2]) <= 1024
    assert len(FIELDS) <= 1024


def test_cache_of_size_zero_keeps_nothing() -> None:
    memo: HeadCache[int] = HeadCache(heads=0)
    for _time in range(3):
        memo.keep(b"a", 1)
    assert memo.get(b"a") is None


def test_replaced_config_drops_its_cache() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n"
    message = plain().request(head)
    assert message

    async def outlived() -> tuple[object, object]:
        proxy = Proxy(CONFIG, process_instruments(), EventLog("error", "json"), None)
        former = proxy.active_config
        memo = former.requests(PEER)
        proxy.adopt(proxy.build(CONFIG, {}))
        for _twice in range(2):
            memo.keep(head, Request(message))
        before = memo.get(head)
        proxy.clock.now += FORGET_SECONDS
        proxy._on_tick()
        proxy.close()
        return before, memo.get(head)

    before, after = asyncio.run(outlived())
    assert isinstance(before, Request)
    assert after is None
