"""Checks of alerts and recording rules: what pint looks for, decided from what is declared. What constructors refuse is not asked again."""

from __future__ import annotations

import re
from collections.abc import Iterator

from balance.catalog.model import number
from balance.errors import Problem
from balance.lint.check import Inputs, check
from balance.lint.expressions import nodes, rules
from balance.monitoring.alerts import Alert
from balance.promql.ast import Comparison, Quantile, Quotient, RangeCall, Recorded
from balance.promql.selectors import Expr
from balance.promql.text import duration

_STALE = 300
"""Seconds after which Prometheus takes a series that got no new sample for gone."""


@check("ratio-unguarded", "warning")
def ratio_unguarded(inputs: Inputs) -> Iterator[Problem]:
    """An alert on a ratio of rates without a guard against too little traffic.

    At night one failing request of two is 50 %. Let the condition ask for traffic as well:
    `also=(compare(sum_by(increase(...)), ">", MIN_REQUESTS),)`.
    """
    for alert in inputs.bundle.alerts:
        for branch in alert.condition.branches:
            of_rates = any(nodes(node, RangeCall) for node in nodes(branch.expr, Quotient))
            guarded = any(
                nodes(other.left, RangeCall) and not nodes(other.left, Quotient, Quantile) for other in branch.also if isinstance(other, Comparison)
            )
            if of_rates and not guarded:
                yield Problem(
                    f"alert {alert.name}", "compares a ratio of rates, however little traffic there is", "ask for traffic in also=(...)", alert.name
                )


@check("alert-without-job", "warning")
def alert_without_job(inputs: Inputs) -> Iterator[Problem]:
    """An alert whose expression does not keep the job.

    Messages are grouped and silenced by job, and labels to keep (`keep_labels`) are kept only where the job is: of two services, or two clusters,
    nobody could tell which one is meant (pint: promql/aggregate). Aggregate by "job" too.
    """
    for alert in inputs.bundle.alerts:
        if "job" not in alert.condition.labels:
            yield Problem(f"alert {alert.name}", "does not keep the job", 'aggregate by "job" too', alert.name)


@check("absent-without-for", "error")
def absent_without_for(inputs: Inputs) -> Iterator[Problem]:
    """An alert on missing series that waits less than two scrapes.

    After a restart of Prometheus or a failed scrape nothing is there for a moment, and somebody is woken for it (pint: alerts/absent).
    """
    least = 2 * inputs.settings.prometheus.scrape_interval
    for alert in inputs.bundle.alerts:
        if alert.condition.missing and alert.wait < least:
            yield Problem(f"alert {alert.name}", f"tells what is missing after {duration(alert.wait)}", f"wait={least} or more", alert.name)


@check("wait-ineffective", "warning")
def wait_ineffective(inputs: Inputs) -> Iterator[Problem]:
    """A `for` or `keep_firing_for` that is shorter than the time between two evaluations.

    It is rounded up to one: the alert does not do what it says (pint: alerts/for). Wait for a whole evaluation, or not at all.
    """
    interval = inputs.settings.prometheus.evaluation_interval
    for alert in inputs.bundle.alerts:
        for key, chosen in (("for", alert.wait), ("keep_firing_for", alert.keep_firing)):
            if 0 < chosen < interval:
                yield Problem(
                    f"alert {alert.name}",
                    f"has {key}: {duration(chosen)}, rules are evaluated every {duration(interval)}",
                    "0s, or longer",
                    alert.name,
                )


@check("interval-long", "error")
def interval_long(inputs: Inputs) -> Iterator[Problem]:
    """Scrapes or evaluations so far apart that one that fails leaves a gap.

    Five minutes after its last sample a series counts as gone: alerts end and `for` begins anew (pint: group/interval). Half of it is the most.
    """
    chosen = inputs.settings.prometheus
    for key, seconds in (("scrape_interval", chosen.scrape_interval), ("evaluation_interval", chosen.evaluation_interval)):
        if 2 * seconds > _STALE:
            yield Problem(f"prometheus.{key}", "between two samples is too long", f"at most {duration(_STALE // 2)}", duration(seconds))


@check("record-late", "warning")
def record_late(inputs: Inputs) -> Iterator[Problem]:
    """A recording rule that reads one behind it in its group.

    Rules of a group are evaluated in order: it reads what was recorded a round ago. Put the one that is read first.
    """
    behind: set[tuple[str, str]] = {(rule.group, rule.record) for rule in inputs.bundle.recording_rules}
    for rule in inputs.bundle.recording_rules:
        for node in nodes(rule.expr, Recorded):
            if (rule.group, node.record) in behind:
                yield Problem(f"recording rule {rule.record}", f"reads {node.record}, which is recorded after it", "put that one first", rule.record)
        behind.discard((rule.group, rule.record))


@check("rule-duplicate", "warning")
def rule_duplicate(inputs: Inputs) -> Iterator[Problem]:
    """Two rules that say the same.

    One condition of one severity under two names wakes people twice; one expression that is recorded twice costs twice (pint: rule/duplicate).
    """
    seen: dict[tuple[str, Expr], str] = {}
    severities = {alert.name: alert.severity for alert in inputs.bundle.alerts}
    for kind, name, expr in rules(inputs):
        first = seen.setdefault((severities[name] if kind == "alert" else kind, expr), name)
        if first != name:
            yield Problem(f"{kind} {name}", f"says the same as {first}", "take one of them out", name)


@check("severity-inverted", "error")
def severity_inverted(inputs: Inputs) -> Iterator[Problem]:
    """A critical alert that fires before the warning on the same expression.

    Of two thresholds on one expression, which settings may change separately, the critical one must be the farther.
    """
    warnings: dict[tuple[Expr, str], list[Alert]] = {}
    value = inputs.settings.scope.value
    for alert in inputs.bundle.alerts:
        if alert.severity == "warning":
            warnings.setdefault((alert.condition.expr, alert.condition.operator), []).append(alert)
    for alert in inputs.bundle.alerts:
        condition = alert.condition
        sign = {">": 1, ">=": 1, "<": -1, "<=": -1}.get(condition.operator, 0)
        for warning in warnings.get((condition.expr, condition.operator), ()) if alert.severity == "critical" else ():
            if sign * value(condition.threshold) < sign * value(warning.condition.threshold):
                problem = f"is critical at {number(value(condition.threshold))}, {warning.name} warns at {number(value(warning.condition.threshold))}"
                yield Problem(f"alert {alert.name}", problem, "the critical threshold is to be the farther one", alert.name)


@check("template-value", "warning")
def template_value(inputs: Inputs) -> Iterator[Problem]:
    """Words of an alert with a bare number.

    `{{ $value }}` writes 0.05166666666666667; `{value}` writes it in the unit of the threshold: 5.167% (pint: alerts/template).
    """
    for alert in inputs.bundle.alerts:
        for words in (alert.summary, alert.description):
            if re.search(r"\{\{[^}|]*(\$value|\.Value)\b[^}|]*\}\}", words):
                yield Problem(f"alert {alert.name}", "writes $value as a bare number", "write {value}, or give it a function: humanize", alert.name)


@check("template-placeholder", "error")
def template_placeholder(inputs: Inputs) -> Iterator[Problem]:
    """Words of an alert with a place that nothing fills.

    `{value}`, `{threshold}` and `{window}` are filled in; another name between braces reaches people as it stands.
    """
    for alert in inputs.bundle.alerts:
        for words in (alert.summary, alert.description):
            for name in re.findall(r"(?<!\{)\{\s*(\w*)\s*\}(?!\})", words):
                if name not in ("value", "threshold", "window"):
                    yield Problem(
                        f"alert {alert.name}", f"has a place {{{name}}} in its words", "choices: {threshold}, {value}, {window}", alert.name
                    )
