"""Bodies through `balance serve` and its peers: megabytes per second and processor time, plain and over TLS to the client.

The origin is nginx, which sends files from the page cache (sendfile); it alone reaches some 2.5 GB/s to wrk on two cores. With wrk
beside it on one core, the fastest proxies wait for them at 1 MiB: there processor time says more than throughput. TLS connections are opened
once and kept, so this measures encryption, not handshakes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tools.bench.load import turns
from tools.bench.peers import BALANCE, BODY, FILES, NGINX, PEERS
from tools.bench.stage import answers, stage
from tools.bench.table import Goal, Result, markdown

ROUNDS, SECONDS = 3, 2
GOAL = 0.6
"""Minimum ratio of throughput to nginx's, at 1 MiB without TLS."""


def sizes() -> Result:
    """Measure 10 KiB and 1 MiB without TLS."""
    rates, table = _measure({name: f"/{size}" for name, size in FILES.items()}, tls=False)
    ratio = rates["1 MiB", BALANCE.name] / rates["1 MiB", NGINX.name]
    return Result(table, [Goal("1 MiB: throughput over nginx's", GOAL, ratio, at_least=True)])


def tls() -> Result:
    """Measure 100 bytes, 10 KiB and 1 MiB over TLS."""
    _, table = _measure({"100 B": "/", **{name: f"/{size}" for name, size in FILES.items()}}, tls=True)
    return Result(table)


def _measure(paths: Mapping[str, str], *, tls: bool) -> tuple[dict[tuple[str, str], float], str]:
    rates, rows = {}, []
    with stage(PEERS, tls=tls) as (_, proxies):
        for body, path in paths.items():
            size = FILES.get(body, len(BODY))
            wrong = [server.name for server in proxies if answers(server, path) != ["x" * size]]
            if wrong:
                raise RuntimeError(f"{wrong[0]}: a body of {body} is not the origin's")
            loads = turns(proxies, path, rounds=ROUNDS, seconds=SECONDS)
            for name, load in loads.items():
                rates[body, name] = load.rate
                over = load.rate / loads[BALANCE.name].rate, load.cost / loads[BALANCE.name].cost
                figures = (load.rate * size / 1e6, over[0], load.cost * 1e6, over[1])
                rows.append((f"{body}: {name}", f"{load.rate:.0f}", *(f"{figure:.2f}" for figure in figures)))
    heads = (f"one core, {'TLS' if tls else 'plain'}, 64 connections", "requests/s", "MB/s", "over balance", "CPU µs/request", "CPU over balance")
    return rates, markdown(heads, rows)
