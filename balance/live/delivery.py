"""What is wrong between Prometheus and people: alerts that reach nobody, dashboards that show nothing. Pure: facts to findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from balance.config.units import length
from balance.errors import Problem, few
from balance.live.compare import differences
from balance.live.facts import OFF, AlertmanagerFacts, ExpectedState, GrafanaFacts, Json, PrometheusFacts, host_and_port, matches, targets_of_job
from balance.promql.text import duration

GRAFANA_ONLY = {"id", "version", "schemaVersion", "iteration"}
"""Grafana numbers what it stores, and raises the schema version to its own."""
DEFAULT_INTERVAL = 15
"""Seconds between scrapes that Grafana assumes where a data source does not say."""


def discovery(facts: PrometheusFacts, alertmanager: str) -> Iterator[Problem]:
    """Whether Prometheus sends its alerts to that Alertmanager."""
    known = sorted({host_and_port(url) for url in facts.alertmanagers})
    if not known:
        cure = "write `alerting: {alertmanagers: [...]}` as `balance-gen prometheus` prints it, and reload Prometheus"
        yield Problem(facts.where, "knows no Alertmanager: its alerts reach nobody", cure, "Prometheus", check="alertmanager-unknown")
    elif alertmanager != OFF and host_and_port(alertmanager) not in known and all(map(_numeric, (host_and_port(alertmanager), *known))):
        problem = f"sends its alerts to {few(known)}, not to {host_and_port(alertmanager)}"
        yield Problem(
            facts.where, problem, "mend `alerting` in its configuration, or look at that Alertmanager", "Prometheus", check="alertmanager-other"
        )


def _numeric(place: str) -> bool:
    """Whether the host is an address: what a name leads to from elsewhere cannot be told from here."""
    try:
        return bool(ip_address(place.rpartition(":")[0]))
    except ValueError:
        return False


def alertmanager(facts: AlertmanagerFacts, expected: ExpectedState) -> Iterator[Problem]:
    """Whether it runs with the generated configuration, its messages are taken, and nothing is silenced."""
    if faults := config_differences(expected, facts.configuration):
        problem = f"runs with another configuration than the generated one: {few(faults)}"
        cure = "`balance-gen apply --alertmanager-files DIR --alertmanager URL`, or copy the generated files again and reload"
        yield Problem(facts.where, problem, cure, "Alertmanager", check="alertmanager-config")
    for kind, sent in sorted(facts.sent.items()):
        if sent.attempts and sent.failed == sent.attempts:
            problem = f"has taken none of {sent.attempts:.0f} requests since Alertmanager started"
            cure = "Alertmanager's log says why: most often a secret's file, or an address; then try `balance-gen test-alert`"
            yield Problem(facts.where, problem, cure, f"receiver {kind}", check="receiver-failing")
    rules = [{"alertname": rule["alert"], "job": expected.job, **rule["labels"]} for rule in expected.rules if "alert" in rule]
    for silence in facts.silences:
        held = [rule["alertname"] for rule in rules if _holds(silence["matchers"], rule)]
        if silence["status"]["state"] == "active" and held:
            problem = f"holds back {few(held)} until {silence['endsAt']}: {silence['comment']!r}, by {silence['createdBy']}"
            yield Problem(
                facts.where,
                problem,
                "expire it in Alertmanager if it is no longer meant",
                f"silence {silence['id']}",
                check="silenced",
                severity="warning",
            )


def config_differences(expected: ExpectedState, configuration: Json) -> list[str]:
    """In what the configuration that an Alertmanager runs with differs from the generated one; in nothing if none is generated."""
    return differences(_based(expected.alertmanager), _based(configuration)) if expected.alertmanager else []


def _based(configuration: Json) -> Json:
    """With templates by their names alone: Alertmanager makes whole paths of them."""
    return {**configuration, "templates": [path.rpartition("/")[2] for path in configuration.get("templates") or []]}


def _holds(matchers: Iterable[Json], labels: Mapping[str, str]) -> bool:
    """Whether a silence can hold back an alert: labels that are not known beforehand may be anything."""
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
    """What is known of the receivers."""
    known = [f"{kind} {sent.attempts - sent.failed:.0f} of {sent.attempts:.0f}" for kind, sent in sorted(facts.sent.items()) if sent.attempts]
    return (
        f"sent since it started: {', '.join(known)}"
        if known
        else "no message tried since it started, so nothing is known of receivers: `test-alert` tries them"
    )


def dashboards(facts: GrafanaFacts, expected: ExpectedState) -> Iterator[Problem]:
    """Whether all dashboards are there as they were made."""
    missing = [uid for uid, found in facts.dashboards.items() if found is None]
    if missing:
        problem = f"not in Grafana ({len(missing)} of {len(facts.dashboards)} dashboards)"
        yield Problem(facts.where, problem, "`balance-gen apply --grafana URL`, or import or provision them", few(missing), check="dashboard-missing")
    for uid, found in facts.dashboards.items():
        faults = dashboard_differences(expected.dashboards[uid], found["dashboard"]) if found else []
        if faults:
            cure = "`balance-gen apply --grafana URL`, or import it again; keep changes by making them in the source"
            yield Problem(facts.where, f"is not as generated: {few(faults)}", cure, f"dashboard {uid}", check="dashboard-differs")


def dashboard_differences(made: Json, there: Json) -> list[str]:
    """In what a dashboard of Grafana's differs from the generated one."""
    return differences({key: value for key, value in made.items() if key not in GRAFANA_ONLY}, there)


def datasource(facts: GrafanaFacts, expected: ExpectedState, prometheus: PrometheusFacts | None) -> Iterator[Problem]:
    """Whether the data source that dashboards choose by themselves asks the right Prometheus, and knows how often that scrapes."""
    source = facts.source
    if source is None:
        cure = "add one: `balance-gen provisioning --out DIR` writes it for Grafana to read"
        yield Problem(facts.where, "has no data source of type prometheus", cure, "Grafana", check="datasource-missing")
        return
    subject = f"data source {source['name']!r}"
    own = [target for target in targets_of_job(prometheus.active, expected.job) if matches(expected.matchers, target["labels"])] if prometheus else []
    if isinstance(facts.seen, Exception):
        problem = f"does not reach Prometheus at {source.get('url', '')}: {facts.seen.problems[0].what}"
        yield Problem(facts.where, problem, "give it an address that leads to Prometheus from where Grafana runs", subject, check="datasource-broken")
    elif not facts.seen and (own or prometheus is None):
        problem = f"asks a Prometheus at {source.get('url', '')} that knows no target of job {expected.job!r}"
        yield Problem(
            facts.where,
            problem,
            "give it the address of the Prometheus that scrapes the job, or make that one the default",
            subject,
            check="datasource-other",
        )
    told = _interval(source.get("jsonData") or {})
    slowest = max((length(target.get("scrapeInterval", "")) or 0 for target in own), default=0)
    if slowest > told:
        problem = f"takes Prometheus to scrape every {duration(int(told))}, and it does every {duration(int(slowest))}: rates have gaps"
        cure = f"set its scrape interval (jsonData.timeInterval) to {duration(int(slowest))}"
        yield Problem(facts.where, problem, cure, subject, check="datasource-interval", severity="warning")


def _interval(chosen: Mapping[str, Any]) -> float:
    return length(str(chosen.get("timeInterval") or "")) or DEFAULT_INTERVAL
