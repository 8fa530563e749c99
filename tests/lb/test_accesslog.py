"""Access log lines stay well formed whatever bytes a client sends."""

from __future__ import annotations

import json

import pytest

from balance.lb.data.accesslog import Entry, render

ENTRY = Entry("127.0.0.1", "GET", b"/", 200, "a", 0, 2, 0.0012345678, 1, "ok", "complete", "4bf92f3577b34da6a3ce929d0e0e4736", 0.0, 0.0, 0.0, 0.0005)
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
def test_json_line_round_trips(target: bytes) -> None:
    line = render("2026-01-02T03:04:05.678Z", ENTRY._replace(target=target), "json")
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == {"time": "2026-01-02T03:04:05.678Z", **ENTRY._asdict(), "target": TARGETS[target], "duration": 0.001235}


PHASES = {
    "no waiting": ((0.0, 0.0, 0.0, 0.25), (0, 0, 0, 0.25), "wait=0 queue=0 connect=0 first_byte=0.250000"),
    "waiting in every phase": ((1.5, 0.5, 1e-7, 2.0), (1.5, 0.5, 0, 2), "wait=1.500000 queue=0.500000 connect=0.000000 first_byte=2.000000"),
    "no connection": ((0.0, 0.5, None, None), (0, 0.5, None, None), "wait=0 queue=0.500000 connect=- first_byte=-"),
    "no backend": ((0.0, None, None, None), (0, None, None, None), "wait=0 queue=- connect=- first_byte=-"),
    "no head": ((None, None, None, None), (None, None, None, None), "wait=- queue=- connect=- first_byte=-"),
}


@pytest.mark.parametrize("case", PHASES)
def test_unreached_phase_differs_from_instant_phase(case: str) -> None:
    """A phase that was not reached is null or "-"; one that took no time is 0."""
    times, shown, text = PHASES[case]
    entry = ENTRY._replace(wait=times[0], queue=times[1], connect=times[2], first_byte=times[3])
    line = json.loads(render("now", entry, "json"))
    assert tuple(line[name] for name in ("wait", "queue", "connect", "first_byte")) == shown
    assert f" {text} " in render("now", entry, "text")


def test_no_trace_id_without_trace() -> None:
    entry = ENTRY._replace(trace_id="")
    assert json.loads(render("now", entry, "json"))["trace_id"] is None
    assert render("now", entry, "text").endswith(" trace_id=-\n")


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_text_line_cannot_be_forged(target: bytes) -> None:
    """Nothing in the target adds a line or a second `status=` field."""
    line = render("2026-01-02T03:04:05.678Z", ENTRY._replace(target=target), "text")
    assert line.isascii()
    assert line[:-1].isprintable()
    assert line.count(" status=200 ") == 1
    assert line.startswith("time=2026-01-02T03:04:05.678Z client=127.0.0.1 method=GET target=")
