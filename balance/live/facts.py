"""What `doctor` asks the systems of a chain, and what it expects of them. The systems are asked in parallel."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from balance.catalog.model import Metric
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, LiveError
from balance.live import scrape
from balance.live.alertmanager import Alertmanager, NotificationCount
from balance.live.grafana import DeniedError, Grafana
from balance.live.prometheus import Prometheus
from balance.live.scrape import Scrape
from balance.promql.selectors import Matcher
from balance.promql.text import quoted

Json = dict[str, Any]
TIMEOUT = 3.0
"""Seconds per request."""
TOTAL_TIMEOUT = 4.0
"""Seconds for all requests to a system."""
OFF = "off"
"""Instead of an address: the system does not exist or is not to be checked."""


MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, yaml.YAMLError)
"""Errors that a response in an undocumented shape causes."""


def malformed(error: Exception, where: str) -> LiveError:
    """The error for such a response."""
    return LiveError(f"sent an unexpected response ({type(error).__name__})", where=where, cure="check address and version")


@dataclass(frozen=True)
class WantedSeries:
    """Series that rules or panels select: their name, its metric, and matchers on the labels of the metric."""

    metric: Metric
    name: str
    matchers: tuple[Matcher, ...] = ()

    def __str__(self) -> str:
        inside = ",".join(f"{matcher.label}{matcher.operator}{quoted(matcher.value)}" for matcher in self.matchers)
        return f"{self.name}{{{inside}}}" if inside else self.name

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True if a series of that name with these labels is selected."""
        return matches(self.matchers, labels)


@dataclass(frozen=True)
class ExpectedState:
    """What running systems should show of the generated files.

    `shortest` and `longest` are range windows of rules in seconds; `selector` is PromQL, `matchers` the same without the job; `dashboards` are
    keyed by uid; `alertmanager` is its configuration, empty if the bundle declares no routing.
    """

    catalog: Catalog
    job: str
    matchers: tuple[Matcher, ...]
    selector: str
    shortest: int
    longest: int
    rules: tuple[Json, ...]
    wanted: tuple[WantedSeries, ...]
    dashboards: Mapping[str, Json]
    alertmanager: Json


@dataclass(frozen=True)
class Addresses:
    """The addresses of the systems, each a URL or `OFF`."""

    metrics: tuple[str, ...]
    prometheus: str
    alertmanager: str
    grafana: str


class PrometheusFacts(NamedTuple):
    """The answers of a Prometheus.

    `series` are the labels of the wanted series, reduced to those that matchers use; `unlabelled` the names of series that lack a label, by label;
    `relabelled` the number of samples per scrape that relabelling drops, by instance; `exposed` the names of families.
    """

    where: str
    active: list[Json]
    dropped: list[Json]
    groups: list[Json]
    configuration: Json
    runtime: Json
    alertmanagers: list[str]
    exposed: frozenset[str]
    series: list[dict[str, str]]
    unlabelled: dict[str, set[str]]
    relabelled: dict[str, float]


class AlertmanagerFacts(NamedTuple):
    """The answers of an Alertmanager."""

    where: str
    configuration: Json
    silences: list[Json]
    sent: dict[str, NotificationCount]


class GrafanaFacts(NamedTuple):
    """The answers of a Grafana. `source` is the data source that dashboards use by default, `seen` the targets that are visible through it."""

    where: str
    dashboards: dict[str, Json | None]
    source: Json | None
    seen: list[Json] | LiveError


class Facts(NamedTuple):
    """For each system its answers, or the error, or None if it was not asked."""

    scrapes: list[Scrape | BalanceError]
    prometheus: PrometheusFacts | BalanceError | None
    alertmanager: AlertmanagerFacts | BalanceError | None
    grafana: GrafanaFacts | BalanceError | None


def gather(expected: ExpectedState, addresses: Addresses, token: str) -> Facts:
    """Ask all systems. Raises `LiveError` only for an invalid address."""
    asked: dict[str, Callable[[], Any]] = {address: partial(scrape.read, address, TIMEOUT) for address in addresses.metrics}
    if addresses.prometheus != OFF:
        server = Prometheus(addresses.prometheus, timeout=TIMEOUT)
        asked["prometheus"] = lambda: _prometheus(server, expected)
    if addresses.alertmanager != OFF:
        manager = Alertmanager(addresses.alertmanager, timeout=TIMEOUT)
        asked["alertmanager"] = lambda: AlertmanagerFacts(manager.url, manager.configuration(), manager.silences(), manager.sent())
    if addresses.grafana != OFF:
        grafana = Grafana(addresses.grafana, token, timeout=TIMEOUT)
        asked["grafana"] = lambda: _grafana(grafana, expected)
    answers = _ask_all(asked)
    return Facts([answers[address] for address in addresses.metrics], *(answers.get(name) for name in ("prometheus", "alertmanager", "grafana")))


def _ask_all(asked: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """The answer or error of each, asked in threads. A system that takes longer than `TOTAL_TIMEOUT` gets an error."""
    answers: dict[str, Any] = {}

    def ask(name: str) -> None:
        try:
            answers[name] = asked[name]()
        except BalanceError as error:
            answers[name] = error
        except MALFORMED as error:
            answers[name] = malformed(error, name)

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in asked]
    for thread in threads:
        thread.start()
    end = time.monotonic() + TOTAL_TIMEOUT
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = LiveError(f"did not answer everything within {TOTAL_TIMEOUT:g} s", cure="it is overloaded or far away: run doctor closer to it")
    return {name: answers.get(name, late) for name in asked}


def _prometheus(server: Prometheus, expected: ExpectedState) -> PrometheusFacts:
    targets = server.get("targets")
    active: list[Json] = targets["activeTargets"]
    names = sorted({wanted.name for wanted in expected.wanted})
    matched = sorted({"__name__", *(matcher.label for wanted in expected.wanted for matcher in wanted.matchers)})
    chosen = f'__name__=~"{"|".join(names)}",{expected.selector}'
    rows = server.now(f"group by ({','.join(matched)}) ({{{chosen}}})") if names else []
    owners: dict[str, set[str]] = {}
    for wanted in expected.wanted:
        for label in wanted.metric.label_names:
            owners.setdefault(label, set()).add(wanted.name)
    lacking = " or ".join(_lacking(label, of, expected.selector) for label, of in sorted(owners.items()))
    unlabelled: dict[str, set[str]] = {}
    for row in server.now(lacking) if lacking else []:
        unlabelled.setdefault(row["metric"]["lacks"], set()).add(row["metric"]["__name__"])
    inside = f"{{{expected.selector}}}"
    relabelled = server.now(f"scrape_samples_scraped{inside} - scrape_samples_post_metric_relabeling{inside}")
    metadata = (
        server.get("targets/metadata", {"match_target": f"{{job={quoted(expected.job)}}}"}) if any(targets_of_job(active, expected.job)) else []
    )
    return PrometheusFacts(
        where=server.where,
        active=active,
        dropped=targets["droppedTargets"],
        groups=server.get("rules")["groups"],
        configuration=yaml.safe_load(server.get("status/config")["yaml"]) or {},
        runtime=server.get("status/runtimeinfo"),
        alertmanagers=[one["url"] for one in server.get("alertmanagers")["activeAlertmanagers"]],
        exposed=frozenset(one["metric"] for one in metadata),
        series=[row["metric"] for row in rows],
        unlabelled=unlabelled,
        relabelled={row["metric"].get("instance", ""): float(row["value"][1]) for row in relabelled},
    )


def _lacking(label: str, names: Iterable[str], selector: str) -> str:
    """A query for the series among these that lack a label. Its name is in the result, because one query asks for all labels."""
    return f'label_replace(group by (__name__) ({{__name__=~"{"|".join(sorted(names))}",{selector},{label}=""}}), "lacks", "{label}", "", "")'


def _grafana(grafana: Grafana, expected: ExpectedState) -> GrafanaFacts:
    health = grafana.health()
    if health["database"] != "ok":
        raise LiveError(f"has no working database: {health['database']}", where=grafana.where, cure="see its log")
    dashboards = {uid: grafana.dashboard(uid) for uid in expected.dashboards}
    sources = [source for source in grafana.datasources() if source["type"] == "prometheus"]
    chosen = min(sources, key=lambda source: (not source["isDefault"], source["name"]), default=None)
    seen: list[Json] | LiveError = []
    if chosen is not None:
        try:
            seen = grafana.through(chosen["uid"], f"up{{{expected.selector}}}")
        except DeniedError:
            raise
        except LiveError as error:
            seen = error
    return GrafanaFacts(grafana.where, dashboards, chosen, seen)


def targets_of_job(targets: list[Json], job: str) -> list[Json]:
    """The targets of that job."""
    return [target for target in targets if target["labels"].get("job") == job]


def matches(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """True if the labels satisfy all matchers, by the rules of Prometheus."""
    for matcher in matchers:
        value = labels.get(matcher.label, "")
        same = re.fullmatch(matcher.value, value) is not None if "~" in matcher.operator else matcher.value == value
        if same == matcher.operator.startswith("!"):
            return False
    return True


def host_and_port(address: str) -> str:
    """Host and port of an address, with one name for this machine: ``127.0.0.1:9090``."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    name = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{'127.0.0.1' if name in ('localhost', '::1') else name}:{port}"
