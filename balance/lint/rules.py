"""Checks of alerts and recording rules that pint makes too, here from the declarations. What constructors reject is not checked again."""

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

_STALENESS_SECONDS = 300
"""Prometheus drops a series this long after its last sample (--query.lookback-delta)."""


@check("ratio-unguarded", "warning")
def ratio_unguarded(inputs: Inputs) -> Iterator[Problem]:
    """An alert on a ratio of rates without a minimum of traffic.

    At night one failed request out of two is 50 %. Require some traffic in the condition:
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
                    f"alert {alert.name}", "compares a ratio of rates without a minimum of traffic", "require traffic in also=(...)", alert.name
                )


@check("alert-without-job", "warning")
def alert_without_job(inputs: Inputs) -> Iterator[Problem]:
    """An alert whose expression drops the label job.

    Notifications are grouped and silenced by job, and extra labels (`keep_labels`) are kept only along with it: of two services, or two clusters,
    nobody could tell which one fires (pint: promql/aggregate). Aggregate by "job" too.
    """
    for alert in inputs.bundle.alerts:
        if "job" not in alert.condition.labels:
            yield Problem(f"alert {alert.name}", "drops the label job", 'aggregate by "job" too', alert.name)


@check("absent-without-for", "error")
def absent_without_for(inputs: Inputs) -> Iterator[Problem]:
    """An alert on missing series with a `for` shorter than two scrapes.

    After a restart of Prometheus or a failed scrape, series are missing for a moment, and somebody would be paged for it (pint: alerts/absent).
    """
    least = 2 * inputs.settings.prometheus.scrape_interval
    for alert in inputs.bundle.alerts:
        if alert.condition.missing and alert.wait < least:
            yield Problem(f"alert {alert.name}", f"fires on missing series after {duration(alert.wait)}", f"wait={least} or more", alert.name)


@check("wait-ineffective", "warning")
def wait_ineffective(inputs: Inputs) -> Iterator[Problem]:
    """A `for` or `keep_firing_for` shorter than the evaluation interval.

    Prometheus rounds it up to one evaluation, so the alert does not do what it says (pint: alerts/for). Use 0s, or at least one interval.
    """
    interval = inputs.settings.prometheus.evaluation_interval
    for alert in inputs.bundle.alerts:
        for key, chosen in (("for", alert.wait), ("keep_firing_for", alert.keep_firing)):
            if 0 < chosen < interval:
                yield Problem(
                    f"alert {alert.name}",
                    f"has {key}: {duration(chosen)}, but rules are evaluated every {duration(interval)}",
                    "use 0s, or at least one interval",
                    alert.name,
                )


@check("interval-long", "error")
def interval_long(inputs: Inputs) -> Iterator[Problem]:
    """A scrape or evaluation interval so long that one failure leaves a gap.

    Prometheus drops a series five minutes after its last sample: alerts resolve and `for` starts again (pint: group/interval). Use at most half of
    that.
    """
    chosen = inputs.settings.prometheus
    for key, seconds in (("scrape_interval", chosen.scrape_interval), ("evaluation_interval", chosen.evaluation_interval)):
        if 2 * seconds > _STALENESS_SECONDS:
            yield Problem(f"prometheus.{key}", "between two samples is too long", f"at most {duration(_STALENESS_SECONDS // 2)}", duration(seconds))


@check("record-late", "warning")
def record_late(inputs: Inputs) -> Iterator[Problem]:
    """A recording rule that reads one that comes later in its group.

    Rules of a group are evaluated in order, so it reads the result of the previous evaluation. Put the rule that is read first.
    """
    behind: set[tuple[str, str]] = {(rule.group, rule.record) for rule in inputs.bundle.recording_rules}
    for rule in inputs.bundle.recording_rules:
        for node in nodes(rule.expr, Recorded):
            if (rule.group, node.record) in behind:
                yield Problem(f"recording rule {rule.record}", f"reads {node.record}, which is recorded after it", "put that one first", rule.record)
        behind.discard((rule.group, rule.record))


@check("rule-duplicate", "warning")
def rule_duplicate(inputs: Inputs) -> Iterator[Problem]:
    """Two rules with the same expression.

    One condition with one severity under two names pages people twice; an expression that is recorded twice costs twice (pint: rule/duplicate).
    Remove one of them.
    """
    seen: dict[tuple[str, Expr], str] = {}
    severities = {alert.name: alert.severity for alert in inputs.bundle.alerts}
    for kind, name, expr in rules(inputs):
        first = seen.setdefault((severities[name] if kind == "alert" else kind, expr), name)
        if first != name:
            yield Problem(f"{kind} {name}", f"has the same expression as {first}", "remove one of them", name)


@check("severity-inverted", "error")
def severity_inverted(inputs: Inputs) -> Iterator[Problem]:
    """A critical alert that fires before the warning on the same expression.

    The two thresholds can be set independently; the critical one must be the more extreme.
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
                problem = (
                    f"is critical at {number(value(condition.threshold))}, but {warning.name} warns at {number(value(warning.condition.threshold))}"
                )
                yield Problem(f"alert {alert.name}", problem, "make the critical threshold the more extreme one", alert.name)


@check("template-value", "warning")
def template_value(inputs: Inputs) -> Iterator[Problem]:
    """An alert text with an unformatted number.

    `{{ $value }}` prints 0.05166666666666667; `{value}` prints it in the unit of the threshold: 5.167% (pint: alerts/template).
    """
    for alert in inputs.bundle.alerts:
        for words in (alert.summary, alert.description):
            if re.search(r"\{\{[^}|]*(\$value|\.Value)\b[^}|]*\}\}", words):
                yield Problem(f"alert {alert.name}", "prints $value unformatted", "write {value}, or format it: {{ $value | humanize }}", alert.name)


@check("template-placeholder", "error")
def template_placeholder(inputs: Inputs) -> Iterator[Problem]:
    """An alert text with an unknown placeholder.

    `{value}`, `{threshold}` and `{window}` are filled in; any other name in braces is sent as it is.
    """
    for alert in inputs.bundle.alerts:
        for words in (alert.summary, alert.description):
            for name in re.findall(r"(?<!\{)\{\s*(\w*)\s*\}(?!\})", words):
                if name not in ("value", "threshold", "window"):
                    yield Problem(
                        f"alert {alert.name}", f"has the unknown placeholder {{{name}}}", "choices: {threshold}, {value}, {window}", alert.name
                    )
