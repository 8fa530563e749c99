"""Our evaluator against promtool: every expression of the bundle over random series with resets, gaps, staleness and odd values."""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from balance.catalog.model import Counter, Histogram
from balance.monitoring.bundle import Bundle
from balance.promql import text
from balance.promql.ast import OverTime, Recorded
from balance.promql.evaluate import STALE, Database, Labels, Series, Version, evaluate
from balance.promql.selectors import Expr, Selector
from balance.promql.solve import Solver
from balance.promql.text import Scope

CASES = int(os.environ.get("BALANCE_EVALUATIONS", "1500"))
SCOPE = Scope('job="balance"', recorded='job="balance"')
STEP, STEPS = 60, 40
Values = list[float | None]
GONE = "stale"


def expressions(bundle: Bundle) -> list[Expr]:
    """Every expression of the bundle and all that it is made of, once; of what is recorded, the expression."""
    found: dict[Expr, None] = {}
    for _, expr in bundle.expressions():
        for node in expr.walk():
            if not any(isinstance(inner, Recorded) for inner in node.walk()) and not isinstance(node, OverTime):
                found[node] = None
    return list(found)


def values(chance: random.Random, counter: bool) -> list[float | str | None]:
    """Values of a series: numbers, None where a scrape brought none, `GONE` where the series ended."""
    result: list[float | str | None] = []
    now = float(chance.choice([0, 0, 5, 1000]))
    rise = chance.choice([0, 1, 3, 50, 1000])
    gaps, resets, ends = chance.choice([0, 0, 0.1, 0.5]), chance.choice([0, 0.05, 0.2]), chance.choice([0, 0, 0.05])
    for _ in range(STEPS + 1):
        if counter:
            now = float(chance.randint(0, rise)) if chance.random() < resets else now + chance.randint(0, rise)
        else:
            now = float(chance.choice([0, 1, 1, 0.5, 7, 1e9, -3]))
        result.append(None if chance.random() < gaps else GONE if chance.random() < ends else now)
    return result


def world(expr: Expr, chance: random.Random) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[float | str | None]]:
    """Random series for every selector within the expression: on two instances, sometimes of another job, with several values of each label."""
    made = {}
    for selector in dict.fromkeys(node for node in expr.walk() if isinstance(node, Selector)):
        for instance in ("a", "b"):
            for last in (False, True):
                solver = Solver(SCOPE, STEP, instance=instance, last=last)
                if isinstance(selector.metric, Histogram) and selector.suffix == "_bucket":
                    keys = [
                        solver.series(selector.replace(matchers=()), (), le=bound)
                        for bound in (*map(repr, map(float, selector.metric.buckets)), "+Inf")
                    ]
                else:
                    keys = [solver.series(selector)]
                if chance.random() < 0.3:
                    keys = [(name, tuple((k, "other" if k == "job" and chance.random() < 0.5 else v) for k, v in labels)) for name, labels in keys]
                bucket: list[float | str | None] = []
                for key in keys:
                    counter = isinstance(selector.metric, (Counter, Histogram))
                    made[key] = bucket = values(chance, counter) if not bucket or chance.random() < 0.2 else more(bucket, chance)
    return made


def more(bucket: list[float | str | None], chance: random.Random) -> list[float | str | None]:
    """The bucket above: at least as much."""
    rise = chance.choice([0, 1, 20])
    return [value + rise * number if isinstance(value, float) else value for number, value in enumerate(bucket)]


def written(value: float | str | None) -> str:
    return "_" if value is None else GONE if value == GONE else f"{value:.17g}"


def cases(bundle: Bundle, seed: int) -> Iterator[tuple[Expr, dict[tuple[str, tuple[tuple[str, str], ...]], list[float | str | None]], list[int]]]:
    chance = random.Random(seed)
    known = expressions(bundle)
    for number in range(CASES):
        expr = known[number % len(known)]
        yield expr, world(expr, chance), sorted(chance.sample(range(STEPS), 3))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_we_answer_what_prometheus_answers(bundle: Bundle, tmp_path: Path, program: Callable[[str], str]) -> None:
    """Every expected value is wrong on purpose: promtool then tells the right ones, which are compared with ours."""
    promtool = program("promtool")
    version: Version = 3 if re.search(r"version 3", subprocess.run([promtool, "--version"], capture_output=True, text=True, check=True).stdout) else 2
    lines = ["evaluation_interval: 1m", "tests:"]
    asked: dict[str, tuple[Expr, dict[Labels, float]]] = {}
    seed = random.randrange(10**9)
    for number, (expr, made, times) in enumerate(cases(bundle, seed)):
        lines += [f"- interval: {STEP}s", f"  name: case {number}", "  input_series:" if made else "  input_series: []"]
        series = []
        for (name, labels), given in made.items():
            selector = name + "{" + ",".join(f'{label}="{value}"' for label, value in labels) + "}"
            lines += [f"  - series: {quoted(selector)}", f"    values: {quoted(' '.join(map(written, given)))}"]
            samples = [(at * STEP, STALE if value == GONE else value) for at, value in enumerate(given) if value is not None]
            series.append(Series(name, dict(labels), samples))  # type: ignore[arg-type]
        lines.append("  promql_expr_test:")
        for at in times:
            moment = at * STEP + random.Random(number * 100 + at).choice([0, 0, 7, 31])
            ours = evaluate(expr, Database(series, SCOPE, version), moment)
            asked[f"{number} at {moment} s"] = (expr, ours)
            lines += [
                f"  - expr: {quoted(text(expr, SCOPE))}",
                f"    eval_time: {moment}s",
                "    exp_samples:",
                "    - labels: 'never{}'",
                "      value: -12345.5",
            ]
    (tmp_path / "test.yaml").write_text("\n".join(lines) + "\n")
    run = subprocess.run([promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    told = answers(run.stdout + run.stderr)
    assert len(told) == len(asked), f"seed {seed}: {run.stdout + run.stderr[-500:]}"
    wrong = [
        f"seed {seed}, case {name}: {text(expr, SCOPE)}\n ours {ours}\n theirs {theirs}"
        for (name, (expr, ours)), theirs in zip(asked.items(), told, strict=True)
        if not same(ours, theirs)
    ]
    assert not wrong, f"{len(wrong)} of {len(asked)}:\n" + "\n".join(wrong[:3])
    assert sum(1 for _, ours in asked.values() if ours) > len(asked) / 4, "a result is no rarity"


def answers(output: str) -> list[dict[Labels, float]]:
    """The results that promtool found, in the order in which it was asked."""
    got = re.findall(r"^        got: (.*)$", output, flags=re.MULTILINE)
    return [dict(sample(*pair) for pair in re.findall(r"(\{.*?\}) (\S+?)(?:, (?=\{)|$)", line)) for line in got]


def sample(labels: str, value: str) -> tuple[Labels, float]:
    return frozenset(re.findall(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"', labels)), float(value.replace("Inf", "inf"))


def same(ours: dict[Labels, float], theirs: dict[Labels, float]) -> bool:
    def near(a: float, b: float) -> bool:
        return (math.isnan(a) and math.isnan(b)) or a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)

    return ours.keys() == theirs.keys() and all(near(value, theirs[labels]) for labels, value in ours.items())
