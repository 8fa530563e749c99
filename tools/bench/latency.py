"""Latency that `balance serve` adds at half of its saturation rate: the same open-loop load on it and directly on the origin."""

from __future__ import annotations

import statistics

from tools.bench.openloop import Latency, half_of_saturation, latency
from tools.bench.peers import BALANCE, HAPROXY, NGINX
from tools.bench.stage import stage
from tools.bench.table import Goal, Result, markdown

ROUNDS, SECONDS = 3, 4
GOAL = 1.0
"""Milliseconds that the 99th percentile may exceed that of the origin."""


def run() -> Result:
    """Measure alternately and take the medians of the rounds; HAProxy and nginx get the same rate."""
    with stage([BALANCE, HAPROXY, NGINX]) as (origin, proxies):
        rate = half_of_saturation(proxies[0])
        taken: dict[str, list[Latency]] = {server.name: [] for server in (origin, *proxies)}
        for _ in range(ROUNDS):
            for server in (origin, *proxies):
                taken[server.name].append(latency(server, rate, SECONDS))
    found = {name: Latency(*map(statistics.median, zip(*each, strict=True))) for name, each in taken.items()}
    above = {name: (one.p99 - found[origin.name].p99) * 1000 for name, one in found.items()}
    rows = [(name, f"{one.p50 * 1000:.2f}", f"{one.p99 * 1000:.2f}", f"{above[name]:.2f}") for name, one in found.items()]
    heads = (f"{rate} requests/s, half of what saturates balance", "p50 ms", "p99 ms", "p99 above direct, ms")
    return Result(markdown(heads, rows), [Goal("p99 above the direct path, ms", GOAL, above[BALANCE.name])])
