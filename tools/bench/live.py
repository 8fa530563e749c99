"""Cost of `audit` for many dashboards and of `adopt` for many families, at one, two and four times the size."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tools.bench.generator import used
from tools.bench.table import Goal, Result, markdown

TIMES = (1, 2, 4)
DASHBOARDS, PANELS, FAMILIES, SERIES = 100, 50, 100, 100
"""Of a single measure: dashboards with so many panels each, families with so many series each."""
ADOPTED = (1, 100, 5000)
_PROGRAM = str(Path(sys.executable).parent / "balance-gen")


def audit() -> Result:
    """Dashboards of all kinds of queries: a tenth asks for metrics that do not exist, some for values that nobody has seen."""
    rows, figures = [], []
    for times in TIMES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder, times)
            words = ["audit", "--metrics", str(folder / "metrics"), "--dashboards", str(folder), "--format", "json"]
            figures.append(used([_PROGRAM, *words]))
        counts = (DASHBOARDS * times, DASHBOARDS * PANELS * times, FAMILIES * SERIES * times)
        rows.append((f"{times}x", *(f"{count:,}" for count in counts), f"{figures[-1][0]:.2f}", f"{figures[-1][1]:.0f}"))
    goals = [Goal("audit, 5,000 panels, 10,000 series: seconds", 5, figures[0][0]), Goal("the same: MB", 300, figures[0][1])]
    return Result(markdown(("audit", "dashboards", "panels", "series", "CPU s", "peak MB"), rows), goals)


def write(folder: Path, times: int) -> None:
    """A scrape, and dashboards over it."""
    families = FAMILIES * times
    lines = []
    for number in range(families):
        lines.append(f"# TYPE shop_thing{number}_total counter")
        lines += [f'shop_thing{number}_total{{door="d{index % 10}",way="w{index // 10}"}} 1' for index in range(SERIES)]
    (folder / "metrics").write_text("\n".join(lines))
    for number in range(DASHBOARDS * times):
        panels = [
            {"id": index, "title": f"P{index}", "targets": [{"refId": "A", "expr": _query((number + index) % (families * 11 // 10), index, number)}]}
            for index in range(PANELS)
        ]
        (folder / f"{number:04}.json").write_text(json.dumps({"title": f"D{number}", "panels": panels}))


def _query(family: int, way: int, divisor: int) -> str:
    return f'sum by (way) (rate(shop_thing{family}_total{{door=~"$door",way="w{way % 12}"}}[$__rate_interval])) / {divisor + 1}'


def adopt() -> Result:
    """Scrapes of counters, gauges and histograms; then lint and verify of the module that adopt printed."""
    rows = []
    for count in ADOPTED:
        with tempfile.TemporaryDirectory() as name:
            shown, module = Path(name, "metrics"), Path(name, "adopted.py")
            shown.write_text("\n".join(_families(count)))
            run = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", name]
            seconds, peak = used(["/bin/sh", "-c", f"exec {_PROGRAM} adopt {shown} > {module}"])
            after = [used([*run, _PROGRAM, *words, "--source", "adopted:bundle"])[0] for words in (["lint"], ["verify", str(shown)])]
        rows.append((f"{count:,}", *(f"{figure:.2f}" for figure in (seconds, *after)), f"{peak:.0f}"))
    return Result(markdown(("families", "adopt, CPU s", "lint", "verify", "adopt, peak MB"), rows))


def _families(count: int) -> Iterable[str]:
    for number in range(count):
        kind, end = (("counter", "total"), ("gauge", "bytes"), ("histogram", "seconds"))[number % 3]
        name = f"shop_thing{number}_{end}"
        yield f"# HELP {name} Thing {number}.\n# TYPE {name} {kind}"
        if kind == "histogram":
            yield from (f'{name}_bucket{{le="{bound}"}} 1' for bound in (0.1, 0.5, 1, "+Inf"))
            yield f"{name}_sum 1\n{name}_count 1"
        else:
            yield from (f'{name}{{method="{method}",code="{code}"}} 1' for method in ("GET", "POST") for code in (200, 500))
