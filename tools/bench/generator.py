"""How long `balance-gen dashboards` takes as a whole process, in starts of a bare interpreter, and how much memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tools.bench.table import markdown

RUNS = 40
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "balance-gen dashboards": [str(Path(sys.executable).parent / "balance-gen"), "dashboards"],
    "balance-gen alerts": [str(Path(sys.executable).parent / "balance-gen"), "alerts"],
}


def run() -> str:
    """The commands take turns, so that a noisy moment meets all of them."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "balance", "dashboards_py", "rules_src"], check=True)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    peak: dict[str, int] = {}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            took, memory = _once(command)
            seconds[name].append(took)
            peak[name] = max(memory, peak.get(name, 0))
    bare = statistics.median(seconds["python -c pass"])
    rows = [
        (name, f"{statistics.median(taken) * 1000:.1f}", f"{statistics.median(taken) / bare:.1f}", f"{peak[name] / 1024:.0f}")
        for name, taken in seconds.items()
    ]
    return markdown(("whole process", "ms (median)", "bare starts", "peak MB"), rows)


def _once(command: list[str]) -> tuple[float, int]:
    """Wall seconds and peak resident kibibytes of one run."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return took, usage.ru_maxrss
