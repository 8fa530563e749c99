"""Lines of the access log, whatever bytes a client sends."""

from __future__ import annotations

import json

import pytest

from balance.lb.data.accesslog import Entry, render

ENTRY = Entry("127.0.0.1", "GET", b"/", 200, "a", 0, 2, 0.0012345678, 1, "ok")
TARGETS = {
    b"/plain?a=b": "/plain?a=b",
    b'/quote"': '/quote"',
    b"/back\\slash": "/back\\slash",
    b"/line\nbreak": "/line\nbreak",
    b"/\x1b[31m": "/\x1b[31m",
    b"/\xc3\xa9": "/\u00e9",
    b"/\xff": "/\\xff",
    b"-": "-",
}


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_a_json_line_reads_back(target: bytes) -> None:
    line = render("2026-01-02T03:04:05.678Z", ENTRY._replace(target=target), "json")
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"time": "2026-01-02T03:04:05.678Z", **ENTRY._asdict(), "target": TARGETS[target], "duration": 0.001235}


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_a_text_line_cannot_be_forged(target: bytes) -> None:
    line = render("2026-01-02T03:04:05.678Z", ENTRY._replace(target=target), "text")
    assert line.isascii()
    assert line[:-1].isprintable()
    assert line.count(" status=200 ") == 1
    assert line.startswith("time=2026-01-02T03:04:05.678Z client=127.0.0.1 method=GET target=")
