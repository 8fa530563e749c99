"""Faults under load: what each costs at most, and that the balancer's figures are those that its clients and backends counted themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tools.chaos.faults import DRAINED, FAULTS, FLAPPING, OF_WORKERS, OUTAGE, RELOADED, UNGUARDED, WORKER, WORKERS, Fault
from tools.chaos.load import CLIENTS
from tools.chaos.run import Phase, Report, run

BUDGET_PERCENT, BUDGET_PER_SECOND = 20, 20
"""Defaults of `retry`."""


def check(report: Report) -> None:
    assert [phase for phase in report.phases if phase.failed > phase.most] == []
    assert [phase for phase in report.phases if phase.fault is DRAINED and phase.stray] == []
    assert [entry for entry in report.entries if not entry.agrees] == []


def phase_of(report: Report, fault: Fault) -> Phase:
    return next(phase for phase in report.phases if phase.fault is fault)


@pytest.mark.process
def test_backend_faults_stay_within_their_limits(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, FAULTS))
    check(report)
    traceless = {phase.fault for phase in report.phases if not phase.retries and not phase.failed and not phase.falls}
    assert traceless <= {DRAINED, RELOADED}, "the faults were there"
    assert phase_of(report, FLAPPING).falls >= 2, "its health failed more than once"


@pytest.mark.process
def test_killed_worker_costs_only_requests_in_flight(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, OF_WORKERS, workers=WORKERS))
    check(report)
    killed = phase_of(report, WORKER)
    assert CLIENTS / WORKERS <= killed.most <= CLIENTS
    assert killed.late == 0


@pytest.mark.process
def test_retry_budget_limits_an_outage(tmp_path: Path) -> None:
    (outage,) = asyncio.run(run(tmp_path, [OUTAGE], settings=UNGUARDED)).phases
    assert outage.failed > outage.asked / 2, "the outage was there"
    assert outage.asked < outage.attempts <= outage.asked * (1 + BUDGET_PERCENT / 100) + BUDGET_PER_SECOND * (outage.seconds + 1)
