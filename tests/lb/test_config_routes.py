"""Routes in the configuration: what they say, and everything that is wrong with bad ones."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from balance.lb.config import json_schema
from balance.lb.config.model import Edits, Match, RateLimit, RouteConfig
from tests.lb.configs import SMALL, problems, read


def routes(*texts: str) -> str:
    """The smallest configuration with these routes to its pool, each as the inside of a flow mapping; the first stands in line 5."""
    return SMALL + "routes:\n" + "".join(f"- {{name: r{number}, pool: default, {text}}}\n" for number, text in enumerate(texts, 1))


VALUES: list[tuple[str, str, Any]] = [
    ("", "match", Match()),
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
def test_values_are_read(text: str, key: str, expected: Any) -> None:
    found: Any = read(routes(text)).routes[0]
    for name in key.split("."):
        found = getattr(found, name)
    assert found == expected
    jsonschema.validate(yaml.safe_load(routes(text)), json_schema())


def test_routes_keep_their_order_and_lead_to_pools() -> None:
    text = "listen: :80\npools:\n- {name: a, backends: [{name: x, address: 'x:80'}]}\n- {name: b, backends: [{name: y, address: 'y:80'}]}\n"
    found = read(text + "routes:\n- {name: api, match: {path: /api}, pool: b}\n- {name: rest, pool: a}\n").routes
    assert found == (RouteConfig("api", Match(path="/api"), "b"), RouteConfig("rest", Match(), "a"))


WRONG: dict[str, tuple[str, str]] = {
    "empty": ("routes: []", "4: routes: must be a list with at least one entry"),
    "no pool": ("routes: [{name: r}]", "4: routes[0].pool: is missing (it is required: who answers)"),
    "no name": ("routes: [{pool: default}]", "4: routes[0].name: is missing (it is required: name in metrics and logs)"),
    "unknown pool": ("routes: [{name: r, pool: defalt}]", "4: routes[0].pool: there is no pool 'defalt' (did you mean 'default'? choices: default)"),
    "twice": (
        "routes:\n- {name: r, pool: default, match: {path: /a}}\n- {name: r, pool: default}",
        "6: routes[1]: 'r' is already in line 5 (each may be there once)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_routes_are_refused_with_place_and_cure(case: str) -> None:
    text, expected = WRONG[case]
    found = problems(f"{SMALL}{text}\n")
    assert len(found) == 1
    assert found[0].startswith(f"balance.yaml:{expected}")


WRONG_VALUES: dict[str, tuple[str, str]] = {
    "host with a port": (
        "match: {host: 'a.test:80'}",
        "match.host: 'a.test:80' is no host to match (write it as example.org or *.example.org, without a port)",
    ),
    "wildcard within": ("match: {host: 'a.*.test'}", "match.host: 'a.*.test' is no host to match"),
    "every host": ("match: {host: '*'}", "match.host: '*' is no host to match"),
    "host twice": ("match: {host: [a.test, A.test]}", "match.host[1]: 'a.test' is already in line 5"),
    "relative path": (
        "match: {path: api}",
        "match.path: 'api' is no beginning of a path (write it as /api: printable ASCII without spaces, ?, # and *)",
    ),
    "glob": ("match: {path: '/api/*'}", "match.path: '/api/*' is no beginning of a path"),
    "query": ("match: {path: '/api?x'}", "match.path: '/api?x' is no beginning of a path"),
    "dots": ("match: {path: /a/../b}", "match.path: '/a/../b' has a segment of dots (write the path that is meant"),
    "method": ("match: {method: get}", "match.method: 'get' is not supported (choices: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE)"),
    "header list": ("match: {header: [X-A]}", "match.header: must be a mapping with at least one entry (write it as {Name: value})"),
    "header name": ("match: {header: {'X A': b}}", "match.header: 'X A' is no name of a header field (letters, digits and dashes)"),
    "header twice": ("match: {header: {X-A: b, x-a: c}}", "match.header.x-a: is given twice (each may be there once, in whatever case)"),
    "Host as a header": ("match: {header: {Host: b}}", "match.header: 'host' is not matched here (write it as match.host)"),
    "what never arrives": (
        "match: {header: {X_A: b}}",
        "match.header: 'X_A' never arrives (names with an underscore are dropped from requests: use dashes)",
    ),
    "what clients may not say": (
        "match: {header: {X-Forwarded-Prefix: b}}",
        "match.header: 'X-Forwarded-Prefix' is what the section forwarding is for",
    ),
    "nothing to rewrite": ("rewrite: {}", "rewrite.replace_prefix: is missing (give replace_prefix or strip)"),
    "no stripping": ("rewrite: {strip: false}", "rewrite: replaces nothing (write strip: true, or replace_prefix with a path)"),
    "two rewrites": ("rewrite: {strip: true, replace_prefix: /a}", "rewrite.strip: is given beside replace_prefix (give one of them)"),
    "rewrite to dots": ("rewrite: {replace_prefix: /a/..}", "rewrite.replace_prefix: '/a/..' has a segment of dots"),
    "no edits": ("request_headers: {}", "request_headers.remove: is missing (give remove or set or add)"),
    "framing": (
        "request_headers: {set: {content-length: 1}}",
        "request_headers.set: 'content-length' is the balancer's own (it says where a message ends",
    ),
    "hop by hop": ("response_headers: {remove: [Connection]}", "response_headers.remove[0]: 'Connection' is the balancer's own"),
    "Host": ("request_headers: {set: {Host: a}}", "request_headers.set: 'Host' is the balancer's own"),
    "forwarding": (
        "request_headers: {add: {X-Forwarded-For: a}}",
        "request_headers.add: 'X-Forwarded-For' is what the section forwarding is for (leave",
    ),
    "line end": ('request_headers: {set: {X-A: "a\\r\\nX-B: c"}}', "request_headers.set.X-A: 'a\\r\\nX-B: c' is no value of a header field"),
    "spaces around": ("request_headers: {set: {X-A: ' a'}}", "request_headers.set.X-A: ' a' is no value of a header field"),
    "no rate": ("rate_limit: {burst: 3}", "rate_limit.rate: is missing (it is required:"),
    "rate of nothing": ("rate_limit: {rate: 0/s}", "rate_limit.rate: '0/s' is no rate (write it as 100/s, 10/m or 1000/h)"),
    "rate of days": ("rate_limit: {rate: 5/d}", "rate_limit.rate: '5/d' is no rate"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_wrong_value_is_refused_with_place_and_cure(case: str) -> None:
    text, expected = WRONG_VALUES[case]
    found = problems(routes(text))
    assert len(found) == 1
    assert found[0].startswith(f"balance.yaml:5: routes[0].{expected}")


@pytest.mark.parametrize(
    "case", ["every host", "relative path", "method", "header list", "header name", "two rewrites", "no edits", "no rate", "rate of days"]
)
def test_the_json_schema_refuses_what_the_reader_refuses(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(routes(WRONG_VALUES[case][0])), json_schema())


UNREACHABLE: dict[str, tuple[list[str], str]] = {
    "after one that takes everything": (["", "match: {path: /a}"], "r1"),
    "the same": (["match: {host: a.test, path: /a}", "match: {host: a.test, path: /a}"], "r1"),
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
def test_a_route_that_is_never_reached_is_refused_with_the_names_of_those_before_it(case: str) -> None:
    texts, names = UNREACHABLE[case]
    last = len(texts)
    assert problems(routes(*texts)) == [
        f"balance.yaml:{4 + last}: routes[{last - 1}]: 'r{last}' is never reached: everything it matches goes to {names} (move it up, or remove it)"
    ]


REACHABLE: dict[str, list[str]] = {
    "other path": ["match: {path: /a}", "match: {path: /ab}"],
    "wider path": ["match: {path: /a/b}", "match: {path: /a}"],
    "any host": ["match: {host: a.test}", ""],
    "the name itself is not below the wildcard": ["match: {host: '*.test'}", "match: {host: test}"],
    "more methods": ["match: {method: GET}", "match: {method: [GET, HEAD]}"],
    "fewer headers": ["match: {header: {X-A: b}}", "match: {method: GET}"],
    "other value": ["match: {header: {X-A: b}}", "match: {header: {X-A: c}}"],
    "a value, then any": ["match: {header: {X-A: b}}", "match: {header: {X-A: }}"],
    "one host is left": ["match: {host: a.test}", "match: {host: [a.test, b.test]}"],
}


@pytest.mark.parametrize("case", REACHABLE)
def test_a_route_that_can_be_reached_is_accepted(case: str) -> None:
    assert len(read(routes(*REACHABLE[case])).routes) == len(REACHABLE[case])
