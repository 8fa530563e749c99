"""Routing, path rewrites and header edits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balance.config.kinds import KindError
from balance.lb.config.httpkinds import FieldName
from balance.lb.config.model import Edits, RouteConfig, RouteMatch
from balance.lb.data.fields import FIELDS, FieldKind
from balance.lb.policy.edits import editor
from balance.lb.policy.faults import Fault
from balance.lb.policy.route import Router, has_dot_segment, rewrite

ROUTES = (
    RouteConfig("beta", RouteMatch(hosts=("example.org",), path="/api", headers=(("x-beta", "1"),)), "p"),
    RouteConfig("reads", RouteMatch(hosts=("example.org",), path="/api/v1", methods=("GET", "HEAD")), "p"),
    RouteConfig("api", RouteMatch(hosts=("example.org", "*.example.org"), path="/api"), "p"),
    RouteConfig("deep", RouteMatch(hosts=("*.a.example.org",)), "p"),
    RouteConfig("six", RouteMatch(hosts=("[::1]",)), "p"),
    RouteConfig("logo", RouteMatch(path="/logo.png"), "p"),
    RouteConfig("traced", RouteMatch(headers=(("x-trace", ""),)), "p"),
)


def found(router: Router, method: str, host: str, target: str, *headers: str) -> str:
    """The name of the route, or the reason why there is none."""
    route = router.find(method, host.encode(), target.encode(), [header.encode("latin-1") for header in headers])
    return route.value if isinstance(route, Fault) else route.name


CASES: list[tuple[str, str, str, str, str]] = [
    ("api", "GET", "example.org", "/api", ""),
    ("api", "GET", "example.org", "/api/", ""),
    ("api", "GET", "example.org", "/api?x=/api/v1", ""),
    ("api", "GET", "example.org", "/api/v10", ""),
    ("no_route", "GET", "example.org", "/apiary", ""),
    ("no_route", "GET", "example.org", "/", ""),
    ("no_route", "GET", "example.org", "/?/api", ""),
    ("reads", "GET", "example.org", "/api/v1", ""),
    ("reads", "HEAD", "example.org", "/api/v1/x/y?z", ""),
    ("api", "POST", "example.org", "/api/v1", ""),
    # the host
    ("reads", "GET", "EXAMPLE.org:8080", "/api/v1", ""),
    ("reads", "GET", "example.org.", "/api/v1", ""),
    ("reads", "GET", "example.org.:80", "/api/v1", ""),
    ("reads", "GET", "example.org:", "/api/v1", ""),
    ("api", "GET", "b.example.org", "/api/v1", ""),
    ("api", "GET", "x.a.example.org", "/api", ""),
    ("deep", "GET", "x.a.example.org", "/", ""),
    ("deep", "GET", "x.y.a.Example.org:1", "/", ""),
    ("no_route", "GET", "a.example.org", "/", ""),
    ("no_route", "GET", "anexample.org", "/api", ""),
    ("no_route", "GET", "example.org.evil.test", "/api", ""),
    ("six", "GET", "[::1]", "/x", ""),
    ("six", "GET", "[::1]:8080", "/x", ""),
    ("no_route", "GET", "[::2]:8080", "/x", ""),
    ("logo", "GET", "any.test", "/logo.png", ""),
    ("logo", "GET", "example.org", "/logo.png?v=1", ""),
    # headers
    ("beta", "POST", "example.org", "/api/v1", "X-BETA:  1 "),
    ("api", "POST", "example.org", "/api/v1", "X-Beta: 11"),
    ("api", "POST", "b.example.org", "/api/v1", "X-Beta: 1"),
    ("traced", "GET", "any.test", "/", "x-trace: ü"),
    ("traced", "GET", "example.org", "/", "X-Trace: a"),
    ("no_route", "GET", "any.test", "/", "X-Traces: a"),
    # paths are not decoded or normalised
    ("no_route", "GET", "example.org", "//api", ""),
    ("no_route", "GET", "example.org", "/%61pi", ""),
    ("no_route", "GET", "example.org", "/api%2Fv1", ""),
    ("no_route", "GET", "example.org", "/API", ""),
    ("api", "GET", "example.org", "/api//v1", ""),
    ("no_route", "OPTIONS", "example.org", "*", ""),
    ("bad_target", "GET", "example.org", "/api/../admin", ""),
]


@pytest.mark.parametrize(("expected", "method", "host", "target", "header"), CASES)
def test_first_matching_route_wins(expected: str, method: str, host: str, target: str, header: str) -> None:
    assert found(Router(ROUTES), method, host, target, *([header] if header else [])) == expected


def test_catch_all_route() -> None:
    router = Router([RouteConfig("all", RouteMatch(), "p")])
    for target in ("/", "/a/b", "//", "*", "/../a", "/?"):
        assert found(router, "GET", "a.test", target) == "all", target


NEIGHBOURS = [("/api", "r2"), ("/api/x", "r2"), ("/apiary", "r3"), ("/api-x", "r3"), ("/api/v1", "r1"), ("/api/v1x", "r2"), ("/ap", "no_route")]


@pytest.mark.parametrize(("target", "expected"), NEIGHBOURS)
def test_paths_match_by_whole_segments(target: str, expected: str) -> None:
    paths = ["/api/v1", "/api", "/apiary", "/api-x"]
    router = Router([RouteConfig(f"r{min(number, 3)}", RouteMatch(path=path), "p") for number, path in enumerate(paths, 1)])
    assert found(router, "GET", "a.test", target) == expected


def test_longer_segment_is_not_a_prefix_match() -> None:
    router = Router([RouteConfig("api", RouteMatch(path="/api"), "p")])
    assert [found(router, "GET", "a.test", target) for target in ("/api", "/api/", "/api?", "/apiary")] == ["api", "api", "api", "no_route"]


ELSEWHERE = ["/..", "/a/..", "/a/../b", "/.", "/./a", "/a/.?x", "/%2e%2e/a", "/%2E./a", "/a/.%2e", "/a/..;/b", "/a/..;x=y/b", "/a/..%3bx",
             "/a\\..\\b", "/a%5C..%5Cb", "/a%2f..%2fb", "/a/..%2Fb"]  # fmt: skip
HERE = ["/", "/...", "/a..", "/..a", "/a.b/c", "/.well-known/x", "/.%2e.", "/?/../", "/a?x=/..", "/a;../b", "/%252e%252e/", "*"]


@pytest.mark.parametrize(("targets", "expected"), [(ELSEWHERE, True), (HERE, False)], ids=["elsewhere", "here"])
def test_dot_segments_in_every_spelling(targets: list[str], expected: bool) -> None:
    assert [target for target in targets if has_dot_segment(target.encode()) is not expected] == []


@pytest.mark.parametrize(
    "route", [RouteConfig("r", RouteMatch(path="/a"), "p"), RouteConfig("r", RouteMatch(), "p", replace_prefix="/t")], ids=["by path", "rewritten"]
)
@pytest.mark.parametrize("target", ELSEWHERE)
def test_dot_segments_refused_if_route_uses_path(route: RouteConfig, target: str) -> None:
    assert found(Router([route, RouteConfig("rest", RouteMatch(), "p")]), "GET", "a.test", target) == "bad_target"


REWRITES: list[tuple[str, str, str, str]] = [
    ("/api", "", "/api/x", "/x"),
    ("/api", "", "/api", "/"),
    ("/api", "", "/api/", "/"),
    ("/api", "", "/api?q=1", "/?q=1"),
    ("/api", "", "/api?", "/?"),
    ("/api", "/", "/api/x", "/x"),
    ("/api", "/v2", "/api", "/v2"),
    ("/api", "/v2", "/api/x?a=/api&b=%2F?", "/v2/x?a=/api&b=%2F?"),
    ("/api", "/v2", "/api?x", "/v2?x"),
    ("/", "/v2", "/", "/v2/"),
    ("/", "/v2", "/a//b%2f", "/v2/a//b%2f"),
    ("/", "", "/a", "/a"),
    ("/", "/v2", "*", "*"),
]


@pytest.mark.parametrize(("path", "replacement", "target", "expected"), REWRITES)
def test_prefix_is_replaced_and_rest_kept(path: str, replacement: str, target: str, expected: str) -> None:
    route = RouteConfig("r", RouteMatch(path=path), "p", replace_prefix=replacement)
    assert rewrite(target.encode(), route) == expected.encode()


def test_target_without_rewrite_is_unchanged() -> None:
    assert rewrite(b"/a//b?", RouteConfig("r", RouteMatch(path="/a"), "p")) == b"/a//b?"


# --- against the definition ---

_hosts = st.sampled_from(["a.test", "b.a.test", "c.b.a.test", "test", "*.test", "*.a.test", "*.b.a.test"])
_paths = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
_methods = st.sampled_from(["GET", "PUT", "POST"])
_matches = st.builds(
    RouteMatch,
    hosts=st.lists(_hosts, max_size=2).map(tuple),
    path=_paths,
    methods=st.lists(_methods, max_size=2).map(tuple),
    headers=st.lists(st.tuples(st.sampled_from(["x-a", "x-b"]), st.sampled_from(["", "1"])), max_size=2).map(tuple),
)


def _matches_by_definition(match: RouteMatch, method: str, host: str, path: str, headers: Sequence[tuple[str, str]]) -> bool:
    return (
        (not match.hosts or any(host == name or (name[0] == "*" and host.endswith(name[1:])) for name in match.hosts))
        and (match.path + "/").replace("//", "/") in (path + "/").replace("//", "/")[: len((match.path + "/").replace("//", "/"))]
        and (not match.methods or method in match.methods)
        and all(any(name == own and value in ("", its) for own, its in headers) for name, value in match.headers)
    )


@settings(max_examples=300)
@given(
    st.lists(_matches, min_size=1, max_size=8),
    _methods,
    _hosts.filter(lambda host: host[0] != "*"),
    _paths,
    st.lists(st.tuples(st.sampled_from(["x-a", "x-b"]), st.sampled_from(["1", "2"])), max_size=2),
    st.sampled_from(["", "/", "?", "?x=/a"]),
)
def test_router_matches_definition(matches: list[RouteMatch], method: str, host: str, path: str, headers: list[tuple[str, str]], tail: str) -> None:
    routes = [RouteConfig(f"r{number}", match, "p") for number, match in enumerate(matches)]
    expected = next((route.name for route in routes if _matches_by_definition(route.match, method, host, path, headers)), "no_route")
    assert found(Router(routes), method, host, path + tail, *(f"{name.title()}: {value}" for name, value in headers)) == expected


def test_matching_time_is_not_quadratic() -> None:
    router = Router(ROUTES)
    looked_at = router.find("GET", b"a." * 1_000_000 + b"test", b"/" * 1_000_000, [])  # takes minutes if it does
    assert looked_at is Fault.NO_ROUTE


# --- header edits ---

LINES = [b"Host: a.test", b"Cookie: a=1", b"X-A: 1", b"cookie: b=2", b"x-a:2"]
EDITS: list[tuple[Edits, list[bytes]]] = [
    (Edits(remove=("COOKIE",)), [b"Host: a.test", b"X-A: 1", b"x-a:2"]),
    (Edits(set=(("x-A", "new"),)), [b"Host: a.test", b"Cookie: a=1", b"cookie: b=2", b"x-A: new"]),
    (Edits(set=(("X-B", "new"),)), [*LINES, b"X-B: new"]),
    (Edits(add=(("X-A", "3"), ("X-B", "ü"))), [*LINES, b"X-A: 3", "X-B: ü".encode()]),
    (Edits(remove=("X-A", "Cookie"), set=(("X-B", ""),), add=(("X-A", "3"),)), [b"Host: a.test", b"X-B: ", b"X-A: 3"]),
    (Edits(remove=("X-C",)), LINES),
]


@pytest.mark.parametrize(("edits", "expected"), EDITS)
def test_edits_remove_then_set_then_add(edits: Edits, expected: list[bytes]) -> None:
    edit = editor(edits)
    assert edit
    before = list(LINES)
    assert edit(before) == expected
    assert before == LINES, "what was given stays as it is: it may be remembered"


def test_no_edits_need_no_editor() -> None:
    assert editor(Edits()) is None


@pytest.mark.parametrize(
    "name",
    ["Connection", "Host", "Content-Length", "Transfer-Encoding", "Expect", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade",
     "Proxy-Authenticate", "Proxy-Authorization", "HTTP2-Settings", "Forwarded", "X-Real-IP", "X-Forwarded-For"],
)  # fmt: skip
def test_routes_cannot_edit_reserved_headers(name: str) -> None:
    assert FIELDS[name.encode()] not in (FieldKind.PLAIN, FieldKind.UNDERSCORED)
    with pytest.raises(KindError) as caught:
        FieldName().parse(name)
    assert str(caught.value) == f"invalid header name {name!r}"
    assert caught.value.cure in ("the load balancer manages this field", "use the section forwarding")
