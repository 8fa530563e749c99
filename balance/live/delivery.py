"""What is wrong between Prometheus and people: alerts that reach nobody, dashboards that show nothing. Pure: from facts to findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from balance.config.units import parse_duration
from balance.errors import Problem, few
from balance.live.compare import differences
from balance.live.facts import OFF, AlertmanagerFacts, ExpectedState, GrafanaFacts, Json, PrometheusFacts, host_and_port, matches, targets_of_job
from balance.promql.text import duration

GRAFANA_ONLY = {"id", "version", "schemaVersion", "iteration"}
"""Keys that Grafana sets itself when it stores a dashboard."""
DEFAULT_INTERVAL = 15
"""Scrape interval in seconds that Grafana assumes for a data source without one."""


def discovery(facts: PrometheusFacts, alertmanager: str) -> Iterator[Problem]:
    """Check that Prometheus sends its alerts to that Alertmanager."""
    known = sorted({host_and_port(url) for url in facts.alertmanagers})
    if not known:
        cure = "write `alerting: {alertmanagers: [...]}` as `balance-gen prometheus` prints it, and reload Prometheus"
        yield Problem(facts.where, "has no Alertmanager configured: its alerts reach nobody", cure, "Prometheus", check="alertmanager-unknown")
    elif alertmanager != OFF and host_and_port(alertmanager) not in known and all(map(_numeric, (host_and_port(alertmanager), *known))):
        problem = f"sends its alerts to {few(known)}, not to {host_and_port(alertmanager)}"
        yield Problem(
            facts.where, problem, "fix `alerting` in its configuration, or check that Alertmanager instead", "Prometheus", check="alertmanager-other"
        )


def _numeric(place: str) -> bool:
    """True if the host is an IP address: a name may resolve differently elsewhere."""
    try:
        return bool(ip_address(place.rpartition(":")[0]))
    except ValueError:
        return False


def alertmanager(facts: AlertmanagerFacts, expected: ExpectedState) -> Iterator[Problem]:
    """Check that it runs with the generated configuration, its notifications are accepted, and no alert is silenced."""
    if faults := config_differences(expected, facts.configuration):
        problem = f"does not run with the generated configuration: {few(faults)}"
        cure = "`balance-gen apply --alertmanager-files DIR --alertmanager URL`, or copy the generated files again and reload"
        yield Problem(facts.where, problem, cure, "Alertmanager", check="alertmanager-config")
    for kind, sent in sorted(facts.sent.items()):
        if sent.attempts and sent.failed == sent.attempts:
            problem = f"has accepted none of {sent.attempts:.0f} requests since Alertmanager started"
            cure = "see Alertmanager's log: most often a secret file or an address is wrong; then try `balance-gen test-alert`"
            yield Problem(facts.where, problem, cure, f"receiver {kind}", check="receiver-failing")
    rules = [{"alertname": rule["alert"], "job": expected.job, **rule["labels"]} for rule in expected.rules if "alert" in rule]
    for silence in facts.silences:
        held = [rule["alertname"] for rule in rules if _can_match(silence["matchers"], rule)]
        if silence["status"]["state"] == "active" and held:
            problem = f"suppresses {few(held)} until {silence['endsAt']}: {silence['comment']!r}, by {silence['createdBy']}"
            yield Problem(
                facts.where,
                problem,
                "expire it in Alertmanager if it is no longer needed",
                f"silence {silence['id']}",
                check="silenced",
                severity="warning",
            )


def config_differences(expected: ExpectedState, configuration: Json) -> list[str]:
    """The differences between the generated configuration of Alertmanager and the running one; none if none is generated."""
    return differences(_with_template_names(expected.alertmanager), _with_template_names(configuration)) if expected.alertmanager else []


def _with_template_names(configuration: Json) -> Json:
    """The configuration with the file names of templates only: Alertmanager makes absolute paths of them."""
    return {**configuration, "templates": [path.rpartition("/")[2] for path in configuration.get("templates") or []]}


def _can_match(matchers: Iterable[Json], labels: Mapping[str, str]) -> bool:
    """True if a silence can match an alert; labels that are not known beforehand may be anything."""
    named = False
    for matcher in matchers:
        value = labels.get(matcher["name"])
        if value is None:
            continue
        same = re.fullmatch(matcher["value"], value) is not None if matcher["isRegex"] else matcher["value"] == value
        if same != matcher.get("isEqual", True):
            return False
        named = True
    return named


def receiver_summary(facts: AlertmanagerFacts) -> str:
    """How many notifications were accepted, for each integration."""
    known = [f"{kind} {sent.attempts - sent.failed:.0f} of {sent.attempts:.0f}" for kind, sent in sorted(facts.sent.items()) if sent.attempts]
    return (
        f"sent since it started: {', '.join(known)}"
        if known
        else "no notification since it started, so receivers are untested: try `balance-gen test-alert`"
    )


def dashboards(facts: GrafanaFacts, expected: ExpectedState) -> Iterator[Problem]:
    """Check that all dashboards are in Grafana, as generated."""
    missing = [uid for uid, found in facts.dashboards.items() if found is None]
    if missing:
        problem = f"not in Grafana ({len(missing)} of {len(facts.dashboards)} dashboards)"
        yield Problem(facts.where, problem, "`balance-gen apply --grafana URL`, or import or provision them", few(missing), check="dashboard-missing")
    for uid, found in facts.dashboards.items():
        faults = dashboard_differences(expected.dashboards[uid], found["dashboard"]) if found else []
        if faults:
            cure = "`balance-gen apply --grafana URL`, or import it again; to keep changes, make them in the source"
            yield Problem(facts.where, f"is not as generated: {few(faults)}", cure, f"dashboard {uid}", check="dashboard-differs")


def dashboard_differences(made: Json, there: Json) -> list[str]:
    """The differences between a generated dashboard and the one in Grafana."""
    return differences({key: value for key, value in made.items() if key not in GRAFANA_ONLY}, there)


def datasource(facts: GrafanaFacts, expected: ExpectedState, prometheus: PrometheusFacts | None) -> Iterator[Problem]:
    """Check that the default data source uses the right Prometheus, with its scrape interval."""
    source = facts.source
    if source is None:
        cure = "add one: `balance-gen provisioning --out DIR` writes it for Grafana to read"
        yield Problem(facts.where, "has no data source of type prometheus", cure, "Grafana", check="datasource-missing")
        return
    subject = f"data source {source['name']!r}"
    own = [target for target in targets_of_job(prometheus.active, expected.job) if matches(expected.matchers, target["labels"])] if prometheus else []
    if isinstance(facts.seen, Exception):
        problem = f"does not reach Prometheus at {source.get('url', '')}: {facts.seen.problems[0].what}"
        yield Problem(facts.where, problem, "set an address that reaches Prometheus from where Grafana runs", subject, check="datasource-broken")
    elif not facts.seen and (own or prometheus is None):
        problem = f"uses a Prometheus at {source.get('url', '')} that has no target of job {expected.job!r}"
        yield Problem(
            facts.where,
            problem,
            "set the address of the Prometheus that scrapes the job, or make that data source the default",
            subject,
            check="datasource-other",
        )
    told = _interval(source.get("jsonData") or {})
    slowest = max((parse_duration(target.get("scrapeInterval", "")) or 0 for target in own), default=0)
    if slowest > told:
        problem = f"assumes a scrape interval of {duration(int(told))}, but it is {duration(int(slowest))}: rates have gaps"
        cure = f"set its scrape interval (jsonData.timeInterval) to {duration(int(slowest))}"
        yield Problem(facts.where, problem, cure, subject, check="datasource-interval", severity="warning")


def _interval(chosen: Mapping[str, Any]) -> float:
    return parse_duration(str(chosen.get("timeInterval") or "")) or DEFAULT_INTERVAL
