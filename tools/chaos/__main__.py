"""Print the table: `python -m tools.chaos`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.bench.table import markdown
from tools.chaos.faults import FAULTS, NO_BREAKERS, OUTAGE, WORKER_FAULTS, WORKERS
from tools.chaos.run import FaultRun, Report, run

HEADS = ("one of 4 backends", "requests", "failed", "at most", "retries", "p99 before, ms", "slowest, ms")


def row(phase: FaultRun) -> tuple[str, ...]:
    figures = (phase.requests, phase.failed, phase.most, phase.retries, round(phase.before * 1000), round(phase.slowest * 1000))
    return (phase.fault.name, *map(str, figures))


def runs() -> Iterator[Report]:
    """With one process, with several, and without breakers and health checks."""
    arguments: tuple[tuple[Any, dict[str, Any]], ...] = ((FAULTS, {}), (WORKER_FAULTS, {"workers": WORKERS}), ([OUTAGE], {"settings": NO_BREAKERS}))
    for faults, others in arguments:
        with tempfile.TemporaryDirectory() as directory:
            yield asyncio.run(run(Path(directory), faults, **others))


def main() -> None:
    one, several, unguarded = runs()
    print(markdown(HEADS, [row(phase) for report in (one, several) for phase in report.phases]))
    for phase in unguarded.phases:
        seconds = f"{phase.seconds:.1f} s"
        print(f"\n{phase.fault.name}: {phase.asked} requests in {seconds}, {phase.attempts} attempts, factor {phase.attempts / phase.asked:.2f}")
    entries = [entry for report in (one, several, unguarded) for entry in report.entries]
    wrong = [entry for entry in entries if not entry.agrees]
    print(f"\n{len(entries)} figures compared, {len(wrong)} differ", *wrong, sep="\n")


if __name__ == "__main__":
    main()
