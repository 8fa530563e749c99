"""Ask the systems of a chain for the facts that `doctor` needs, in parallel and within bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import yaml

from balance.errors import BalanceError, LiveError
from balance.live import scrape
from balance.live.alertmanager import Alertmanager
from balance.live.facts import (
    MALFORMED,
    OFF,
    Addresses,
    AlertmanagerFacts,
    ExpectedState,
    Facts,
    GrafanaFacts,
    Json,
    PrometheusFacts,
    malformed,
    targets_of_job,
)
from balance.live.grafana import DeniedError, Grafana
from balance.live.prometheus import Prometheus
from balance.promql.text import quoted

TIMEOUT = 3.0
"""Seconds per request."""
TOTAL_TIMEOUT = 4.0
"""Seconds for all requests to a system."""


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
