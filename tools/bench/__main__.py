"""Run the benchmarks, all or those named: `python -m tools.bench [generator] [proxies]`."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date

from tools.bench import generator, proxies

BENCHMARKS = {"generator": generator.run, "proxies": proxies.run}


def main() -> None:
    """Print one table for each benchmark, under a line that says where and when."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(chosen) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"tools.bench: no benchmark {', '.join(sorted(unknown))} (choices: {', '.join(BENCHMARKS)})")
    print(f"{date.today().isoformat()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    for name in chosen:
        print(BENCHMARKS[name](), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
