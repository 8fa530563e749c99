"""The dashboard `slo`: how much of each error budget is left, and its burn rate."""

from __future__ import annotations

from dataclasses import replace

from balance.api import (
    HOUR,
    PACES,
    Dashboard,
    Link,
    Panel,
    Query,
    Row,
    Settings,
    Slo,
    condition_panel,
    duration,
    max_by,
    min_by,
    percent,
    plain,
    stat_panel,
    text_panel,
)
from balance.lb.catalog import thresholds as t
from dashboards_py import style
from rules_src.objectives import slos


def objective(slo: Slo) -> tuple[Panel, ...]:
    """The panels of one objective: error budget, burn rate, errors, and what its alerts compare."""
    name = slo.name.capitalize()
    bad = f"Share of the requests that {slo.fault}"
    return (
        stat_panel(f"{name}: Budget Left", min_by(slo.remaining), thresholds=(t.BUDGET_SPENT,), alarm="below", least=None, width=6,
                   description=f"Share of the error budget of {slo.days} days that is left. Below 0 the objective is missed."),
        stat_panel(f"{name}: Burning Now", max_by(slo.burn_rate), width=6,
                   description="How many times as fast as it lasts the error budget burns, over the last hour: 100 % uses it up just in time."),
        stat_panel(f"{name}: Errors Now", max_by(slo.errors(HOUR)), thresholds=(slo.threshold(PACES[0].pairs[0]),), width=6,
                   description=f"{bad}, over the last hour. Red where {slo.alert}BurnFast may fire."),
        text_panel(
            f"{name}: Objective",
            f"**{percent(slo.objective)}** of the requests over {slo.days} days are to be good; {percent(slo.budget)} may be bad: those that "
            f"{slo.fault}.\n\nA page at {plain(min(slo.factor(pair) for pair in PACES[0].pairs))} times the speed at which the budget lasts, a "
            f"ticket at {plain(min(slo.factor(pair) for pair in PACES[1].pairs))}.",
            description="What was promised, and when somebody is told.", width=6,
        ),
        Panel(f"{name}: Error Budget", f"Share of the error budget of {slo.days} days that is left; below 0 it is overspent.",
              (Query(slo.remaining, "{{job}}"),), thresholds=(t.BUDGET_SPENT,), alarm="below", least=None),
        Panel(f"{name}: Burn Rate", "How many times as fast as it lasts the error budget burns, over the last hour.",
              (Query(slo.burn_rate, "{{job}}"),)),
        *(
            condition_panel(replace(branch, otherwise=None), f"{name}: Errors of {pace.name} Burning, {duration(pair.long)}",
                            description=f"{bad}, over {duration(pair.long)}. Above the line, and over {duration(pair.short)} as well, "
                            f"{alert.name} ({alert.severity}) fires.",
                            links=(Link("Runbook", runbook=alert.name),))
            for pace, alert in zip(PACES, slo.alerts, strict=True)
            for pair, branch in zip(pace.pairs, alert.condition.branches, strict=True)
        ),
    )  # fmt: skip


def slo_dashboard(settings: Settings) -> Dashboard:
    """The dashboard `slo`."""
    return style.board(
        "slo",
        "Balance / Objectives",
        "Objectives, error budgets and how fast they burn.",
        rows=tuple(Row(slo.name.capitalize(), objective(slo)) for slo in slos(settings)),
    )
