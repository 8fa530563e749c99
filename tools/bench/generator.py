"""How long `balance-gen` takes as a whole process, and how much memory: in starts of a bare interpreter, and where there is much to make."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.bench.table import Goal, Result, markdown

RUNS, LARGE_RUNS = 40, 5
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


def large() -> Result:
    """2,000 alerts and 100 dashboards of 20 panels, each made by a command and written with all that follows from them."""
    program = str(Path(sys.executable).parent / "balance-gen")
    rows, goals = [], []
    with tempfile.TemporaryDirectory() as folder:
        for what, source, words, seconds, megabytes in (
            ("2,000 alerts", "rules", ["rules"], 3, 300),
            ("2,000 alerts", "rules", ["write", "--out", f"{folder}/rules"], None, None),
            ("100 dashboards", "boards", ["write", "--out", f"{folder}/boards"], 2, 200),
        ):
            command = [program, *words, "--quiet", "--source", f"tools.bench.many:{source}"]
            taken = []
            for _ in range(LARGE_RUNS):
                begin = time.perf_counter()
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
                taken.append(time.perf_counter() - begin)
            peak = _peak(command)
            rows.append((f"{what}: balance-gen {words[0]}", f"{statistics.median(taken):.2f}", f"{peak:.0f}"))
            if seconds and megabytes:
                goals += [Goal(f"{what}, seconds", seconds, statistics.median(taken)), Goal(f"{what}, MB", megabytes, peak)]
    return Result(markdown(("whole process", "s (median)", "peak MB"), rows), goals)


def lint() -> Result:
    """`balance-gen lint` of 1,000 metrics, 1,000 alerts and 2,000 panels, of twice and of four times as many."""
    program = str(Path(sys.executable).parent / "balance-gen")
    rows, medians = [], []
    for what, source in (("1,000 metrics, 1,000 alerts, 2,000 panels", "services"), ("twice as many", "services2"), ("four times", "services4")):
        command = [program, "lint", "--quiet", "--source", f"tools.bench.many:{source}"]
        taken = []
        for _ in range(LARGE_RUNS):
            begin = time.perf_counter()
            subprocess.run(command, check=True)
            taken.append(time.perf_counter() - begin)
        medians.append(statistics.median(taken))
        rows.append((what, f"{medians[-1]:.2f}", f"{medians[-1] / medians[0]:.1f}", f"{_peak(command):.0f}"))
    table = markdown(("balance-gen lint, whole process", "s (median)", "times", "peak MB"), rows)
    return Result(
        table,
        [
            Goal("lint of 1,000 metrics, 1,000 alerts, 2,000 panels, seconds", 5, medians[0]),
            Goal("lint of 4 times as many, times", 4.5, medians[2] / medians[0]),
        ],
    )


def _peak(command: list[str]) -> float:
    return used(command)[1]


def used(command: list[str]) -> tuple[float, float]:
    """Seconds of CPU and peak resident mebibytes of one run. The kernel counts what the starting process held, so a bare interpreter starts it."""
    run = subprocess.run([sys.executable, "-S", "-c", _STARTER, *command], capture_output=True, text=True, check=True)
    seconds, kibibytes = run.stderr.split()[-2:]
    return float(seconds), int(kibibytes) / 1024


_STARTER = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
used = os.wait4(pid, 0)[2]
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""
