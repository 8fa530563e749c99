"""Processor time of what authors and CI wait for: `balance-gen check`, and `balance-gen dashboards` beside a script with Grafana's own SDK.

User and system time of whole processes, bytecode compiled. The minimum is what the work takes; the median tells how quiet the machine was.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.bench.generator import used
from tools.bench.table import Goal, Result, markdown

RUNS = 9
PROGRAM = str(Path(sys.executable).parent / "balance-gen")
ENVIRONMENT = ["/usr/bin/env", "-u", "PYTHONDONTWRITEBYTECODE", "-u", "NO_BALANCE_CACHE"]
TWICE = ["--source", "tools.bench.many:twice"]
WARM, COLD, TIMES = 1.0, 3.0, 2.0
"""The goals: seconds with and without cached rule tests, and the ratio to the processor time of the SDK's script."""


def run() -> Result:
    """Measure `check` of the bundled sources, and of the same with twice as many alerts, with and without cached rule tests."""
    rows: list[tuple[str, str, str]] = []
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as folder:
        for what, source in (("bundled sources", []), ("twice as many alerts", TWICE)):
            out = f"{folder}/{len(rows)}"
            subprocess.run(_with_cache(f"{out}.cache", "write", "--out", out, *source), check=True, capture_output=True)
            warm = _seconds([_with_cache(f"{out}.cache", "check", "--out", out, *source)] * RUNS)
            cold = _seconds([_with_cache(f"{out}.cache{number}", "check", "--out", out, *source) for number in range(RUNS)])
            for state, taken, bound in (("warm", warm, WARM), ("cold", cold, COLD)):
                rows.append((f"check, {what}, {state}", f"{min(taken):.2f}", f"{statistics.median(taken):.2f}"))
                goals.append(Goal(f"check, {what}, {state}, seconds", bound, min(taken)))
    return Result(markdown(("balance-gen, processor time", "s (min)", "s (median)"), rows), goals)


def dashboards() -> Result:
    """Measure the main dashboard and one with the same panels, queries, variables and annotations by grafana-foundation-sdk, alternating."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        ours = [*ENVIRONMENT, PROGRAM, "dashboards"]
        theirs = [*ENVIRONMENT, sys.executable, "-c", f"from tools.bench.foundation import main; main({file.name!r})"]
        subprocess.run(ours, stdout=file, check=True)
        subprocess.run(theirs, stdout=subprocess.DEVNULL, check=True)
        taken = [(used(ours)[0], used(theirs)[0]) for _ in range(RUNS)]
    columns = dict(zip(("balance-gen dashboards", "grafana-foundation-sdk"), zip(*taken, strict=True), strict=True))
    rows = [(name, f"{min(seconds):.3f}", f"{statistics.median(seconds):.3f}") for name, seconds in columns.items()]
    ratio = min(columns["balance-gen dashboards"]) / min(columns["grafana-foundation-sdk"])
    return Result(markdown(("one dashboard, processor time", "s (min)", "s (median)"), rows), [Goal("dashboards, times the SDK's", TIMES, ratio)])


def _with_cache(directory: str, *words: str) -> list[str]:
    return [*ENVIRONMENT, f"XDG_CACHE_HOME={directory}", PROGRAM, *words]


def _seconds(commands: Sequence[list[str]]) -> list[float]:
    return [used(command)[0] for command in commands]
