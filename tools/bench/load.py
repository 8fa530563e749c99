"""wrk: as many requests as 64 connections can carry, from a core that the proxies do not use."""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools.bench.machine import LOAD_CORE, pinned, processor_time, program
from tools.bench.stage import Server

CONNECTIONS = 64
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Cookie": "session=0123456789abcdef0123456789abcdef",
}
VARIED = Path(__file__).with_name("varied.lua")


class LoadResult(NamedTuple):
    """Requests per second, and processor seconds per request of the whole process tree."""

    rate: float
    cost: float


def wrk(server: Server, path: str, seconds: int, script: Path | None = None) -> LoadResult:
    """Run wrk once for `seconds`. Raises `RuntimeError` if a response was missing or not a success."""
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    scripted = ["-s", str(script)] if script else []
    command = [program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *headers, *scripted, server.url(path)]
    before = processor_time(server.pid)
    run = subprocess.run(pinned(command, LOAD_CORE), capture_output=True, text=True, check=False)
    used = processor_time(server.pid) - before
    requests, rate = parse(server.name, run.stdout + run.stderr)
    return LoadResult(rate, used / requests)


def parse(name: str, text: str) -> tuple[int, float]:
    """The number of requests answered and the rate per second, from wrk's output."""
    requests, rate = re.search(r"(\d+) requests in", text), re.search(r"Requests/sec: +([\d.]+)", text)
    trouble = re.search(r"Non-2xx.*|Socket errors.*", text)
    if trouble or not requests or not rate or not int(requests[1]):
        raise RuntimeError(f"{name}: wrk was not answered properly: {trouble[0] if trouble else text.strip()[-200:]}")
    return int(requests[1]), float(rate[1])


def turns(servers: Sequence[Server], path: str, *, rounds: int, seconds: int, script: Path | None = None) -> dict[str, LoadResult]:
    """The median result of each server by name. They alternate, so that noise affects all of them, after a second of warming up."""
    taken: dict[str, list[LoadResult]] = {server.name: [] for server in servers}
    for server in servers:
        wrk(server, path, 1, script)
    for _ in range(rounds):
        for server in servers:
            taken[server.name].append(wrk(server, path, seconds, script))
    return {name: LoadResult(*map(statistics.median, zip(*loads, strict=True))) for name, loads in taken.items()}
