"""Forwarding headers: what backends learn about clients, and which proxies are trusted to say it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from balance.lb.config.reader import parse
from balance.lb.data.fields import line
from balance.lb.data.forwarding import ForwardingFields

if TYPE_CHECKING:
    from tests.lb.conftest import World


def forwarding(text: str) -> ForwardingFields:
    return ForwardingFields(parse(f"listen: ':0'\nbackends: [{{name: a, address: 'a:1'}}]\nforwarding: {{{text}}}", "balance.yaml", {}).forwarding)


FORWARDED = {
    "by default": ("", "192.0.2.1", b"X-Forwarded-Host: shop\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\r\n"),
    "nothing": ("x_forwarded: false", "192.0.2.1", b"\r\n"),
    "by a Unix socket": ("", "unix", b"X-Forwarded-Host: shop\r\nX-Forwarded-Proto: http\r\n\r\n"),
    "Forwarded alone": ("x_forwarded: false, forwarded: true", "192.0.2.1", b'Forwarded: host="shop";for=192.0.2.1;proto=http\r\n\r\n'),
    "Forwarded of IPv6": ("x_forwarded: false, forwarded: true", "2001:db8::1", b'Forwarded: host="shop";for="[2001:db8::1]";proto=http\r\n\r\n'),
    "Forwarded of a Unix socket": ("x_forwarded: false, forwarded: true", "unix", b'Forwarded: host="shop";for=unknown;proto=http\r\n\r\n'),
    "all of it": (
        "forwarded: true, via: edge", "192.0.2.1",
        b'X-Forwarded-Host: shop\r\nVia: 1.1 edge\r\nForwarded: host="shop";for=192.0.2.1;proto=http\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\r\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FORWARDED)
def test_forwarding_headers_name_client(case: str) -> None:
    text, address, expected = FORWARDED[case]
    made = forwarding(text)
    assert made.begin(b"shop", http10=False) + made.peer(address, b"local").suffix == expected


RECEIVED = [line(b"X-Forwarded-For", b"198.51.100.7, 10.0.0.9"), line(b"X-Forwarded-Proto", b"https"), line(b"X-Forwarded-Host", b"public"),
            line(b"Forwarded", b"for=198.51.100.7"), line(b"X-Real-IP", b"198.51.100.7")]  # fmt: skip
APPENDED = {
    "x-forwarded": (
        "trusted_proxies: 10.0.0.0/8",
        b"X-Real-IP: 198.51.100.7\r\nX-Forwarded-Host: public\r\nX-Forwarded-For: 198.51.100.7, 10.0.0.9, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n",
    ),
    "forwarded": (
        "trusted_proxies: 10.0.0.0/8, x_forwarded: false, forwarded: true, via: edge",
        b'X-Real-IP: 198.51.100.7\r\nForwarded: for=198.51.100.7, host="shop";for=10.0.0.1;proto=http\r\nVia: 1.1 edge\r\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", APPENDED)
def test_headers_of_trusted_proxy_are_extended(case: str) -> None:
    text, expected = APPENDED[case]
    made = forwarding(text)
    peer = made.peer("10.0.0.1", b"local")
    assert peer.trusted
    assert made.append(b"shop", peer, RECEIVED, http10=False) == expected


X_FORWARDED_FOR = {
    "one hop": ("198.51.100.7", "198.51.100.7"),
    "last untrusted address": ("6.6.6.6, 198.51.100.7, 10.0.0.9", "198.51.100.7"),
    "IPv6": ("2001:db8::1", "2001:db8::1"),
    "all trusted": ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
    "no header value": ("", "10.0.0.1"),
    "not an address": ("unknown", "10.0.0.1"),
    "zone with a comma": ('2001:db8::1%","reason":"ok', "10.0.0.1"),
    "zone without a comma": ('2001:db8::1%" reason=ok', "2001:db8::1"),
    "not an address before a trusted one": ("_hidden, 10.0.0.2", "10.0.0.2"),
}


@pytest.mark.parametrize("case", X_FORWARDED_FOR)
def test_client_is_last_untrusted_address(case: str) -> None:
    value, expected = X_FORWARDED_FOR[case]
    made = forwarding("trusted_proxies: 10.0.0.0/8")
    assert made.client(made.peer("10.0.0.1", b"local"), [line(b"X-Forwarded-For", value.encode())]) == expected


TRUST = {
    ("trusted_proxies: 10.0.0.0/8", "10.1.2.3"): True,
    ("trusted_proxies: 10.0.0.0/8", "11.1.2.3"): False,
    ("trusted_proxies: 10.0.0.0/8", "::ffff:10.1.2.3"): True,
    ("trusted_proxies: 10.0.0.0/8", "2001:db8::1"): False,
    ("trusted_proxies: ['2001:db8::/32', 192.0.2.1]", "2001:db8::1"): True,
    ("trusted_proxies: ['2001:db8::/32', 192.0.2.1]", "192.0.2.1"): True,
    ("trusted_proxies: 'fe80::/10'", "fe80::1%eth0"): True,
    ("trusted_proxies: 10.0.0.0/8", "unix"): False,
    ("trusted_proxies: [10.0.0.0/8, unix]", "unix"): True,
    ("", "127.0.0.1"): False,
    ("", "unix"): False,
}


@pytest.mark.parametrize(("text", "address"), TRUST)
def test_only_configured_networks_are_trusted(text: str, address: str) -> None:
    assert forwarding(text).peer(address, b"local").trusted is TRUST[text, address]


@pytest.fixture
def chained(world: World) -> Any:
    """A balancer that trusts the loopback, and its origin."""
    origin = world.origin()
    return world.balancer(origin, forwarding={"trusted_proxies": "127.0.0.0/8", "via": "edge"}), origin


def test_access_log_names_client_behind_proxy(world: World, chained: Any) -> None:
    """Requests of two clients on one connection of the proxy are kept apart."""
    balancer, origin = chained
    stream = balancer.connect()
    for client in ("198.51.100.1", "198.51.100.2", "198.51.100.1"):
        stream.send(f"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: {client}\r\n\r\n".encode())
        head, _body = stream.message()
        assert b"\r\nVia: 1.1 edge\r\n" in head
        assert f"X-Forwarded-For: {client}, 127.0.0.1\r\n".encode() in origin.heads[-1]
        assert b"\r\nVia: 1.1 edge\r\n" in origin.heads[-1]
    world.until(lambda: [entry["client"] for entry in balancer.access()] == ["198.51.100.1", "198.51.100.2", "198.51.100.1"])


def test_client_gone_before_accept_is_not_unix_peer(world: World) -> None:
    origin = world.origin()
    balancer = world.balancer(origin, forwarding={"trusted_proxies": "unix"})
    balancer.signal(signal.SIGSTOP)
    balancer.connect().send(b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n").reset()
    balancer.signal(signal.SIGCONT)
    (entry,) = world.until(balancer.access, "the request in the access log")
    assert entry["client"] == "127.0.0.1"
    assert all(b"198.51.100.1" not in head for head in origin.heads)


def test_http_1_0_is_named_in_via(chained: Any) -> None:
    balancer, origin = chained
    balancer.ask(b"GET / HTTP/1.0\r\nHost: shop\r\n\r\n")
    assert b"\r\nVia: 1.0 edge\r\n" in origin.heads[-1]


def test_metrics_can_be_switched_off(world: World) -> None:
    balancer = world.balancer(world.origin(), metrics={"enabled": False})
    assert balancer.get()[0].startswith(b"HTTP/1.1 200 ")
    assert balancer.admin("/metrics")[0] == 404
    assert balancer.admin("/ready")[0] == 200


LIMITS = {
    "request line": (b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "request line, not plain": (b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 414),
    "headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 5 + b"\r\n", 431),
    "headers, not plain": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + b"X: a\r\n" * 4 + b"\r\n", 431),
    "maximum number of headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 4 + b"\r\n", 200),
}


@pytest.mark.parametrize("case", LIMITS)
def test_request_line_and_header_count_are_limited(world: World, case: str) -> None:
    request, expected = LIMITS[case]
    balancer = world.balancer(world.origin(), limits={"max_headers": 5, "max_request_line": "100"})
    for _again in range(3):
        assert int(balancer.ask(request)[0].split(b" ")[1]) == expected
