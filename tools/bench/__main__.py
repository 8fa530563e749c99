"""Run the benchmarks, all or those named: `python -m tools.bench [NAME...]`."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from datetime import date
from http.client import HTTPException

from tools.bench import bodies, check, generator, idle, latency, live, metrics, picks, proxies, scrape, slow
from tools.bench.table import Goal, Result, summary

BENCHMARKS: dict[str, Callable[[], Result]] = {
    "generator": generator.run,
    "check": check.run,
    "dashboards": check.dashboards,
    "large": generator.large,
    "lint": generator.lint,
    "proxies": proxies.run,
    "sizes": bodies.sizes,
    "tls": bodies.tls,
    "latency": latency.run,
    "idle": idle.run,
    "metrics": metrics.run,
    "scrape": scrape.run,
    "slow": slow.run,
    "picks": picks.run,
    "audit": live.audit,
    "adopt": live.adopt,
}


def main() -> None:
    """Print a line with date and machine, one table for each benchmark, and the goals. Exit code 1 if a benchmark could not be run."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(chosen) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"tools.bench: no benchmark {', '.join(sorted(unknown))} (choices: {', '.join(BENCHMARKS)})")
    where = f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before, Python {platform.python_version()}"
    print(f"{date.today().isoformat()}, {where}\n", flush=True)
    goals: list[Goal] = []
    failed = False
    for name in chosen:
        try:
            result = BENCHMARKS[name]()
        except (RuntimeError, OSError, HTTPException) as error:
            print(f"tools.bench: {name}: {error}", file=sys.stderr, flush=True)
            failed = True
        else:
            print(result.table, end="\n\n", flush=True)
            goals += result.goals
    if goals:
        print(summary(goals))
    sys.exit(failed)


if __name__ == "__main__":
    main()
