"""A check: a function from the inputs to problems, with an id, a severity and an explanation (its docstring).

    @check("alert-in-capitals", "warning")
    def in_capitals(inputs: Inputs) -> Iterator[Problem]:
        \"\"\"An alert whose summary is in capitals.

        It is harder to read. Write it in lower case.
        \"\"\"
        for alert in inputs.bundle.alerts:
            if alert.summary.isupper():
                yield Problem(f"alert {alert.name}", "has its summary in capitals", "write it in lower case", alert.name)

A function in one of the modules that `balance.lint.run` lists is part of `balance-gen lint` and `balance-gen explain`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from balance.errors import FindingSeverity, Problem
from balance.monitoring.bundle import Bundle
from balance.monitoring.runbooks import Runbook
from balance.monitoring.settings import Settings


@dataclass(frozen=True)
class Inputs:
    """What checks look at. `boards` are the dashboards as JSON for Grafana, by name; `today` is for the checks whose result depends on the date."""

    bundle: Bundle
    settings: Settings
    runbooks: tuple[Runbook, ...] = ()
    today: date | None = None
    boards: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One check. `daily`: its result depends on the date, so it runs only on request (`lint --reviews`)."""

    id: str
    severity: FindingSeverity
    explanation: str
    run: Callable[[Inputs], Iterator[Problem]]
    daily: bool = False

    @property
    def title(self) -> str:
        """The first line of the explanation."""
        return self.explanation.partition("\n")[0]


def check(id: str, severity: FindingSeverity, *, daily: bool = False) -> Callable[[Callable[[Inputs], Iterator[Problem]]], Check]:  # noqa: A002
    """Make a function a check. Its docstring is the explanation: what is found, why it matters, how to fix it."""

    def decorate(function: Callable[[Inputs], Iterator[Problem]]) -> Check:
        return Check(id, severity, inspect.getdoc(function) or "", function, daily)

    return decorate
