"""Trace context (W3C): what is passed on, logged and created."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from balance.lb.data.trace import begin, trace_id

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Origin, Stream, World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
VALUES = {
    "valid": ([PARENT], TRACE),
    "not sampled": ([PARENT[:-2] + "00"], TRACE),
    "unknown flags": ([PARENT[:-2] + "ff"], TRACE),
    "later version": (["cc" + PARENT[2:]], TRACE),
    "later version with more fields": (["cc" + PARENT[2:] + "-what.the.future.brings"], TRACE),
    "later version, bad separator": (["cc" + PARENT[2:] + ".what"], ""),
    "version 0 with more fields": ([PARENT + "-extra"], ""),
    "version ff": (["ff" + PARENT[2:]], ""),
    "capital letters": ([PARENT.upper()], ""),
    "zero trace id": ([f"00-{'0' * 32}-00f067aa0ba902b7-01"], ""),
    "zero parent id": ([f"00-{TRACE}-{'0' * 16}-01"], ""),
    "too short": ([PARENT[:-1]], ""),
    "not hexadecimal": ([PARENT.replace("4b", "xy")], ""),
    "empty": ([""], ""),
    "twice": ([PARENT, PARENT], ""),
    "none": ([], ""),
}


@pytest.mark.parametrize("case", VALUES)
def test_only_a_single_valid_value_has_an_id(case: str) -> None:
    values, found = VALUES[case]
    assert trace_id([value.encode() for value in values]) == found


def test_new_traces_are_valid_and_unique() -> None:
    made = [begin() for _ in range(100)]
    assert all(trace_id([value]) == trace and value.endswith(b"-00") for trace, value in made)
    assert len({trace for trace, _value in made}) == 100


@pytest.fixture(scope="module")
def default_balancer(shared: World) -> tuple[Balancer, Origin]:
    """A balancer with the usual settings, and its origin."""
    origin = shared.origin()
    return shared.balancer(origin), origin


def traces(balancer: Balancer, world: World, count: int) -> list[str | None]:
    """The trace ids in the access log, once it has `count` lines."""
    world.until(lambda: len(balancer.access()) == count)
    return [line["trace_id"] for line in balancer.access()]


def fields(head: bytes, *names: bytes) -> list[bytes]:
    """The lines of a head with these names."""
    return [line for line in head.split(b"\r\n") if line.lower().partition(b":")[0] in names]


@pytest.mark.parametrize("repeats", [1, 4], ids=["uncached", "cached"])
@pytest.mark.parametrize("case", [case for case in VALUES if case != "empty"])
def test_trace_headers_pass_unchanged(default_balancer: tuple[Balancer, Origin], world: World, case: str, repeats: int) -> None:
    balancer, origin = default_balancer
    values, found = VALUES[case]
    sent = [f"TraceParent: {value}" for value in values] + ["tracestate: a=1,b=2"]
    before = len(balancer.access())
    for _ in range(repeats):
        balancer.get("/", *sent)
        assert fields(origin.heads[-1], b"traceparent", b"tracestate") == [line.encode() for line in sent]
    assert traces(balancer, world, before + repeats)[before:] == [found or None] * repeats


def test_trace_id_of_unusual_head_is_logged(default_balancer: tuple[Balancer, Origin], world: World) -> None:
    """Also when the fast path does not apply."""
    balancer, _origin = default_balancer
    before = len(balancer.access())
    balancer.get("/", f"traceparent: {PARENT}", "Connection: close")
    balancer.get("/", f"traceparent: {PARENT}", "Connection: close, traceparent")
    assert traces(balancer, world, before + 2)[before:] == [TRACE, None], "what the client declares to be for us alone is not passed on"


def test_traceparent_off(world: World) -> None:
    origin = world.origin()
    balancer = world.balancer(origin, log={"traceparent": "off"})
    balancer.get("/", f"traceparent: {PARENT}")
    assert fields(origin.heads[0], b"traceparent") == [b"traceparent: " + PARENT.encode()]
    assert traces(balancer, world, 1) == [None]


@pytest.mark.parametrize("forwarding", [{}, {"forwarded": True, "via": "me"}, {"x_forwarded": False}], ids=str)
def test_missing_or_invalid_trace_is_replaced(world: World, forwarding: dict[str, object]) -> None:
    origin = world.origin()
    balancer = world.balancer(origin, log={"traceparent": "make"}, forwarding=forwarding)
    for _ in range(3):
        balancer.get("/")
    balancer.get("/", "traceparent: 00-1-2-3", "tracestate: a=1", "X-Other: kept")
    balancer.get("/", f"traceparent: {PARENT}", "tracestate: a=1")
    sent = [fields(head, b"traceparent", b"tracestate") for head in origin.heads]
    assert sent[4] == [b"traceparent: " + PARENT.encode(), b"tracestate: a=1"]
    ids = [re.fullmatch(rb"traceparent: 00-([0-9a-f]{32})-[0-9a-f]{16}-00", line) for (line,) in sent[:4]]
    assert [match[1].decode() if match else "" for match in ids] + [TRACE] == traces(balancer, world, 5)
    assert len(set(traces(balancer, world, 5))) == 5
    assert b"X-Other: kept" in origin.heads[3]
    assert all(head.startswith(b"GET / HTTP/1.1\r\n") and head.endswith(b"\r\n\r\n") for head in origin.heads)


def hanging_up(stream: Stream) -> None:
    """Read a request and close without an answer."""
    stream.message()


def test_retries_share_a_trace(world: World) -> None:
    origin = world.origin(hanging_up)
    balancer = world.balancer(origin, log={"traceparent": "make"}, circuit_breaker=False)
    balancer.get("/")
    assert len(origin.heads) == 3
    assert len({fields(head, b"traceparent")[0] for head in origin.heads}) == 1


def test_last_trace_is_openmetrics_exemplar(world: World) -> None:
    balancer = world.balancer(world.origin())
    other = TRACE.replace("4", "5")
    for trace in (TRACE, other):
        balancer.get("/", f"traceparent: 00-{trace}-00f067aa0ba902b7-00")
    balancer.get("/")
    _status, text = balancer.admin("/metrics", "Accept: application/openmetrics-text; version=1.0.0")
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples if sample.exemplar]
    assert {sample.name for sample in samples} == {"balance_http_request_duration_seconds_bucket"}
    assert other in {sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar}
    assert all(sample.exemplar and sample.exemplar.value <= float(sample.labels["le"]) for sample in samples)
    assert "trace_id" not in balancer.admin("/metrics")[1], "the text format knows no exemplars"
