"""States of alerts against promtool: random results of a rule, with every kind of wait."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from balance.monitoring.lifecycle import AlertState, Labels, next_states

STEP = 60
LENGTH = 60
LABELS: Labels = frozenset({("backend", "a")})


def states(present: list[bool], wait: int, keep_firing: int) -> list[str]:
    """The state at each evaluation."""
    alerts: dict[Labels, AlertState] = {}
    seen = []
    for number, there in enumerate(present):
        alerts = next_states(alerts, {LABELS: 1.0} if there else {}, number * STEP, wait=wait, keep_firing=keep_firing)
        seen.append("".join("firing" if one.firing else "pending" for one in alerts.values()))
    return seen


@pytest.mark.parametrize("seed", range(3))
def test_states_equal_those_of_promtool(seed: int, tmp_path: Path, program: Callable[[str], str]) -> None:
    drawn = random.Random(seed)
    rules, series, expected = [], [], []
    for number, (wait, keep_firing) in enumerate((wait, keep) for wait in (0, 60, 180) for keep in (0, 60, 240)):
        present: list[bool] = []
        while len(present) < LENGTH:
            present += [not (present and present[-1])] * drawn.randint(1, 6)
        series.append({"series": f'x{number}{{backend="a"}}', "values": " ".join("1" if there else "0" for there in present)})
        rules.append({"alert": f"A{number}", "expr": f"x{number} == 1", "for": f"{wait}s", "keep_firing_for": f"{keep_firing}s"})
        for at, state in enumerate(states(present, wait, keep_firing)):
            labels = f'ALERTS{{alertname="A{number}",alertstate="{state}",backend="a"}}'
            samples = [{"labels": labels, "value": 1}] if state else []
            expected.append({"expr": f'ALERTS{{alertname="A{number}"}}', "eval_time": f"{at}m", "exp_samples": samples})
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    test = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    (tmp_path / "test.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    found = subprocess.run([program("promtool"), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_last_value_and_start_are_kept() -> None:
    first = next_states({}, {LABELS: 1.0}, 100, wait=10, keep_firing=30)
    second = next_states(first, {LABELS: 2.0}, 110, wait=10, keep_firing=30)
    third = next_states(second, {}, 120, wait=10, keep_firing=30)
    assert first == {LABELS: AlertState(False, 100, 1.0)}
    assert second == {LABELS: AlertState(True, 100, 2.0)}
    assert third == {LABELS: AlertState(True, 100, 2.0, absent_since=120)}
    assert next_states(third, {}, 149, wait=10, keep_firing=30) == third
    assert next_states(third, {}, 150, wait=10, keep_firing=30) == {}
