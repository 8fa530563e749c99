"""Slow clients: 200 connections with slow headers and 200 with slow bodies (slowhttptest), and the latency of other clients.

Once all its connections are open, slowhttptest takes all the processor time that it can get. It gets what nobody else wants (`chrt --idle`), and
it always runs: in turn against balance and, for comparison, against the origin. Else this would measure what its work does to the others.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator

from tools.bench.machine import LOAD_CORE, PATIENCE, connected, process, program
from tools.bench.openloop import Latency, half_of_saturation, latency
from tools.bench.peers import BALANCE
from tools.bench.stage import Server, stage
from tools.bench.table import Goal, Result, markdown

ROUNDS, SECONDS, EACH = 3, 4, 200
GOAL = 2.0
"""Maximum ratio of the others' p99 with and without slow clients."""


def run() -> Result:
    """Measure alternately at half of balance's saturation rate; medians of the rounds."""
    taken: dict[str, list[Latency]] = {"without": [], "with": []}
    left = []
    with stage([BALANCE]) as (origin, (server,)):
        rate = half_of_saturation(server)
        for _ in range(ROUNDS):
            for name, target in (("without", origin), ("with", server)):
                with _slow_clients(target):
                    taken[name].append(latency(server, rate, SECONDS))
                    left.append(connected(target.port))
    found = {name: Latency(*map(statistics.median, zip(*each, strict=True))) for name, each in taken.items()}
    ratio = found["with"].p99 / found["without"].p99
    rows = [(f"{name} slow clients", f"{one.p50 * 1000:.2f}", f"{one.p99 * 1000:.2f}") for name, one in found.items()]
    still = statistics.median(left[1::2])
    table = markdown((f"{rate} requests/s; {2 * EACH} slow connections, {still:.0f} of them still open at the end", "p50 ms", "p99 ms"), rows)
    return Result(table, [Goal("p99 with slow clients over without", GOAL, ratio)])


@contextlib.contextmanager
def _slow_clients(target: Server) -> Iterator[None]:
    """Keep all slow clients connected. Raises `RuntimeError` if the target does not accept them."""
    with contextlib.ExitStack() as stack:
        for mode in ("-H", "-B"):
            command = [program("chrt"), "--idle", "0", program("slowhttptest"), "-c", str(EACH), mode, "-i", "5", "-r", "50", "-l", "30"]
            stack.enter_context(process([*command, "-u", target.url("/upload")], LOAD_CORE))
        end = time.monotonic() + PATIENCE
        while (now := connected(target.port)) < 2 * EACH:
            if time.monotonic() > end:
                raise RuntimeError(f"{target.name}: only {now} of {2 * EACH} slow connections were opened")
            time.sleep(0.02)
        yield
