"""What clients may send: refused requests never reach an origin, accepted ones reach it unchanged but for what is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, Stream, World

H = b"Host: test\r\n"


@pytest.fixture(scope="module")
def origin(shared: World) -> Origin:
    return shared.origin()


@pytest.fixture(scope="module")
def balancer(shared: World, origin: Origin) -> Balancer:
    return shared.balancer(origin, limits={"max_header_size": "4KiB", "max_request_size": "1KiB"})


@pytest.fixture(scope="module")
def second_origin(shared: World) -> Origin:
    """For requests that reach an origin in part: it notes them when it sees their end, which may be after the test's."""
    return shared.origin()


@pytest.fixture(scope="module")
def second(shared: World, second_origin: Origin) -> Balancer:
    return shared.balancer(second_origin, limits={"max_request_size": "1KiB"})


REFUSED = {
    # framing (RFC 9112 section 6)
    "content-length with transfer-encoding": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "transfer-encoding with content-length": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "transfer-encoding from HTTP/1.0": (b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "transfer-encoding twice": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "last coding is not chunked": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "empty coding": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding:\r\n\r\n", 400),
    "coding before chunked": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "two equal content-lengths": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 400),
    "list of content-lengths": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 2, 2\r\n\r\nok", 400),
    "signed content-length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +2\r\n\r\nok", 400),
    "negative content-length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: -2\r\n\r\nok", 400),
    "empty content-length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length:\r\n\r\nok", 400),
    "overflowing content-length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 99999999999999999999\r\n\r\nok", 400),
    "hexadecimal content-length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0x2\r\n\r\nok", 400),
    # request line (RFC 9112 section 3)
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + H + b"\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n" + H + b"\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "two spaces before the target": (b"GET  / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "two spaces after the target": (b"GET /  HTTP/1.1\r\n" + H + b"\r\n", 400),
    "tab in the request line": (b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    "lower case method": (b"get / HTTP/1.1\r\n" + H + b"\r\n", 501),
    "unknown method": (b"BREW /pot HTTP/1.1\r\n" + H + b"\r\n", 501),
    "method that is no token": (b"G@T / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "fragment in the target": (b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "non-ASCII target": (b"GET /\xc3\xa9 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "control character in the target": (b"GET /\x01 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "asterisk for GET": (b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400),
    "authority-form for GET": (b"GET test:80 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "relative target": (b"GET a/b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "absolute-form without authority": (b"GET http:///a HTTP/1.1\r\n" + H + b"\r\n", 400),
    "absolute-form with user": (b"GET http://me@test/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    "absolute-form of another scheme": (b"GET ftp://test/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    "CONNECT": (b"CONNECT test:80 HTTP/1.1\r\n" + H + b"\r\n", 501),
    "CONNECT to a path": (b"CONNECT / HTTP/1.1\r\n" + H + b"\r\n", 501),
    "two empty lines first": (b"\r\n\r\nGET / HTTP/1.1\r\n" + H + b"\r\n", 400),
    # header fields (RFC 9112 section 5)
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "two hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\n" + H + H + b"\r\n", 400),
    "empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "host with a user": (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "host with a bad port": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "list of hosts": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: test\n\n", 400),
    "bare LF in headers": (b"GET / HTTP/1.1\r\n" + H + b"X: a\nY: b\r\n\r\n", 400),
    "bare CR in a value": (b"GET / HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n", 400),
    "folded header": (b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\n" + H + b"X : a\r\n\r\n", 400),
    "space before the first name": (b"GET / HTTP/1.1\r\n X: a\r\n" + H + b"\r\n", 400),
    "empty name": (b"GET / HTTP/1.1\r\n" + H + b": a\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + H + b"X\r\n\r\n", 400),
    "name beyond ASCII": (b"GET / HTTP/1.1\r\n" + H + b"\xc3\xa9: a\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + H + b"X: a\x00b\r\n\r\n", 400),
    "control character in a value": (b"GET / HTTP/1.1\r\n" + H + b"X: a\x01b\r\n\r\n", 400),
    "DEL in a value": (b"GET / HTTP/1.1\r\n" + H + b"X: a\x7fb\r\n\r\n", 400),
    "connection nominates host": (b"GET / HTTP/1.1\r\n" + H + b"Connection: close, Host\r\n\r\n", 400),
    "connection nominates content-length": (b"POST / HTTP/1.1\r\n" + H + b"Connection: content-length\r\nContent-Length: 2\r\n\r\nok", 400),
    "unknown expectation": (b"POST / HTTP/1.1\r\n" + H + b"Expect: cake\r\nContent-Length: 2\r\n\r\nok", 417),
    # sizes
    "target too long": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414),
    "endless target": (b"GET /" + b"a" * 9000, 414),
    "header too long": (b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 5000 + b"\r\n\r\n", 431),
    "head too long": (b"GET / HTTP/1.1\r\n" + H + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 100 + b"\r\n", 431),
    "endless headers": (b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n" * 1000, 431),
    "too many headers": (b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n" * 200 + b"\r\n", 431),
    "declared body too large": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 2000\r\n\r\n", 413),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_and_the_connection_closed_and_no_origin_sees_it(balancer: Balancer, origin: Origin, case: str) -> None:
    request, expected = REFUSED[case]
    before = len(origin.heads), origin.connections
    stream = balancer.connect().send(request)
    head, body = stream.message()
    assert int(head.split(b" ")[1]) == expected
    assert b"\r\nConnection: close\r\n" in head
    assert body.startswith(head.split(b" ", 1)[1].split(b"\r\n")[0] + b": ")
    assert stream.closed()
    stream.close()
    assert (len(origin.heads), origin.connections) == before


@pytest.mark.parametrize("case", ["two spaces before the target", "two hosts", "endless headers", "target too long", "TLS"])
def test_a_bad_request_is_refused_however_it_is_cut_into_packets(balancer: Balancer, case: str) -> None:
    request, expected = REFUSED[case]
    stream = balancer.connect()
    try:
        for at in range(0, len(request), 1 + len(request) // 20):
            stream.send(request[at : at + 1 + len(request) // 20])
    except OSError:
        pass  # refused before its end: fine
    assert int(stream.head().split(b" ")[1]) == expected
    stream.close()


BAD_CHUNKS = {
    "size is no number": b"x\r\nabc\r\n0\r\n\r\n",
    "size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "size with a space": b"3 \r\nabc\r\n0\r\n\r\n",
    "overflowing size": b"11111111111111111\r\nabc\r\n0\r\n\r\n",
    "no CR after the size": b"3\nabc\r\n0\r\n\r\n",
    "data longer than the size": b"3\r\nabcd\r\n0\r\n\r\n",
    "LF in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "control character in an extension": b"3;a=\x01\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
@pytest.mark.parametrize("together", [True, False], ids=["with the head", "after the head"])
def test_a_broken_chunk_ends_the_request(second: Balancer, second_origin: Origin, case: str, together: bool) -> None:
    head = b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n"
    before = len(second_origin.bodies)
    stream = second.connect()
    if together:
        stream.send(head + BAD_CHUNKS[case])
    else:
        stream.send(head + b"1\r\na\r\n").send(BAD_CHUNKS[case])
    assert stream.head().startswith(b"HTTP/1.1 400 ")
    stream.close()
    assert all(body.endswith(b"[cut off]") for body in second_origin.bodies[before:])


def test_a_chunked_body_beyond_the_limit_gets_413(second: Balancer) -> None:
    head, _body = second.ask(
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"a" * 256 + b"\r\n" * 1 + b"400\r\n" + b"a" * 1024
    )
    assert head.startswith(b"HTTP/1.1 413 ")


ACCEPTED = {
    "target byte for byte": (b"GET //a/../%41%2f?x=%zz&&+? HTTP/1.1\r\n" + H + b"\r\n", b"GET //a/../%41%2f?x=%zz&&+? HTTP/1.1\r\n"),
    "trailing question mark": (b"GET /a? HTTP/1.1\r\n" + H + b"\r\n", b"GET /a? HTTP/1.1\r\n"),
    "odd but allowed characters": (b'GET /a|b"<>^`{} HTTP/1.1\r\n' + H + b"\r\n", b'GET /a|b"<>^`{} HTTP/1.1\r\n'),
    "absolute-form becomes origin-form": (b"GET http://other:81/a?b HTTP/1.1\r\n" + H + b"\r\n", b"GET /a?b HTTP/1.1\r\nHost: other:81\r\n"),
    "absolute-form without a path": (b"GET http://other HTTP/1.1\r\n" + H + b"\r\n", b"GET / HTTP/1.1\r\nHost: other\r\n"),
    "absolute-form with only a query": (b"GET http://other?a HTTP/1.1\r\n" + H + b"\r\n", b"GET /?a HTTP/1.1\r\nHost: other\r\n"),
    "OPTIONS of the server": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", b"OPTIONS * HTTP/1.1\r\n"),
    "OPTIONS of the server, absolute": (b"OPTIONS http://other HTTP/1.1\r\n" + H + b"\r\n", b"OPTIONS * HTTP/1.1\r\nHost: other\r\n"),
    "HTTP/1.0 becomes HTTP/1.1": (b"GET /a HTTP/1.0\r\nHost: old\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: old\r\n"),
    "one empty line first": (b"\r\nGET /a HTTP/1.1\r\n" + H + b"\r\n", b"GET /a HTTP/1.1\r\n"),
    "repeated headers in order and case": (b"GET / HTTP/1.1\r\nX-A: 1\r\n" + H + b"x-a: 2\r\nX-a: 3\r\n\r\n", b"X-A: 1\r\nHost: test\r\nx-a: 2\r\nX-a: 3\r\n"),
    "bytes beyond ASCII": (b"GET / HTTP/1.1\r\n" + H + b"X: \xff\xc3\xa9\r\n\r\n", b"\r\nX: \xff\xc3\xa9\r\n"),
    "empty value": (b"GET / HTTP/1.1\r\n" + H + b"X:\r\n\r\n", b"\r\nX: \r\n"),
    "IPv6 host": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"\r\nHost: [::1]:80\r\n"),
    "method of another standard": (b"PROPFIND / HTTP/1.1\r\n" + H + b"\r\n", b"PROPFIND / HTTP/1.1\r\n"),
    "body by length": (b"POST / HTTP/1.1\r\n" + H + b"content-length: 3\r\n\r\nabc", b"\r\ncontent-length: 3\r\n"),
    "body by chunks": (b"POST / HTTP/1.1\r\n" + H + b"transfer-encoding: CHUNKED\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_good_request_reaches_the_origin_as_it_was(balancer: Balancer, origin: Origin, case: str) -> None:
    request, expected = ACCEPTED[case]
    before = len(origin.heads)
    assert balancer.ask(request)[0].startswith(b"HTTP/1.1 200 ")
    assert expected in origin.heads[before]
    assert origin.bodies[before] == (b"abc" if b"abc" in request else b"")


def test_the_origin_gets_no_header_that_the_client_did_not_send_but_those_about_the_client(balancer: Balancer, origin: Origin) -> None:
    balancer.ask(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    assert origin.heads[-1] == (
        b"GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-Host: test\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n"
    )


REMOVED = [
    b"Connection: keep-alive", b"Connection: X-Private", b"X-Private: 1", b"Keep-Alive: 1", b"Proxy-Connection: keep-alive", b"TE: trailers",
    b"Trailer: X", b"Upgrade: h2c", b"Proxy-Authorization: Basic x", b"X_Forwarded_For: 6.6.6.6", b"Forwarded: for=6.6.6.6",
    b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil", b"x-forwarded-client-cert: x", b"X-Real-IP: 6.6.6.6",
]  # fmt: skip


def test_hop_by_hop_headers_end_here_and_claims_about_the_client_are_not_believed(balancer: Balancer, origin: Origin) -> None:
    balancer.ask(b"GET / HTTP/1.1\r\nHost: test\r\nX-Public: 1\r\n" + b"".join(line + b"\r\n" for line in REMOVED) + b"\r\n")
    assert origin.heads[-1] == (
        b"GET / HTTP/1.1\r\nHost: test\r\nX-Public: 1\r\nX-Forwarded-Host: test\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n"
    )


def test_an_http_1_0_request_without_host_gets_the_address_that_it_was_sent_to(balancer: Balancer, origin: Origin) -> None:
    balancer.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % balancer.port in origin.heads[-1]


TRAILERS = b"POST /a HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: leaked\r\n\r\n"


@pytest.mark.parametrize("next_request", [b"", b"GET /b HTTP/1.1\r\n" + H + b"\r\n"], ids=["alone", "with a request behind it"])
def test_trailers_are_dropped_and_never_become_headers_of_the_next_request(balancer: Balancer, origin: Origin, next_request: bytes) -> None:
    before = len(origin.heads)
    stream = balancer.connect().send(TRAILERS + next_request)
    assert stream.message()[0].startswith(b"HTTP/1.1 200 ")
    assert stream.closed()
    stream.close()
    assert len(origin.heads) == before + 1
    assert origin.bodies[-1] == b"abc"
    assert b"leaked" not in origin.heads[-1]


def test_a_connection_goes_on_after_a_chunked_request_without_trailers(balancer: Balancer) -> None:
    stream = balancer.connect()
    for _again in range(3):
        stream.send(b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n").send(b"\r\n")
        assert stream.message()[0].startswith(b"HTTP/1.1 200 ")
    stream.close()


LAST = {
    "without a body": b"GET / HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n",
    "with a body": b"POST / HTTP/1.1\r\n" + H + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0": b"GET / HTTP/1.0\r\n" + H + b"\r\n",
}


@pytest.mark.parametrize("case", LAST)
def test_a_last_request_with_something_behind_it_is_refused(balancer: Balancer, origin: Origin, case: str) -> None:
    before = len(origin.heads)
    stream = balancer.connect().send(LAST[case] + b"GET /smuggled HTTP/1.1\r\n" + H + b"\r\n")
    head, _body = stream.message()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in head
    assert stream.closed()
    stream.close()
    assert len(origin.heads) == before


@pytest.mark.parametrize("case", LAST)
def test_what_comes_after_the_last_request_is_ignored(balancer: Balancer, origin: Origin, case: str) -> None:
    before = len(origin.heads)
    stream = balancer.connect().send(LAST[case])
    head, _body = stream.message()
    assert head.startswith(b"HTTP/1.1 200 ")
    stream.send(b"GET /smuggled HTTP/1.1\r\n" + H + b"\r\n")
    assert stream.closed()
    stream.close()
    assert len(origin.heads) == before + 1


def test_error_pages_never_echo_the_request(balancer: Balancer) -> None:
    head, body = balancer.ask(b"GET /<script> HTTP/1.1\r\n" + H + b"X: <script>\x01\r\n\r\n")
    assert b"script" not in head + body
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in head


def test_a_refused_head_request_gets_headers_only(balancer: Balancer) -> None:
    stream = balancer.connect().send(b"HEAD / HTTP/1.1\r\n" + H + b"Expect: cake\r\n\r\n")
    assert stream.head().startswith(b"HTTP/1.1 417 ")
    assert stream.closed()
    stream.close()


def test_what_could_not_be_parsed_counts_as_method_other(balancer: Balancer) -> None:
    series = 'balance_http_requests_total{method="OTHER",status="400"}'
    before = balancer.metric(series)
    balancer.ask(b"junk\r\n\r\n")
    balancer.becomes(series, before + 1)


def test_pipelined_requests_are_answered_in_order_even_if_cut_anywhere(shared: World) -> None:
    def echo(stream: Stream) -> None:
        while head := stream.message()[0]:
            target = head.split(b" ")[1]
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    balancer = shared.balancer(shared.origin(echo))
    requests = [b"GET /%d HTTP/1.1\r\n" % number + H + b"\r\n" for number in range(50)]
    requests[7] = b"POST /7 HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello"
    for size in (13, 100, 10_000):
        stream = balancer.connect()
        data = b"".join(requests)
        for at in range(0, len(data), size):
            stream.send(data[at : at + size])
        assert [stream.message()[1] for _request in requests] == [b"/%d" % number for number in range(50)]
        stream.close()
