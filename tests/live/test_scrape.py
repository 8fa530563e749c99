from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from balance.errors import BalanceError
from balance.live import fetch, scrape


def registry(value: str = 'a "b" \\ c\nd', help_text: str = 'Orders, "all" \\ of\nthem.') -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("shop_orders", help_text, ["door"], registry=made).labels(value).inc(3)
    Gauge("shop_open", "Open.", registry=made).set(float("inf"))
    Histogram("shop_wait_seconds", "Wait.", ["door"], buckets=(0.1, 1), registry=made).labels(value).observe(0.5)
    Summary("shop_size_bytes", "Size.", registry=made).observe(7)
    Info("shop_build", "Build.", registry=made).info({"version": "1"})
    return made


def flat(samples: object) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    return {(sample.name, frozenset(dict(sample.labels).items()), sample.value) for sample in samples}  # type: ignore[attr-defined]


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\r")), help_text=st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_both_formats_as_prometheus_client_parses_them(value: str, help_text: str) -> None:
    for generate, parse in ((generate_latest, text_families), (generate_openmetrics, openmetrics_families)):
        body = generate(registry(value, help_text))
        ours = scrape.parse(body)
        theirs = list(parse(body.decode()))
        assert not ours.problems
        assert flat(sample for family in ours.families.values() for sample in family.samples) == flat(
            sample for family in theirs for sample in family.samples
        )


def test_families_have_the_names_of_queries() -> None:
    for generate in (generate_latest, generate_openmetrics):
        families = scrape.parse(generate(registry())).families
        assert {name: families[name].type for name in ("shop_orders_total", "shop_open", "shop_wait_seconds", "shop_size_bytes")} == {
            "shop_orders_total": "counter", "shop_open": "gauge", "shop_wait_seconds": "histogram", "shop_size_bytes": "summary",
        }  # fmt: skip
        assert "shop_build_info" in families
        assert families["shop_orders_total"].help == 'Orders, "all" \\ of\nthem.'
        assert len(families["shop_wait_seconds"].series) == 5


@pytest.mark.parametrize(
    ("line", "place", "what"),
    [
        ("a{x=1} 2", "f:2:3", "invalid label 'x=1'"),
        ('a{x="1"', "f:2:1", "invalid sample 'a{x=\"1\"'"),
        ('a{x="1",x="2"} 2', "f:2:3", "has a label twice (x, x)"),
        ("a one", "f:2:3", "invalid number 'one'"),
        ("a 1_000", "f:2:3", "invalid number '1_000'"),
        ("good 2", "f:2:1", "has the same labels twice"),
        ("# TYPE a speed", "f:2:10", "has the unknown type 'speed'"),
        ("# TYPE good gauge", "f:2:1", "the type of good comes after its samples"),
        ("# TYPE", "f:2:1", "missing metric name"),
        ("<html>", "f:2:1", "missing metric name"),
        ('{x="1"} 2', "f:2:1", "missing metric name"),
    ],
)
def test_invalid_line_has_a_place_and_skips_no_other(line: str, place: str, what: str) -> None:
    found = scrape.parse(f"good 1\n{line}\nafter 1\n", "f")
    assert {"good", "after"} <= found.families.keys()
    assert [problem.where for problem in found.problems] == [place]
    assert what in found.problems[0].what


@pytest.mark.parametrize(
    "line",
    [
        'a{x="1",} 2', 'a { x = "1" , y = "}" } 2 1700000000000', 'a{x="1"} 2 # {trace_id="1"} 0.5 1.5', '{"a", x="1"} 2', '{"http.requests", "a.b"="1"} 2',
        "a\t2", "a NaN", "a +Inf", "a -1e-7", "# a comment", "# HELP a", "#TYPE a gauge\na 1",
    ],
)  # fmt: skip
def test_valid_lines(line: str) -> None:
    assert scrape.parse(f"good 1\n{line}\r\n").problems == ()


def test_many_invalid_lines_are_summarised() -> None:
    found = scrape.parse("good 1\n" + "{\n" * 1000)
    assert len(found.problems) == 21
    assert found.problems[-1].what == "980 more lines cannot be parsed"


@pytest.mark.parametrize(
    "line", ["a" * 500_000, 'a{x="' + "y" * 500_000, "a{" + 'x="1",' * 100_000, "a{x=" + '"' * 500_000, "# HELP " + "a" * 500_000 + "-"]
)
def test_hostile_line_takes_linear_time(line: str) -> None:
    begin = time.process_time()
    scrape.parse(f"good 1\n{line}\n")
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("text", ["", "\n\n", "<!doctype html>\n<title>Sign in</title>", '{"status":"success"}', "\x00\xff"])
def test_text_without_metrics_is_rejected(text: str) -> None:
    with pytest.raises(BalanceError, match="contains no metrics"):
        scrape.parse(text.encode("latin-1"), "f")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/metrics")
            self.end_headers()
            return
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"#")
                time.sleep(0.05)
            return
        if self.path == "/private" and self.headers["Authorization"] != "Basic bWU6cGFzcw==":
            self.send_error(401)
            return
        assert "openmetrics" in self.headers["Accept"]
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(gzip.compress(b"shop_open 1\n"))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(processes: None) -> Iterator[str]:
    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # who reads too long is hung up on

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fetch_unpacks_gzip(address: str, tmp_path: Path) -> None:
    assert scrape.read(f"http://{address}/metrics").families["shop_open"].samples[0].value == 1
    assert scrape.read(f"http://me:pass@{address}/private").source == f"http://{address}/private"
    (tmp_path / "metrics.gz").write_bytes(gzip.compress(b"shop_open 1\n"))
    assert scrape.read(str(tmp_path / "metrics.gz")).size == 1


def test_fetch_errors_do_not_show_the_password(address: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"shop_open 1\n")[:-9])
    for source, message in {
        f"http://{address}/moved": "answered 302 Found (it is now at /metrics: give that address)",
        f"http://me:wrong@{address}/private": "answered 401 Unauthorized",
        f"http://{closed}/metrics": "cannot be reached: Connection refused",
        "http://127.0.0.1:port/metrics": "cannot be reached: Port could not be cast",
        "ftp://127.0.0.1/metrics": "unsupported address",
        str(tmp_path / "none"): "cannot be read: No such file or directory",
        str(tmp_path): "cannot be read: Is a directory",
        str(tmp_path / "broken.gz"): "damaged gzip",
    }.items():
        with pytest.raises(BalanceError) as raised:
            fetch.fetch(source)
        assert message in str(raised.value)
        assert "wrong" not in str(raised.value)


def test_fetch_is_bounded_in_time_and_size(address: str, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(BalanceError, match=r"did not answer in full within 0.3 s"):
        fetch.fetch(f"http://{address}/slow", timeout=0.3)
    assert time.monotonic() - begin < 2
    (tmp_path / "bomb").write_bytes(gzip.compress(b"\0" * 2_000_000))
    with pytest.raises(BalanceError, match="has more than 1 MiB"):
        fetch.fetch(str(tmp_path / "bomb"), max_bytes=1024 * 1024)
