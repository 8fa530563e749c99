"""Routes in operation: which pool answers, and which header edits backends and clients see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, Stream, World


def echo(name: str) -> object:
    """A script that answers with its name and the head it got."""

    def script(stream: Stream) -> None:
        while head := stream.message()[0]:
            body = name.encode() + b"\n" + head
            stream.send(b"HTTP/1.1 200 OK\r\nServer: secret\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    return script


@pytest.fixture(scope="module")
def balancer(shared: World) -> Balancer:
    origins: dict[str, Origin] = {name: shared.origin(echo(name)) for name in ("web", "api", "admin")}  # type: ignore[arg-type]
    pools = [{"name": name, "backends": [{"name": f"{name}1", "address": f"127.0.0.1:{origin.port}"}]} for name, origin in origins.items()]
    routes = [
        {"name": "admin", "match": {"host": "admin.test", "header": {"X-Key": "k"}}, "pool": "admin"},
        {
            "name": "api", "match": {"path": "/api", "method": ["GET", "POST"]}, "pool": "api", "rewrite": {"replace_prefix": "/v2"},
            "request_headers": {"set": {"X-Tier": "gold"}, "remove": ["Cookie"]},
            "response_headers": {"remove": ["Server"], "add": {"X-Served-By": "api"}},
        },
        {"name": "web", "match": {"host": ["web.test", "*.web.test"]}, "pool": "web"},
    ]  # fmt: skip
    return shared.balancer(backends=None, pools=pools, routes=routes)


ROUTED = {
    "by host": ("GET / HTTP/1.1", "Host: web.test", b"web"),
    "by wildcard and with a port": ("GET / HTTP/1.1", "Host: A.Web.Test:8080", b"web"),
    "by path": ("GET /api/items?x=/api HTTP/1.1", "Host: web.test", b"api"),
    "by path alone": ("GET /api HTTP/1.1", "Host: anything", b"api"),
    "by whole segments only": ("GET /apiary HTTP/1.1", "Host: web.test", b"web"),
    "by method": ("DELETE /api HTTP/1.1", "Host: web.test", b"web"),
    "by header": ("GET / HTTP/1.1", "Host: admin.test\r\nX-Key: k", b"admin"),
    "no route": ("GET / HTTP/1.1", "Host: admin.test", b""),
    "no route for the host": ("GET / HTTP/1.1", "Host: other.test", b""),
}


@pytest.mark.parametrize("case", ROUTED)
def test_first_matching_route_wins(balancer: Balancer, case: str) -> None:
    """Uncached and cached."""
    line, headers, expected = ROUTED[case]
    for _again in range(4):
        head, body = balancer.ask(f"{line}\r\n{headers}\r\n\r\n".encode())
        assert (body.partition(b"\n")[0] if head.startswith(b"HTTP/1.1 200 ") else b"") == expected
        assert expected or head.startswith(b"HTTP/1.1 404 ")


def test_path_and_headers_are_rewritten(balancer: Balancer) -> None:
    for _again in range(3):
        head, body = balancer.ask(b"GET /api/a%2Fb?q=/api HTTP/1.1\r\nHost: web.test\r\nCookie: a=b\r\nx-tier: tin\r\nAccept: x\r\n\r\n")
        seen = body.partition(b"\n")[2]
        assert seen.startswith(b"GET /v2/a%2Fb?q=/api HTTP/1.1\r\nHost: web.test\r\nAccept: x\r\nX-Tier: gold\r\n")
        assert b"cookie" not in seen.lower()
        assert b"\r\nX-Served-By: api\r\n" in head
        assert b"Server" not in head


def test_response_edits_stay_with_their_route(balancer: Balancer) -> None:
    for _again in range(3):
        assert b"\r\nServer: secret\r\n" in balancer.ask(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")[0]
        assert b"Server" not in balancer.ask(b"GET /api HTTP/1.1\r\nHost: web.test\r\n\r\n")[0]


@pytest.mark.parametrize("target", ["/api/../admin", "/api/%2e%2e/admin", "/./api"])
def test_dot_segments_are_refused(balancer: Balancer, target: str) -> None:
    assert balancer.get(target)[0].startswith(b"HTTP/1.1 400 ")


def test_unrouted_request_counts_once(balancer: Balancer) -> None:
    series = 'balance_request_failures_total{reason="no_route",source="client"}'
    before = balancer.metric(series)
    balancer.ask(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
    balancer.becomes(series, before + 1)
