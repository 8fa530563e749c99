"""Faults under load: how many requests each may cost, and that the balancer's metrics agree with what clients and backends counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tools.chaos.faults import DRAINED, FAULTS, FLAPPING, NO_BREAKERS, OUTAGE, RELOADED, WORKER_FAULTS, WORKER_KILLED, WORKERS, InjectedFault
from tools.chaos.load import CLIENTS
from tools.chaos.run import FaultRun, Report, run

BUDGET_PERCENT, BUDGET_PER_SECOND = 20, 20
"""Defaults of `retry`."""


def check(report: Report) -> None:
    assert [phase for phase in report.phases if phase.failed > phase.most] == []
    assert [phase for phase in report.phases if phase.fault is DRAINED and phase.stray] == []
    assert [entry for entry in report.entries if not entry.agrees] == []


def run_of(report: Report, fault: InjectedFault) -> FaultRun:
    return next(phase for phase in report.phases if phase.fault is fault)


@pytest.mark.process
def test_backend_faults_cost_at_most_their_window(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, FAULTS))
    check(report)
    traceless = {phase.fault for phase in report.phases if not phase.retries and not phase.failed and not phase.falls}
    assert traceless <= {DRAINED, RELOADED}, "the faults were there"
    assert run_of(report, FLAPPING).falls >= 2, "its health failed more than once"


@pytest.mark.process
def test_killed_worker_costs_only_its_requests_in_flight(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, WORKER_FAULTS, workers=WORKERS))
    check(report)
    killed = run_of(report, WORKER_KILLED)
    assert CLIENTS / WORKERS <= killed.most <= CLIENTS
    assert killed.late == 0


@pytest.mark.process
def test_retries_do_not_multiply_an_outage(tmp_path: Path) -> None:
    (outage,) = asyncio.run(run(tmp_path, [OUTAGE], settings=NO_BREAKERS)).phases
    assert outage.failed > outage.asked / 2, "the outage was there"
    assert outage.asked < outage.attempts <= outage.asked * (1 + BUDGET_PERCENT / 100) + BUDGET_PER_SECOND * (outage.seconds + 1)
