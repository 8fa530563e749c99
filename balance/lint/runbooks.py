"""Checks of runbooks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from balance.errors import BalanceError, Problem, suggestion
from balance.lint.check import Inputs, check
from balance.monitoring.runbooks import SECTIONS, Runbook

QUARTER = timedelta(days=92)


def _day(runbook: Runbook) -> date | None:
    try:
        return date.fromisoformat(runbook.reviewed)
    except ValueError:
        return None


@check("alert-without-runbook", "error")
def alert_without_runbook(inputs: Inputs) -> Iterator[Problem]:
    """An alert for which nobody wrote what to do.

    Whoever is woken by it begins from nothing. Write `runbooks/ALERT.md` in the package of the source: owner, date of review, and the sections
    Meaning, Impact, Diagnosis, Remedy.
    """
    written = {runbook.alert for runbook in inputs.runbooks}
    for alert in inputs.bundle.alerts:
        if alert.name not in written:
            yield Problem(f"alert {alert.name}", "has no runbook", f"write {alert.name}.md: {', '.join(SECTIONS)}", alert.name)


@check("runbook-without-alert", "error")
def runbook_without_alert(inputs: Inputs) -> Iterator[Problem]:
    """A runbook whose alert does not exist.

    The alert was renamed or removed, and the prose was left behind: nobody will ever be led to it. Rename the file after the alert, or remove it.
    """
    alerts = inputs.bundle.mentionable
    for runbook in inputs.runbooks:
        if runbook.alert not in alerts:
            yield Problem(runbook.where, "is no alert", suggestion(runbook.alert, alerts), runbook.alert)


@check("runbook-without-owner", "error")
def runbook_without_owner(inputs: Inputs) -> Iterator[Problem]:
    """A runbook for which nobody answers.

    What nobody owns is not kept up to date. Say `owner: TEAM` in its front matter.
    """
    for runbook in inputs.runbooks:
        if not runbook.owner:
            yield Problem(runbook.where, "has no owner", "begin the file with a line `owner:` between two lines of ---", runbook.alert)


@check("runbook-without-review", "error")
def runbook_without_review(inputs: Inputs) -> Iterator[Problem]:
    """A runbook without the day of its last review.

    Say `reviewed: YYYY-MM-DD` in its front matter; `balance-gen lint --reviews` lists those for which a quarter has passed.
    """
    for runbook in inputs.runbooks:
        if _day(runbook) is None:
            problem = f"was reviewed on {runbook.reviewed!r}, which is no day" if runbook.reviewed else "says no day of review"
            yield Problem(runbook.where, problem, "write reviewed: YYYY-MM-DD", runbook.alert)


@check("runbook-section", "error")
def runbook_section(inputs: Inputs) -> Iterator[Problem]:
    """A runbook in which a section is missing or empty.

    Meaning, Impact, Diagnosis and Remedy are what a person at night looks for, in this order.
    """
    for runbook in inputs.runbooks:
        for title in SECTIONS:
            if not runbook.sections.get(title):
                yield Problem(runbook.where, f"says nothing under {title}", f"write a section: ## {title}", runbook.alert)


@check("runbook-names", "error")
def runbook_names(inputs: Inputs) -> Iterator[Problem]:
    """A runbook with a query or a name that means nothing.

    A series, label or label value in it that the catalog does not have, or an alert that does not exist: the query would show nothing, at the very
    moment when it is needed.
    """
    alerts = [alert.name for alert in inputs.bundle.alerts]
    recorded = [rule.record for rule in inputs.bundle.recording_rules]
    for runbook in inputs.runbooks:
        try:
            runbook.checked(inputs.bundle.catalog, alerts, recorded, mentioned=inputs.bundle.mentionable)
        except BalanceError as error:
            for problem in error.problems:
                yield Problem(runbook.where, f"has a name that means nothing: {problem.what}", problem.cure, runbook.alert)


@check("review-due", "warning", daily=True)
def review_due(inputs: Inputs) -> Iterator[Problem]:
    """A runbook that nobody has reviewed for a quarter.

    Read it, try its queries and commands, mend what has changed, and write the day: `reviewed: YYYY-MM-DD`. Only `balance-gen lint --reviews` looks
    for this: no other result depends on the day.
    """
    for runbook in inputs.runbooks:
        day = _day(runbook)
        if inputs.today and day and inputs.today - day > QUARTER:
            yield Problem(runbook.where, f"was reviewed on {day}, by {runbook.owner or 'nobody'}", "review it and write the day", runbook.alert)
