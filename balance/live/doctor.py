"""Why there is no data and why no alert fires: a check of the chain from the service to people, link by link.

The service exposes metrics, Prometheus scrapes them, evaluates rules and sends alerts to Alertmanager, which notifies people; Grafana queries
Prometheus and shows dashboards. All systems are asked first, in parallel; then each link is checked against the answers. If a system did not
answer, the finding is at its first link, and its other links are not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from balance.errors import BalanceError, Problem
from balance.live import delivery, symptoms
from balance.live.facts import (
    MALFORMED,
    OFF,
    Addresses,
    AlertmanagerFacts,
    ExpectedState,
    Facts,
    GrafanaFacts,
    PrometheusFacts,
    host_and_port,
    malformed,
    targets_of_job,
)
from balance.live.gather import gather
from balance.live.grafana import DeniedError
from balance.live.scrape import Scrape
from balance.live.verify import verify

LinkState = Literal["ok", "doubtful", "broken", "not looked at", "off"]
"""Doubtful: a link with warnings only."""


@dataclass(frozen=True)
class ChainLink:
    """A link of the chain: its state, the evidence in words, and the findings."""

    name: str
    state: LinkState
    words: str
    findings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All links, in the order of the chain."""

    links: tuple[ChainLink, ...]

    @property
    def findings(self) -> list[Problem]:
        """The findings of all links, in their order."""
        return [found for link in self.links for found in link.findings]

    def summary(self) -> dict[str, Any]:
        """The state of each link, and the numbers of errors and warnings."""
        count = Counter(found.severity for found in self.findings)
        return {"links": {link.name: link.state for link in self.links}, "errors": count["error"], "warnings": count["warning"]}


def examine(expected: ExpectedState, addresses: Addresses, token: str = "") -> Diagnosis:
    """Ask all systems and check all links. Raises `LiveError` only for an invalid address."""
    return diagnose(gather(expected, addresses, token), expected, addresses)


def diagnose(facts: Facts, expected: ExpectedState, addresses: Addresses) -> Diagnosis:
    """Check all links against the answers of the systems."""
    return Diagnosis(tuple(_links(facts, expected, addresses)))


def _links(facts: Facts, expected: ExpectedState, addresses: Addresses) -> Iterator[ChainLink]:
    scrapes = [found for found in facts.scrapes if isinstance(found, Scrape)]
    yield _metrics(facts, expected, addresses)
    first = _unanswered("targets", *_OWNERS["targets"], facts.prometheus)
    prometheus = facts.prometheus if isinstance(facts.prometheus, PrometheusFacts) else None
    if prometheus is None:
        yield first
        for name in ("rules", "series", "delivery"):
            yield ChainLink(name, "off" if facts.prometheus is None else "not looked at", first.words)
    else:
        own = targets_of_job(prometheus.active, expected.job)
        intervals = ", ".join(sorted({target.get("scrapeInterval", "?") for target in own}))
        yield _judge(
            "targets", symptoms.targets(prometheus, expected, addresses.metrics), lambda: f"{len(own)} of job {expected.job}, every {intervals}"
        )
        yield _judge("rules", symptoms.rules(prometheus, expected), lambda: _rules(prometheus, expected))
        if any(target["health"] == "up" for target in own):
            waiting = symptoms.count_without_series(prometheus, expected.wanted)
            names = len({wanted.name for wanted in expected.wanted})
            words = f"{names - waiting} of {names} names have series" + (f"; {waiting} will once there is something to count" if waiting else "")
            yield _judge("series", symptoms.series(prometheus, expected, scrapes), lambda: words)
        else:
            yield ChainLink("series", "not looked at", "no target is up")
        known = ", ".join(sorted({host_and_port(url) for url in prometheus.alertmanagers}))
        yield _judge("delivery", delivery.discovery(prometheus, addresses.alertmanager), lambda: f"Prometheus sends alerts to {known}")
    if isinstance(manager := facts.alertmanager, AlertmanagerFacts):
        yield _judge("alertmanager", delivery.alertmanager(manager, expected), lambda: delivery.receiver_summary(manager))
    else:
        yield _unanswered("alertmanager", *_OWNERS["alertmanager"], manager)
    if isinstance(grafana := facts.grafana, GrafanaFacts):
        yield _judge("dashboards", delivery.dashboards(grafana, expected), lambda: f"{len(grafana.dashboards)} as generated")
        chosen = f"{grafana.source['name']} at {grafana.source.get('url', '')}" if grafana.source else ""
        yield _judge("datasource", delivery.datasource(grafana, expected, prometheus), lambda: chosen)
    else:
        first = _unanswered("dashboards", "Grafana", "grafana-token" if isinstance(grafana, DeniedError) else "grafana-unreachable", grafana)
        yield first
        yield ChainLink("datasource", "off" if grafana is None else "not looked at", first.words)


def _judge(name: str, findings: Iterable[Problem], words: Callable[[], str]) -> ChainLink:
    try:
        found = tuple(findings)
        if not found:
            return ChainLink(name, "ok", words())
    except MALFORMED as error:
        subject, check = _OWNERS[name]
        return _unanswered(name, subject, check, malformed(error, subject))
    return ChainLink(name, "broken" if any(one.severity == "error" for one in found) else "doubtful", found[0].what, found)


_OWNERS = {
    **dict.fromkeys(("targets", "rules", "series", "delivery"), ("Prometheus", "prometheus-unreachable")),
    "alertmanager": ("Alertmanager", "alertmanager-unreachable"),
    **dict.fromkeys(("dashboards", "datasource"), ("Grafana", "grafana-unreachable")),
    "metrics": ("service", "metrics-unreachable"),
}
"""By link: the system it depends on, and the check that reports that system as unreachable."""


def _unanswered(name: str, subject: str, check: str, error: object) -> ChainLink:
    """The first link of a system that did not answer or is off."""
    if not isinstance(error, BalanceError):
        return ChainLink(name, "off", f"{subject} is {OFF}")
    problem = error.problems[0]
    return ChainLink(name, "broken", f"{subject} {problem.what}", (replace(problem, where=problem.where or subject, subject=subject, check=check),))


def _metrics(facts: Facts, expected: ExpectedState, addresses: Addresses) -> ChainLink:
    if not addresses.metrics:
        return ChainLink("metrics", "off", f"{expected.catalog.name} is {OFF}")
    found: list[Problem] = []
    words = []
    for address, answer in zip(addresses.metrics, facts.scrapes, strict=True):
        if isinstance(answer, Scrape):
            conformance = verify(answer, expected.catalog)
            found += conformance.findings
            words.append(f"{conformance.shown} of {conformance.declared} families, {conformance.series} series")
        else:
            found.append(_unfetched(address, answer, expected))
    return _judge("metrics", found, lambda: "; ".join(words))


def _unfetched(address: str, error: BalanceError, expected: ExpectedState) -> Problem:
    problem = error.problems[0]
    where, subject = problem.where or address, expected.catalog.name
    if "answered 404" in problem.what:
        cure = "set `metrics: {enabled: true}` in its configuration and restart it; check that the address is its admin port"
        return Problem(where, "answers but has no metrics: they are switched off or at another address", cure, subject, check="metrics-off")
    return replace(problem, where=where, subject=subject, check="metrics-unreachable")


def _rules(facts: PrometheusFacts, expected: ExpectedState) -> str:
    own = {rule["alert"] for rule in expected.rules if "alert" in rule}
    states = Counter(rule["state"] for group in facts.groups for rule in group["rules"] if rule["name"] in own)
    return f"{len(expected.rules)} loaded as generated; {states['firing']} alerts firing, {states['pending']} pending"
