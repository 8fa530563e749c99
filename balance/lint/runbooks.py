"""Checks of runbooks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from balance.errors import BalanceError, Problem, suggestion
from balance.lint.check import Inputs, check
from balance.monitoring.runbooks import SECTIONS, Runbook

QUARTER = timedelta(days=92)


def _review_date(runbook: Runbook) -> date | None:
    try:
        return date.fromisoformat(runbook.reviewed)
    except ValueError:
        return None


@check("alert-without-runbook", "error")
def alert_without_runbook(inputs: Inputs) -> Iterator[Problem]:
    """An alert without a runbook.

    Whoever is paged by it starts from nothing. Write `runbooks/ALERT.md` in the package of the source: owner, date of review, and the sections
    Meaning, Impact, Diagnosis, Remedy.
    """
    written = {runbook.alert for runbook in inputs.runbooks}
    for alert in inputs.bundle.alerts:
        if alert.name not in written:
            yield Problem(f"alert {alert.name}", "has no runbook", f"write {alert.name}.md: {', '.join(SECTIONS)}", alert.name)


@check("runbook-without-alert", "error")
def runbook_without_alert(inputs: Inputs) -> Iterator[Problem]:
    """A runbook for an alert that does not exist.

    The alert was renamed or removed and the runbook was left behind: no link leads to it. Rename the file after the alert, or delete it.
    """
    alerts = inputs.bundle.mentionable
    for runbook in inputs.runbooks:
        if runbook.alert not in alerts:
            yield Problem(runbook.where, "is an unknown alert", suggestion(runbook.alert, alerts), runbook.alert)


@check("runbook-without-owner", "error")
def runbook_without_owner(inputs: Inputs) -> Iterator[Problem]:
    """A runbook without an owner.

    What nobody owns is not kept up to date. Write `owner: TEAM` in its front matter.
    """
    for runbook in inputs.runbooks:
        if not runbook.owner:
            yield Problem(runbook.where, "has no owner", "start the file with a line `owner: TEAM` between two lines of ---", runbook.alert)


@check("runbook-without-review", "error")
def runbook_without_review(inputs: Inputs) -> Iterator[Problem]:
    """A runbook without a valid date of its last review.

    Write `reviewed: YYYY-MM-DD` in its front matter; `balance-gen lint --reviews` lists those that have not been reviewed for a quarter.
    """
    for runbook in inputs.runbooks:
        if _review_date(runbook) is None:
            problem = f"has an invalid date of review {runbook.reviewed!r}" if runbook.reviewed else "has no date of review"
            yield Problem(runbook.where, problem, "write reviewed: YYYY-MM-DD", runbook.alert)


@check("runbook-section", "error")
def runbook_section(inputs: Inputs) -> Iterator[Problem]:
    """A runbook in which a section is missing or empty.

    Meaning, Impact, Diagnosis and Remedy are what people look for at night, in this order.
    """
    for runbook in inputs.runbooks:
        for title in SECTIONS:
            if not runbook.sections.get(title):
                yield Problem(runbook.where, f"has no text under {title}", f"write a section: ## {title}", runbook.alert)


@check("runbook-names", "error")
def runbook_names(inputs: Inputs) -> Iterator[Problem]:
    """A runbook with an unknown metric, label, label value or alert.

    Its query would show nothing at the very moment when it is needed. Correct the name.
    """
    alerts = [alert.name for alert in inputs.bundle.alerts]
    recorded = [rule.record for rule in inputs.bundle.recording_rules]
    for runbook in inputs.runbooks:
        try:
            runbook.checked(inputs.bundle.catalog, alerts, recorded, mentioned=inputs.bundle.mentionable)
        except BalanceError as error:
            for problem in error.problems:
                yield Problem(runbook.where, f"has an unknown name: {problem.what}", problem.cure, runbook.alert)


@check("review-due", "warning", daily=True)
def review_due(inputs: Inputs) -> Iterator[Problem]:
    """A runbook that has not been reviewed for a quarter.

    Read it, try its queries and commands, correct what has changed, and write the new date: `reviewed: YYYY-MM-DD`. Only `balance-gen lint
    --reviews` runs this check, because no other result depends on the date.
    """
    for runbook in inputs.runbooks:
        day = _review_date(runbook)
        if inputs.today and day and inputs.today - day > QUARTER:
            yield Problem(
                runbook.where, f"was last reviewed on {day}, by {runbook.owner or 'nobody'}", "review it and write the new date", runbook.alert
            )
