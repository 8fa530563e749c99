"""Cost of the metrics: the same build of `balance serve` with and without recording, alternating."""

from __future__ import annotations

from tools.bench.load import turns
from tools.bench.peers import BALANCE, UNMEASURED
from tools.bench.stage import stage
from tools.bench.table import Goal, Result, markdown

ROUNDS, SECONDS = 5, 3
GOAL = 8.0
"""Maximum cost in percent of a core's processor time, which is steadier than rates and holds even if the load generator is the bottleneck."""


def run() -> Result:
    """Measure 100-byte bodies with the same headers on every request, where a fixed cost weighs most; medians of the rounds."""
    with stage([BALANCE, UNMEASURED]) as (_, proxies):
        loads = turns(proxies, "/index.html?page=1", rounds=ROUNDS, seconds=SECONDS)
    lost = 100 * (1 - loads[UNMEASURED.name].cost / loads[BALANCE.name].cost)
    rows = [(name, f"{load.rate / 1000:.2f}", f"{load.cost * 1e6:.2f}") for name, load in loads.items()]
    table = markdown((f"metrics take {lost:.1f} % of the processor time", "1000 requests/s", "CPU µs/request"), rows)
    return Result(table, [Goal("throughput lost to metrics, %", GOAL, lost)])
