"""Runs all checks over a bundle. Waived findings are left out; a waiver without a finding is itself a finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from balance.errors import BalanceError, Problem, suggestion
from balance.lint import catalog, coverage, dashboards, expressions, renames, rules, runbooks, words
from balance.lint.check import Check, Inputs, check


@check("waiver-unused", "warning")
def waiver_unused(_: Inputs) -> Iterator[Problem]:
    """A waiver without a matching finding.

    What it excused has been fixed, or its check or subject is misspelt: remove it from `waivers` of the bundle, or correct it.
    """
    return iter(())  # `run` knows what was left over


MODULES = (catalog, expressions, rules, words, coverage, runbooks, renames, dashboards)
"""The modules that hold checks."""
CHECKS: dict[str, Check] = {
    found.id: found for found in (waiver_unused, *(item for module in MODULES for item in vars(module).values() if isinstance(item, Check)))
}
"""Every check by its id."""


def run(inputs: Inputs, *, daily: bool = False) -> tuple[list[Problem], int]:
    """The findings of all checks, and the number of waived ones. `daily`: run the checks that depend on the date, and no others."""
    raised = [finding for check in CHECKS.values() if check.daily == daily for finding in _findings(check, check.run(inputs))]
    waived = {(waiver.check, waiver.subject) for waiver in inputs.bundle.waivers}
    findings = [finding for finding in raised if (finding.check, finding.subject) not in waived]
    hidden = len(raised) - len(findings)
    if not daily:
        needed = {(finding.check, finding.subject) for finding in raised}
        unneeded = (
            Problem(f"waiver {waiver.check}", "is waived but has no such finding", "remove the waiver", waiver.subject)
            for waiver in inputs.bundle.waivers
            if (waiver.check, waiver.subject) not in needed and not (waiver.check in CHECKS and CHECKS[waiver.check].daily)
        )
        findings += _findings(waiver_unused, unneeded)
    return findings, hidden


def find_check(id: str) -> Check:  # noqa: A002
    """The check with that id. Raises `BalanceError` with the nearest one."""
    if id not in CHECKS:
        raise BalanceError(f"unknown check {id!r}", cure=suggestion(id, CHECKS))
    return CHECKS[id]


def _findings(check: Check, problems: Iterable[Problem]) -> Iterator[Problem]:
    return (replace(problem, check=check.id, severity=check.severity) for problem in problems)
