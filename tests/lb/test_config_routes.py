"""Routes in the configuration: their values, and for every error its line and cure."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from balance.lb.config import json_schema
from balance.lb.config.model import Edits, RateLimit, RouteConfig, RouteMatch
from tests.lb.configs import SMALL, problems, read


def routes(*texts: str) -> str:
    """The smallest configuration plus one route per text, the inside of a flow mapping; the first is in line 5."""
    return SMALL + "routes:\n" + "".join(f"- {{name: r{number}, pool: default, {text}}}\n" for number, text in enumerate(texts, 1))


VALUES: list[tuple[str, str, Any]] = [
    ("", "match", RouteMatch()),
    ("match: {host: WWW.Example.org}", "match.hosts", ("www.example.org",)),
    ("match: {host: ['*.example.org', '[::1]', 192.0.2.1]}", "match.hosts", ("*.example.org", "[::1]", "192.0.2.1")),
    ("match: {path: /}", "match.path", "/"),
    ("match: {path: /api/}", "match.path", "/api"),
    ("match: {path: '/a%2Fb//c'}", "match.path", "/a%2Fb//c"),
    ("match: {method: GET}", "match.methods", ("GET",)),
    ("match: {method: [PUT, POST]}", "match.methods", ("PUT", "POST")),
    ("match: {header: {X-Beta: 1, X-Any: }}", "match.headers", (("x-beta", "1"), ("x-any", ""))),
    ("rewrite: {replace_prefix: /v2/}", "replace_prefix", "/v2"),
    ("rewrite: {replace_prefix: /}", "replace_prefix", "/"),
    ("rewrite: {strip: true}", "replace_prefix", ""),
    ("", "replace_prefix", None),
    ("request_headers: {set: {X-Env: prod}}", "request_headers", Edits(set=(("X-Env", "prod"),))),
    ("response_headers: {remove: Server, add: {Set-Cookie: a=b}}", "response_headers", Edits(remove=("Server",), add=(("Set-Cookie", "a=b"),))),
    ("response_headers: {remove: [Server, X-Powered-By]}", "response_headers", Edits(remove=("Server", "X-Powered-By"))),
    ("", "request_headers", Edits()),
    ("rate_limit: {rate: 100/s, burst: 200}", "rate_limit", RateLimit(100.0, 200, "client")),
    ("rate_limit: {rate: 30/m, per: route}", "rate_limit", RateLimit(0.5, 1, "route")),
    ("rate_limit: {rate: 50/s}", "rate_limit.burst", 50),
]


@pytest.mark.parametrize(("text", "key", "expected"), VALUES)
def test_route_values(text: str, key: str, expected: Any) -> None:
    found: Any = read(routes(text)).routes[0]
    for name in key.split("."):
        found = getattr(found, name)
    assert found == expected
    jsonschema.validate(yaml.safe_load(routes(text)), json_schema())


def test_routes_keep_order_and_name_pools() -> None:
    text = "listen: :80\npools:\n- {name: a, backends: [{name: x, address: 'x:80'}]}\n- {name: b, backends: [{name: y, address: 'y:80'}]}\n"
    found = read(text + "routes:\n- {name: api, match: {path: /api}, pool: b}\n- {name: rest, pool: a}\n").routes
    assert found == (RouteConfig("api", RouteMatch(path="/api"), "b"), RouteConfig("rest", RouteMatch(), "a"))


WRONG: dict[str, tuple[str, str]] = {
    "empty": ("routes: []", "4: routes: must be a list with at least one entry (begin each entry with a dash)"),
    "no pool": ("routes: [{name: r}]", "4: routes[0].pool: is missing (it is required: pool that gets the requests)"),
    "no name": ("routes: [{pool: default}]", "4: routes[0].name: is missing (it is required: name in metrics and logs)"),
    "unknown pool": ("routes: [{name: r, pool: defalt}]", "4: routes[0].pool: unknown pool 'defalt' (did you mean 'default'?)"),
    "twice": (
        "routes:\n- {name: r, pool: default, match: {path: /a}}\n- {name: r, pool: default}",
        "6: routes[1]: 'r' is given twice (first in line 5: remove one)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_route_list_reports_line_and_cure(case: str) -> None:
    text, expected = WRONG[case]
    assert problems(f"{SMALL}{text}\n") == [f"balance.yaml:{expected}"]


WRONG_VALUES: dict[str, tuple[str, str]] = {
    "host with a port": (
        "match: {host: 'a.test:80'}",
        "match.host: invalid host 'a.test:80' (write it like example.org or *.example.org, without a port)",
    ),
    "wildcard within": (
        "match: {host: 'a.*.test'}",
        "match.host: invalid host 'a.*.test' (write it like example.org or *.example.org, without a port)",
    ),
    "every host": ("match: {host: '*'}", "match.host: invalid host '*' (write it like example.org or *.example.org, without a port)"),
    "host twice": ("match: {host: [a.test, A.test]}", "match.host[1]: 'a.test' is given twice (first in line 5: remove one)"),
    "relative path": (
        "match: {path: api}",
        "match.path: invalid path 'api' (write it like /api: printable ASCII without spaces, ?, # and *)",
    ),
    "glob": ("match: {path: '/api/*'}", "match.path: invalid path '/api/*' (write it like /api: printable ASCII without spaces, ?, # and *)"),
    "query": ("match: {path: '/api?x'}", "match.path: invalid path '/api?x' (write it like /api: printable ASCII without spaces, ?, # and *)"),
    "dots": ("match: {path: /a/../b}", "match.path: invalid path '/a/../b' (it has a dot segment: requests with dot segments are rejected)"),
    "method": ("match: {method: get}", "match.method: invalid value 'get' (did you mean 'GET'?)"),
    "header list": ("match: {header: [X-A]}", "match.header: must be a mapping with at least one entry (write it like {NAME: value})"),
    "header name": ("match: {header: {'X A': b}}", "match.header: invalid header name 'X A' (letters, digits and dashes)"),
    "header twice": ("match: {header: {X-A: b, x-a: c}}", "match.header.x-a: is given twice (first in line 5: remove one, whatever its case)"),
    "Host as a header": ("match: {header: {Host: b}}", "match.header: invalid header name 'Host' (write it as match.host)"),
    "what never arrives": (
        "match: {header: {X_A: b}}",
        "match.header: invalid header name 'X_A' (names with an underscore are dropped from requests: use dashes)",
    ),
    "what clients may not say": (
        "match: {header: {X-Forwarded-Prefix: b}}",
        "match.header: invalid header name 'X-Forwarded-Prefix' (use the section forwarding)",
    ),
    "nothing to rewrite": ("rewrite: {}", "rewrite.replace_prefix: is missing (give replace_prefix or strip)"),
    "no stripping": ("rewrite: {strip: false}", "rewrite: changes nothing (set strip: true, or replace_prefix to a path)"),
    "two rewrites": ("rewrite: {strip: true, replace_prefix: /a}", "rewrite.strip: is given beside replace_prefix (give one of them)"),
    "rewrite to dots": (
        "rewrite: {replace_prefix: /a/..}",
        "rewrite.replace_prefix: invalid path '/a/..' (it has a dot segment: requests with dot segments are rejected)",
    ),
    "no edits": ("request_headers: {}", "request_headers.remove: is missing (give remove or set or add)"),
    "framing": (
        "request_headers: {set: {content-length: 1}}",
        "request_headers.set: invalid header name 'content-length' (the load balancer manages this field)",
    ),
    "hop by hop": (
        "response_headers: {remove: [Connection]}",
        "response_headers.remove[0]: invalid header name 'Connection' (the load balancer manages this field)",
    ),
    "Host": (
        "request_headers: {set: {Host: a}}",
        "request_headers.set: invalid header name 'Host' (the load balancer manages this field)",
    ),
    "forwarding": (
        "request_headers: {add: {X-Forwarded-For: a}}",
        "request_headers.add: invalid header name 'X-Forwarded-For' (use the section forwarding)",
    ),
    "line end": (
        'request_headers: {set: {X-A: "a\\r\\nX-B: c"}}',
        "request_headers.set.X-A: invalid header value 'a\\r\\nX-B: c' (at most 4096 characters, no control characters, no surrounding spaces)",
    ),
    "spaces around": (
        "request_headers: {set: {X-A: ' a'}}",
        "request_headers.set.X-A: invalid header value ' a' (at most 4096 characters, no control characters, no surrounding spaces)",
    ),
    "no rate": ("rate_limit: {burst: 3}", "rate_limit.rate: is missing (it is required: average rate of requests)"),
    "rate of nothing": ("rate_limit: {rate: 0/s}", "rate_limit.rate: invalid rate '0/s' (write it like 100/s, 10/m or 1000/h)"),
    "rate of days": ("rate_limit: {rate: 5/d}", "rate_limit.rate: invalid rate '5/d' (write it like 100/s, 10/m or 1000/h)"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_bad_route_value_reports_line_and_cure(case: str) -> None:
    text, expected = WRONG_VALUES[case]
    assert problems(routes(text)) == [f"balance.yaml:5: routes[0].{expected}"]


@pytest.mark.parametrize(
    "case", ["every host", "relative path", "method", "header list", "header name", "two rewrites", "no edits", "no rate", "rate of days"]
)
def test_json_schema_rejects_invalid_routes(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(routes(WRONG_VALUES[case][0])), json_schema())


UNREACHABLE: dict[str, tuple[list[str], str]] = {
    "after a catch-all": (["", "match: {path: /a}"], "r1"),
    "identical": (["match: {host: a.test, path: /a}", "match: {host: a.test, path: /a}"], "r1"),
    "below a path": (["match: {path: /a}", "match: {path: /a/b, method: GET}"], "r1"),
    "below a wildcard": (["match: {host: '*.test'}", "match: {host: a.b.test}"], "r1"),
    "wildcard below a wildcard": (["match: {host: '*.test'}", "match: {host: '*.b.test'}"], "r1"),
    "fewer methods": (["match: {method: [GET, HEAD]}", "match: {method: GET}"], "r1"),
    "more headers": (["match: {header: {X-A: b}}", "match: {header: {X-A: b, X-C: d}}"], "r1"),
    "any value": (["match: {header: {X-A: }}", "match: {header: {X-A: b}}"], "r1"),
    "host by host": (["match: {host: a.test}", "match: {host: b.test}", "match: {host: [a.test, b.test]}"], "r1, r2"),
    "method by method": (["match: {method: GET}", "match: {method: PUT}", "match: {method: [PUT, GET]}"], "r2, r1"),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_unreachable_route_names_earlier_ones(case: str) -> None:
    texts, names = UNREACHABLE[case]
    last = len(texts)
    assert problems(routes(*texts)) == [
        f"balance.yaml:{4 + last}: routes[{last - 1}]: 'r{last}' never matches: all its requests go to {names} (move it up, or remove it)"
    ]


REACHABLE: dict[str, list[str]] = {
    "other path": ["match: {path: /a}", "match: {path: /ab}"],
    "wider path": ["match: {path: /a/b}", "match: {path: /a}"],
    "any host": ["match: {host: a.test}", ""],
    "wildcard does not match its parent": ["match: {host: '*.test'}", "match: {host: test}"],
    "more methods": ["match: {method: GET}", "match: {method: [GET, HEAD]}"],
    "fewer headers": ["match: {header: {X-A: b}}", "match: {method: GET}"],
    "other value": ["match: {header: {X-A: b}}", "match: {header: {X-A: c}}"],
    "value, then any value": ["match: {header: {X-A: b}}", "match: {header: {X-A: }}"],
    "one host not covered": ["match: {host: a.test}", "match: {host: [a.test, b.test]}"],
}


@pytest.mark.parametrize("case", REACHABLE)
def test_reachable_routes_are_accepted(case: str) -> None:
    assert len(read(routes(*REACHABLE[case])).routes) == len(REACHABLE[case])
