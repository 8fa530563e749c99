"""Lines of the access log, whatever bytes a client sends."""

from __future__ import annotations

import json

import pytest

from balance.lb.data.accesslog import Entry, render

ENTRY = Entry("127.0.0.1", "GET", "/", 200, "a", 0, 2, 0.0012345678, 1, "ok")
TARGETS = {
    "/plain?a=b": "/plain?a=b",
    '/quote"': '/quote"',
    "/back\\slash": "/back\\slash",
    "/line\nbreak": "/line\nbreak",
    "/\x1b[31m": "/\x1b[31m",
    "/\u00e9": "/\u00e9",
    "/\udcff": "/\\xff",
    "-": "-",
}


@pytest.mark.parametrize("target", TARGETS, ids=ascii)
def test_a_json_line_reads_back(target: str) -> None:
    line = render("2026-01-02T03:04:05.678Z", ENTRY._replace(target=target), "json")
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"time": "2026-01-02T03:04:05.678Z", **ENTRY._asdict(), "target": TARGETS[target], "duration": 0.001235}


@pytest.mark.parametrize("target", TARGETS, ids=ascii)
def test_a_text_line_cannot_be_forged(target: str) -> None:
    line = render("2026-01-02T03:04:05.678Z", ENTRY._replace(target=target), "text")
    assert line.isascii()
    assert line[:-1].isprintable()
    assert line.count(" status=200 ") == 1
    assert line.startswith("time=2026-01-02T03:04:05.678Z client=127.0.0.1 method=GET target=")
