"""100-byte bodies: requests per second and processor time per request of `balance serve` and its peers.

Every proxy has one core to itself (its process tree is pinned to it); wrk and the origin, an nginx that answers from memory, share the
other. Where the load generator is the brake, the rate says little and the processor time per request says all.
"""

from __future__ import annotations

from tools.bench.load import VARIED, turns
from tools.bench.peers import BALANCE, CADDY, ENVOY, HAPROXY, LOGGING, PEERS, PLAIN
from tools.bench.stage import stage
from tools.bench.table import Goal, Result, markdown

ROUNDS, SECONDS = 3, 4
WORKLOADS = {
    "same headers": (None, {PLAIN: 4.5, CADDY: 2.5, ENVOY: 1.5, HAPROXY: 0.6}),
    "varied headers": (VARIED, {PLAIN: 3.5, CADDY: 1.6, ENVOY: 1.0, HAPROXY: 0.35}),
}
"""Name, wrk's script, and by peer the minimum ratio of its processor time to balance's."""


def run() -> Result:
    """Measure all proxies in turn, once with the same headers on every request and once with another target, request id and cookie on each."""
    rows, goals = [], []
    with stage([BALANCE, LOGGING, *PEERS[1:]]) as (_, proxies):
        for workload, (script, bounds) in WORKLOADS.items():
            wanted = {peer.name: bound for peer, bound in bounds.items()}
            loads = turns(proxies, "/index.html?page=1", rounds=ROUNDS, seconds=SECONDS, script=script)
            for name, load in loads.items():
                ratio = load.cost / loads[BALANCE.name].cost
                rows.append((f"{workload}: {name}", f"{load.rate / 1000:.1f}", f"{load.cost * 1e6:.1f}", f"{ratio:.2f}", wanted.get(name, "")))
                if name in wanted:
                    goals.append(Goal(f"{workload}: CPU of {name} over balance", wanted[name], ratio, at_least=True))
    heads = ("one core, 100-byte bodies, 64 connections", "1000 requests/s", "CPU µs/request", "CPU over balance", "goal")
    return Result(markdown(heads, rows), goals)
