"""How long `balance-gen dashboards` takes as a whole process, in starts of a bare interpreter, and how much memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tools.bench.table import Result, markdown

RUNS = 40
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "balance-gen dashboards": [str(Path(sys.executable).parent / "balance-gen"), "dashboards"],
    "balance-gen alerts": [str(Path(sys.executable).parent / "balance-gen"), "alerts"],
}


def run() -> Result:
    """The commands take turns, so that a noisy moment meets all of them."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "balance", "dashboards_py", "rules_src"], check=True)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - begin)
    bare = statistics.median(seconds["python -c pass"])
    rows = [
        (name, f"{statistics.median(taken) * 1000:.1f}", f"{statistics.median(taken) / bare:.1f}", f"{_peak(COMMANDS[name]):.0f}")
        for name, taken in seconds.items()
    ]
    return Result(markdown(("whole process", "ms (median)", "bare starts", "peak MB"), rows))


def _peak(command: list[str]) -> float:
    """Peak resident mebibytes of one run. The kernel counts what the starting process held, so a bare interpreter starts it."""
    run = subprocess.run([sys.executable, "-S", "-c", _STARTER, *command], capture_output=True, text=True, check=True)
    return int(run.stderr) / 1024


_STARTER = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
print(os.wait4(pid, 0)[2].ru_maxrss, file=sys.stderr)
"""
