"""Our evaluator against promtool: every expression of the bundle over random series with resets, gaps, staleness and odd values.

`BALANCE_EVALUATIONS=10000 pytest tests/promql/test_evaluate.py` compares 30,000 results, from another seed each time; a failure tells its seed.
"""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from balance.catalog.model import Counter, Histogram
from balance.lb.catalog import metrics as m
from balance.monitoring.bundle import Bundle
from balance.promql import RATE_WINDOW, mean, series, text
from balance.promql.ast import OverTime, Recorded
from balance.promql.evaluate import STALE, Database, Instant, Labels, Series, Version, evaluate, evaluate_all
from balance.promql.selectors import Expr, Selector
from balance.promql.solve import Solver
from balance.promql.text import Scope

CASES = int(os.environ.get("BALANCE_EVALUATIONS", "1500"))
SCOPE = Scope('job="balance"', recorded='job="balance"')
STEP, STEPS = 60, 40
Values = list[float | str | None]
Key = tuple[str, tuple[tuple[str, str], ...]]
GONE = "stale"


def expressions(bundle: Bundle) -> list[Expr]:
    """Every expression of the bundle and its subexpressions, without duplicates."""
    marks = (annotation.expr for dashboard in bundle.dashboards for annotation in dashboard.annotations)
    every = (*(expr for _, expr in bundle.expressions()), *marks, mean(series(m.HTTP_REQUEST_DURATION), RATE_WINDOW, "job"))
    return list(dict.fromkeys(node for expr in every for node in expr.walk()))


def rules(expr: Expr) -> dict[str, Expr]:
    """The recording rules that the expression needs, in the order of their dependencies."""
    found: dict[str, Expr] = {}
    for part in expr.parts:
        found |= rules(part)
    return found | {expr.record: expr.expr} if isinstance(expr, Recorded) else found


def values(chance: random.Random, counter: bool) -> Values:
    """Values of a series: numbers, None where a scrape had none, `GONE` where the series ended."""
    result: Values = []
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


def random_series(expr: Expr, chance: random.Random) -> dict[Key, Values]:
    """Random series for every selector within the expression: on two instances, sometimes of another job, with several values of each label."""
    made = {}
    for selector in dict.fromkeys(node for node in expr.walk() if isinstance(node, Selector)):
        for instance in ("a", "b"):
            for last in (False, True):
                solver = Solver(SCOPE, STEP, instance=instance, last=last)
                if isinstance(selector.metric, Histogram) and selector.suffix == "_bucket":
                    keys = [
                        solver.series(replace(selector, matchers=()), (), le=bound)
                        for bound in (*map(repr, map(float, selector.metric.buckets)), "+Inf")
                    ]
                else:
                    keys = [solver.series(selector)]
                if chance.random() < 0.3:
                    keys = [(name, tuple((k, "other" if k == "job" and chance.random() < 0.5 else v) for k, v in labels)) for name, labels in keys]
                bucket: Values = []
                for key in keys:
                    counter = isinstance(selector.metric, (Counter, Histogram))
                    made[key] = bucket = values(chance, counter) if not bucket or chance.random() < 0.2 else more(bucket, chance)
    return made


def more(bucket: Values, chance: random.Random) -> Values:
    """The bucket above: at least as much."""
    rise = chance.choice([0, 1, 20])
    return [value + rise * number if isinstance(value, float) else value for number, value in enumerate(bucket)]


def written(value: float | str | None) -> str:
    return "_" if value is None else GONE if value == GONE else f"{value:.17g}"


def stored(expr: OverTime, chance: random.Random) -> dict[Key, Values]:
    """What a rule has recorded: of two jobs."""
    return {(expr.series.record, (("job", job),)): values(chance, counter=False) for job in ("balance", "other")}


class Case:
    """An expression over random series at three moments: `ours` is what we answer."""

    def __init__(self, number: int, expr: Expr, chance: random.Random, version: Version) -> None:
        self.number, self.expr = number, expr
        self.rules = {} if isinstance(expr, OverTime) else rules(expr)
        self.step = expr.window.seconds // 15 if isinstance(expr, OverTime) else STEP
        self.made = stored(expr, chance) if isinstance(expr, OverTime) else random_series(expr, chance)
        series = (
            Series(name, dict(labels), ((at * self.step, STALE if value == GONE else value) for at, value in enumerate(given) if value is not None))  # type: ignore[misc]
            for (name, labels), given in self.made.items()
        )
        self.database = database = Database(series, SCOPE, version)
        if not isinstance(expr, OverTime):
            for node in expr.walk():
                if isinstance(node, OverTime):
                    database.by_name[node.series.record] = recordings(node.series, database)
        between = (0,) if self.rules else (0, 0, 7, 31)
        self.moments = [at * self.step + chance.choice(between) for at in sorted(chance.sample(range(STEPS), 3))]
        self.ours = [evaluate(expr, database, moment) for moment in self.moments]

    def lines(self) -> Iterator[str]:
        """The case as a test for promtool. Every expected value is wrong on purpose: promtool then prints the right ones."""
        yield f"- interval: {self.step}s"
        yield "  input_series:" if self.made else "  input_series: []"
        for (name, labels), given in self.made.items():
            selector = name + "{" + ",".join(f'{label}="{value}"' for label, value in labels) + "}"
            yield f"  - series: {quoted(selector)}"
            yield f"    values: {quoted(' '.join(map(written, given)))}"
        yield "  promql_expr_test:"
        for moment in self.moments:
            yield f"  - {{expr: {quoted(text(self.expr, SCOPE))}, eval_time: {moment}s, exp_samples: [{{labels: 'never{{}}', value: -12345.5}}]}}"


def recordings(node: Recorded, database: Database) -> list[Series]:
    """The series that a recording rule stores, evaluated at every step over samples in memory."""
    found: dict[Labels, list[tuple[float, float | None]]] = {}
    for at in range(0, STEPS * STEP + 1, STEP):
        answer = evaluate(node, database, at)
        for labels in found.keys() | answer.keys():
            found.setdefault(labels, []).append((at, answer.get(labels, STALE)))
    return [Series(node.record, {name: value for name, value in labels if name != "__name__"}, samples) for labels, samples in found.items()]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_results_equal_those_of_promtool(bundle: Bundle, tmp_path: Path, program: Callable[[str], str]) -> None:
    """Cases with the same rules share a file, because promtool evaluates the rules in all tests of a file."""
    promtool = program("promtool")
    said = subprocess.run([promtool, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    assert found, said
    version = int(found[1]), int(found[2])
    seed = int(os.environ.get("BALANCE_EVALUATIONS_SEED", random.randrange(10**9)))
    chance, known = random.Random(seed), expressions(bundle)
    files: dict[tuple[int, str], list[Case]] = {}
    for number in range(CASES):
        case = Case(number, known[number % len(known)], chance, version)
        lines = (f"  - {{record: {quoted(record)}, expr: {quoted(text(expr, SCOPE))}}}" for record, expr in case.rules.items())
        files.setdefault((case.step, "\n".join(lines)), []).append(case)
    wrong, results = [], 0
    for (step, recorded), chosen in files.items():
        (tmp_path / "rules.yaml").write_text(f"groups:\n- name: all\n  rules:\n{recorded}\n" if recorded else "groups: []\n")
        head = [f"evaluation_interval: {step}s", "rule_files: [rules.yaml]", "tests:"]
        (tmp_path / "test.yaml").write_text("\n".join([*head, *(line for case in chosen for line in case.lines())]) + "\n")
        run = subprocess.run([promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
        told = answers(run.stdout + run.stderr)
        asked = [(case, moment, ours) for case in chosen for moment, ours in zip(case.moments, case.ours, strict=True)]
        assert len(told) == len(asked), f"seed {seed}: {run.stdout + run.stderr[-500:]}"
        wrong += [
            f"seed {seed}, case {case.number} at {moment} s: {text(case.expr, SCOPE)}\n ours {ours}\n theirs {theirs}"
            for (case, moment, ours), theirs in zip(asked, told, strict=True)
            if not same(ours, theirs)
        ]
        results += sum(1 for _, _, ours in asked if ours)
    assert not wrong, f"{len(wrong)} of {3 * CASES}:\n" + "\n".join(wrong[:3])
    assert results > 3 * CASES / 4, "too few results"


def test_one_pass_equals_evaluating_each_instant(bundle: Bundle) -> None:
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    versions: tuple[Version, ...] = ((2, 42), (2, 53), (3, 0))
    for number, expr in enumerate(expressions(bundle)):
        case = Case(number, expr, chance, (3, 0))
        instants = [Instant(at, version) for version in versions for at in (*case.moments, 0, STEPS * case.step)]
        found = evaluate_all(expr, case.database, instants)
        for place, (at, version) in enumerate(instants):
            case.database.version = version
            alone = evaluate(expr, case.database, at)
            assert same({labels: value for labels, column in found.items() if (value := column[place]) is not None}, alone), f"seed {seed}: {expr}"
        assert all(any(value is not None for value in column) for column in found.values())


def answers(output: str) -> list[dict[Labels, float]]:
    """The results that promtool printed, in order."""
    got = re.findall(r"^        got: (.*)$", output, flags=re.MULTILINE)
    return [dict(sample(*pair) for pair in re.findall(r"(\{.*?\}) (\S+?)(?:, (?=\{)|$)", line)) for line in got]


def sample(labels: str, value: str) -> tuple[Labels, float]:
    return frozenset(re.findall(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"', labels)), float(value.replace("Inf", "inf"))


def same(ours: dict[Labels, float], theirs: dict[Labels, float]) -> bool:
    def near(a: float, b: float) -> bool:
        return (math.isnan(a) and math.isnan(b)) or a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)

    return ours.keys() == theirs.keys() and all(near(value, theirs[labels]) for labels, value in ours.items())
