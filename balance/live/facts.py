"""What `doctor` expects of the systems of a chain, and what they answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from balance.catalog.model import Metric
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, LiveError
from balance.live.alertmanager import NotificationCount
from balance.live.scrape import Scrape
from balance.promql.selectors import Matcher
from balance.promql.text import quoted

Json = dict[str, Any]
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


@dataclass(frozen=True)
class PrometheusFacts:
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


@dataclass(frozen=True)
class AlertmanagerFacts:
    """The answers of an Alertmanager."""

    where: str
    configuration: Json
    silences: list[Json]
    sent: dict[str, NotificationCount]


@dataclass(frozen=True)
class GrafanaFacts:
    """The answers of a Grafana. `source` is the data source that dashboards use by default, `seen` the targets that are visible through it."""

    where: str
    dashboards: dict[str, Json | None]
    source: Json | None
    seen: list[Json] | LiveError


@dataclass(frozen=True)
class Facts:
    """For each system its answers, or the error, or None if it was not asked."""

    scrapes: list[Scrape | BalanceError]
    prometheus: PrometheusFacts | BalanceError | None
    alertmanager: AlertmanagerFacts | BalanceError | None
    grafana: GrafanaFacts | BalanceError | None


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
