"""Buttons are for the demo's own page: other sites, and other names of this machine, are refused."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from .running import fetched, running


@pytest.fixture(scope="module")
def page(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of a running demo is."""
    with running(tmp_path_factory.mktemp("demo"), "--embedded") as (process, places):
        yield places["page"]
        process.terminate()
        assert process.wait(30) == 0


def asked(page: str, method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer."""
    connection = http.client.HTTPConnection(urlsplit(page).netloc, timeout=15)
    try:
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body or None, {**kind, **{name.replace("_", "-"): value for name, value in headers.items()}})
        answer = connection.getresponse()
        answer.read()
        return answer.status, dict(answer.headers)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "OWN"}, 303),
        ({}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://evil.example", "Host": "evil.example"}, 403),
    ],
)
def test_faults_need_the_origin_of_the_page(page: str, headers: dict[str, str], status: int) -> None:
    own = {name: page.rstrip("/") if value == "OWN" else value for name, value in headers.items()}
    assert asked(page, "POST", "/faults/errors", "on=1", **own)[0] == status
    pressed = 'aria-pressed="true" data-state' in fetched(page)
    assert pressed == (status == 303)
    asked(page, "POST", "/faults/errors", "on=0", Origin=page.rstrip("/"))
    assert 'aria-pressed="true" data-state' not in fetched(page)


def test_foreign_host_is_refused(page: str) -> None:
    assert asked(page, "GET", "/", Host="evil.example")[0] == 403


@pytest.mark.parametrize(("path", "body"), [("/faults/nothing", "on=1"), ("/faults/errors", "on=2"), ("/faults/errors", "")])
def test_unknown_fault_is_not_found(page: str, path: str, body: str) -> None:
    assert asked(page, "POST", path, body, Origin=page.rstrip("/"))[0] == 404


def test_notifications_must_be_json(page: str) -> None:
    """A form on a foreign page cannot send JSON, and so cannot pose as Alertmanager."""
    assert asked(page, "POST", "/notifications", '{"alerts": []}')[0] == 415


def test_content_security_policy(page: str) -> None:
    policy = asked(page, "GET", "/")[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
