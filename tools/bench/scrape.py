"""Cost of scraping many series: how long a scrape takes, and the latency of requests meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from tools.bench.machine import PATIENCE, free_port
from tools.bench.openloop import Latency, latency
from tools.bench.peers import BALANCE
from tools.bench.stage import stage
from tools.bench.table import Goal, Result, markdown

WORKERS, BACKENDS = 2, 1000
ROUNDS, SECONDS = 5, 6
RATE = 1000
"""Requests a second: a fraction of what one core carries, because supervisor and workers share one here, and 1,000 connections are kept busy."""
INTERVAL = 1.0
"""Seconds between two scrapes; Prometheus usually takes 15 to 60."""
GOAL_SCRAPE, GOAL_P99 = 150.0, 5.0
"""Milliseconds: of a scrape, and that the 99th percentile may rise."""

_AS_PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
_BACKENDS = ", ".join(f'{{name: backend-{number}, address: "127.0.0.1:%origin"}}' for number in range(BACKENDS))
_CONFIG = f"""
listen: 127.0.0.1:%port
workers: {WORKERS}
admin: {{listen: "127.0.0.1:%admin"}}
backends: [{_BACKENDS}]
health_check: off
log: {{level: warning, access: false}}
"""


def run() -> Result:
    """Measure the same load with and without scrapes, alternating; medians of the rounds."""
    admin = free_port()
    peer = replace(BALANCE, name="balance", config=_CONFIG, words={"admin": str(admin)}, reuses=False)
    quiet: list[Latency] = []
    scraped: list[Latency] = []
    waits: list[float] = []
    with stage([peer]) as (_, (server,)):
        latency(server, RATE, 2)  # so that every backend has a connection
        size = len(_scrape(admin))
        for _ in range(ROUNDS):
            quiet.append(latency(server, RATE, SECONDS))
            with _scraping(admin, waits):
                scraped.append(latency(server, RATE, SECONDS))
    without, during = (Latency(*map(statistics.median, zip(*each, strict=True))) for each in (quiet, scraped))
    took = statistics.median(waits) * 1000
    rows = [
        (f"no scrape, {RATE} requests/s", f"{without.p50 * 1000:.2f}", f"{without.p99 * 1000:.2f}"),
        (f"one each {INTERVAL:g} s, {size / 1000:.0f} kB gzip", f"{during.p50 * 1000:.2f}", f"{during.p99 * 1000:.2f}"),
    ]
    heads = (f"{WORKERS} workers on one core, {BACKENDS} backends: a scrape takes {took:.0f} ms, {max(waits) * 1000:.0f} at most", "p50 ms", "p99 ms")
    goals = [Goal("a scrape, ms", GOAL_SCRAPE, took), Goal("p99 above that without scrapes, ms", GOAL_P99, (during.p99 - without.p99) * 1000)]
    return Result(markdown(heads, rows), goals)


@contextlib.contextmanager
def _scraping(port: int, waits: list[float]) -> Iterator[None]:
    """Scrape at intervals in a thread, and collect the seconds that each took."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(INTERVAL):
            begin = time.perf_counter()
            _scrape(port)
            waits.append(time.perf_counter() - begin)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _scrape(port: int) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/metrics", headers=_AS_PROMETHEUS)
        return connection.getresponse().read()
