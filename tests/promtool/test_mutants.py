"""The generated tests catch wrong rules; `python -m tools.mutants` tries all alerts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.mutants.__main__ import main
from tools.mutants.mutate import mutants


def test_mutated_rules_fail_their_tests(program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(Path(program("promtool")).parent), prepend=":")
    assert main(["BalanceDown", "BalanceHighErrorRate", "BalanceHighConnections"]) == 0
    caught, _, total = capsys.readouterr().out.removeprefix("wrong rules caught: ").split()
    assert caught == total
    assert int(total) > 60


def test_mutations_cover_every_part_of_rules() -> None:
    rule = {
        "alert": "A", "expr": 'sum by (job) (rate(x{job="a"}[5m])) > 0.5 and y == 1 or absent(z)', "for": "5m", "keep_firing_for": "1m",
        "labels": {"severity": "critical"}, "annotations": {"summary": "The value is {{ $value | humanizePercentage }}"},
    }  # fmt: skip
    changed = dict(mutants(rule))
    assert len({str(other) for other in changed.values()}) == len(changed)
    assert str(rule) not in map(str, changed.values())
    assert {
        " > 0.5 -> >=",
        " > 0.5 -> 0.525",
        " == 1 -> 0.0",
        "without and y == 1",
        "without or absent(z)",
        "severity",
        "no summary",
    } <= changed.keys()
