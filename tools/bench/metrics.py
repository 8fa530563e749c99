"""What the metrics cost: `balance serve` with and without recording, the same build, in turn."""

from __future__ import annotations

from tools.bench.load import turns
from tools.bench.peers import BALANCE, UNMEASURED
from tools.bench.stage import stage
from tools.bench.table import Goal, Result, markdown

ROUNDS, SECONDS = 5, 3
GOAL = 8.0
"""Percent of the throughput of a busy core, which is what they take of its time: steadier than the rates, and true where the load is the brake."""


def run() -> Result:
    """Medians of the rounds, 100-byte bodies, the same headers on every request: where a fixed cost weighs most."""
    with stage([BALANCE, UNMEASURED]) as (_, proxies):
        loads = turns(proxies, "/index.html?page=1", rounds=ROUNDS, seconds=SECONDS)
    lost = 100 * (1 - loads[UNMEASURED.name].cost / loads[BALANCE.name].cost)
    rows = [(name, f"{load.rate / 1000:.2f}", f"{load.cost * 1e6:.2f}") for name, load in loads.items()]
    table = markdown((f"metrics take {lost:.1f} % of the processor time", "1000 requests/s", "CPU µs/request"), rows)
    return Result(table, [Goal("throughput lost to metrics, %", GOAL, lost)])
