"""Every reply of the admin server is valid by its OpenAPI document, and every error has the same form."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from balance.lb.config import parse
from balance.lb.control.openapi import OPERATIONS, SCHEMAS, document
from tests.lb.conftest import OK, Stream, until

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, World

TOKEN = "0123456789-tök€n-abc"
KEYS: dict[str, Any] = {"Authorization": f"Bearer {TOKEN}".encode()}
FAILING = b"HTTP/1.1 503 Sick\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN + "\n")
    return path


def settings(token: Path) -> dict[str, Any]:
    return {
        "admin": {"listen": "127.0.0.1:0", "token": str(token)},
        "health_check": {"path": "/up?key=SECRET", "interval": "1h", "expected_status": "200-599"},
        "outlier_detection": {"consecutive_failures": 3},
        "circuit_breaker": {"failure_threshold": 2, "open_for": "1h"},
        "load_balancer": {"sticky": {"cookie": "lb", "secret": str(token)}},
        "routes": [
            {"name": "keyed", "match": {"path": "/keyed", "header": {"X-Key": "SECRET"}}, "pool": "default"},
            {"name": "rest", "pool": "default", "request_headers": {"set": {"Authorization": "SECRET"}}},
        ],
    }


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def balancer(shared: World, token: Path, request: pytest.FixtureRequest) -> Balancer:
    return shared.balancer(shared.origin(), shared.origin(FAILING), workers=request.param, **settings(token))


def ask(balancer: Balancer, method: str, path: str, headers: dict[str, Any] | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", balancer.admin_port, timeout=15)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def openapi_document(balancer: Balancer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(balancer, "GET", "/openapi.json")[2])
    return found


def told(balancer: Balancer, method: str, path: str, headers: dict[str, Any] | None = None, *, template: str = "") -> tuple[int, Any]:
    """Ask, validate the reply's content type and body against the OpenAPI document, and return status and body."""
    status, got, body = ask(balancer, method, path, headers)
    book = openapi_document(balancer)
    reply = book["paths"][template or path.partition("?")[0]][method.lower()]["responses"][str(status)]["content"]
    kind = got["Content-Type"].partition(";")[0]
    assert kind in reply
    content = json.loads(body) if kind == "application/json" else body.decode()
    jsonschema.validate(content, {**reply[kind]["schema"], "components": book["components"]}, cls=jsonschema.Draft202012Validator)
    return status, content


def test_document_is_valid_openapi(balancer: Balancer) -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator, validate  # slow to import, used by this test only

    validate(openapi_document(balancer), cls=OpenAPIV31SpecValidator)


def test_schemas_used_and_operation_ids_unique() -> None:
    book = document(OPERATIONS)
    assert {name for name in SCHEMAS if f'"#/components/schemas/{name}"' not in json.dumps(book)} == set()
    names = [operation["operationId"] for path in book["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names) == len(OPERATIONS)


READS = [operation.path for operation in OPERATIONS if operation.method == "GET"]


@pytest.mark.parametrize("path", READS)
def test_read_operations_match_document(balancer: Balancer, path: str) -> None:
    assert told(balancer, "GET", path)[0] == 200
    status, _headers, body = ask(balancer, "HEAD", path)
    assert (status, body) == (200, b"")


def test_write_operations_match_document(balancer: Balancer) -> None:
    assert told(balancer, "POST", "/-/reload", KEYS) == (200, {"reloaded": True, "problems": []})
    right = balancer.config.read_text()
    balancer.allow("config_not_reloaded")
    balancer.config.write_text("listen: nowhere\n")
    assert told(balancer, "POST", "/-/reload", KEYS)[0] == 422
    balancer.config.write_text(right)
    for word, drained in (("drain", True), ("enable", False)):
        template = f"/-/backends/{{name}}/{word}"
        assert told(balancer, "POST", f"/-/backends/a/{word}", KEYS, template=template) == (200, {"backend": "a", "drained": drained})
        for name in ("z", "%2e%2e", "%ff", "%0a", "a%20b", "%C3%A4"):
            status, answer = told(balancer, "POST", f"/-/backends/{name}/{word}", KEYS, template=template)
            assert (status, answer["choices"]) == (404, ["a", "b"])


def test_config_round_trips_without_secrets(balancer: Balancer, token: Path) -> None:
    """The configuration that `/config` shows can be parsed again and holds no secret."""
    content = told(balancer, "GET", "/config")[1]
    text = json.dumps(content)
    assert "SECRET" not in text
    assert TOKEN not in text
    assert content["admin"]["token"] == str(token)
    assert content["timeouts"]["shutdown"] == "500ms"
    assert content["pools"][0]["retry"]["backoff_base"] == "1ms"
    assert content["routes"] == told(balancer, "GET", "/routes")[1]
    given_back = parse(text, "balance.yaml", {})
    assert [route.name for route in given_back.routes] == ["keyed", "rest"]


def test_open_breaker_is_shown(world: World, token: Path) -> None:
    bad = world.origin(FAILING)
    balancer = world.balancer(world.origin(), bad, **settings(token))
    assert [backend["state"] for backend in told(balancer, "GET", "/backends")[1]] == ["available", "available"]
    until(lambda: (balancer.get(), balancer.status()["backends"][1]["circuit_breaker"] == "open")[1], "the breaker opens")
    good, failing = told(balancer, "GET", "/backends")[1]
    assert (good["state"], good["retry_in"], good["ejected_for"]) == ("available", None, None)
    assert failing["state"] == "breaker_open"
    assert not failing["available"]
    assert 0 < failing["retry_in"] <= 3600


def test_ejection_is_shown_with_time_left(world: World, token: Path) -> None:
    balancer = world.balancer(world.origin(), world.origin(FAILING), **{**settings(token), "circuit_breaker": False})
    until(lambda: (balancer.get(), balancer.status()["backends"][1]["state"] == "ejected")[1], "the ejection")
    assert 0 < told(balancer, "GET", "/backends")[1][1]["ejected_for"] <= 30


def test_consecutive_failures_are_counted(world: World, token: Path) -> None:
    change = {"circuit_breaker": {"failure_threshold": 1000}, "outlier_detection": False}
    balancer = world.balancer(world.origin(FAILING), **{**settings(token), **change})
    before = told(balancer, "GET", "/backends")[1][0]["failures"]
    balancer.get()
    assert told(balancer, "GET", "/backends")[1][0]["failures"] > before == 0


BAD_REQUESTS = {
    "unknown path": ("GET", "/statsu", 404, "did you mean '/status'?"),
    "root path": ("GET", "/", 404, "choices: "),
    "POST to a read operation": ("POST", "/status", 405, "choices: GET, HEAD"),
    "GET of an action": ("GET", "/-/reload", 405, "choices: POST"),
    "PATCH": ("PATCH", "/config", 405, "choices: GET, HEAD"),
    "CORS preflight": ("OPTIONS", "/-/reload", 405, "choices: POST"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_wrong_request_gets_error_with_cure(balancer: Balancer, case: str) -> None:
    method, path, wanted, cure = BAD_REQUESTS[case]
    status, headers, body = ask(balancer, method, path)
    answer = json.loads(body)
    jsonschema.validate(answer, SCHEMAS["Error"])
    assert status == wanted
    assert cure in answer["cure"]
    assert (headers["Allow"] is not None) == (status == 405)


def test_bad_accept_header_is_400(balancer: Balancer) -> None:
    assert told(balancer, "GET", "/metrics", {"Accept": "application/openmetrics-text;version=abc"})[0] == 400


NOT_ALLOWED: dict[str, tuple[dict[str, Any], int]] = {
    "no token": ({}, 401),
    "wrong token": ({"Authorization": "Bearer 0123456789-token-abc"}, 401),
    "token with a suffix": ({"Authorization": f"Bearer {TOKEN}x".encode()}, 401),
    "another scheme": ({"Authorization": f"Basic {TOKEN}".encode()}, 401),
    "not UTF-8": ({"Authorization": b"Bearer \xff\xfe"}, 401),
    "cross-origin page": ({**KEYS, "Origin": "http://127.0.0.1:9090"}, 403),
    "null origin": ({**KEYS, "Origin": "null"}, 403),
}


@pytest.mark.parametrize("case", NOT_ALLOWED)
def test_actions_need_token(balancer: Balancer, case: str) -> None:
    headers, wanted = NOT_ALLOWED[case]
    status, _answer = told(balancer, "POST", "/-/backends/a/drain", headers, template="/-/backends/{name}/drain")
    assert status == wanted
    assert not told(balancer, "GET", "/backends")[1][0]["drained"]


def test_cross_origin_request_refused_on_unix_socket(world: World, tmp_path: Path) -> None:
    """A browser may reach the socket through a proxy in front of it."""
    balancer = world.balancer(world.origin(), admin={"listen": f"unix:{tmp_path}/admin.sock"})
    for origin, wanted in (("Origin: http://evil.test\r\n", b"403"), ("", b"200")):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(balancer.admin_path)
        stream = Stream(sock).send(f"POST /-/reload HTTP/1.1\r\nHost: x\r\n{origin}Connection: close\r\n\r\n".encode())
        assert stream.head().split(b" ")[1] == wanted
        stream.close()


def test_junk_is_refused_without_error_event(world: World) -> None:
    """The fixture fails the test for any error in the log."""
    balancer = world.balancer(world.origin())
    for junk in (
        b"\x16\x03\x01junk\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nA" + b"a" * 20000,
    ):
        stream = Stream(socket.create_connection(("127.0.0.1", balancer.admin_port))).send(junk)
        assert stream.head().split(b" ")[1:2] == [b"400"]
        stream.close()
    assert balancer.admin("/health")[0] == 200


def test_status_without_running_workers(world: World) -> None:
    """With all workers dead, `/backends` is 503 and `/status` still answers."""
    balancer = world.balancer(world.origin(OK), workers=2)
    pids = [worker["pid"] for worker in told(balancer, "GET", "/status")[1]["workers"]]

    def no_worker_runs() -> bool:
        for worker in balancer.status()["workers"]:
            if worker["running"]:
                os.kill(worker["pid"], signal.SIGKILL)
        return told(balancer, "GET", "/backends")[0] == 503

    assert len(pids) == 2
    world.until(no_worker_runs)
    told(balancer, "GET", "/status")
