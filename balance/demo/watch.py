"""The pending and firing alerts, from the embedded evaluator or from Prometheus and Alertmanager, and their history."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from balance.catalog import standard
from balance.monitoring.alerts import Alert
from balance.monitoring.bundle import Bundle
from balance.monitoring.lifecycle import AlertState, Labels, next_states
from balance.monitoring.routing import Inhibition
from balance.monitoring.settings import Settings
from balance.promql.evaluate import Database, evaluate, without_name
from balance.render.model import annotation_texts
from balance.render.templates import expand

RESOLVED_SECONDS = 30
"""How long a resolved alert is shown."""
Stage = Literal["pending", "firing", "resolved"]
EventKind = Literal["pending", "firing", "resolved", "notified"]
Key = tuple[str, Labels]


@dataclass(frozen=True)
class ActiveAlert:
    """An alert that is pending or firing now; `held` if another firing alert inhibits it."""

    firing: bool
    summary: str
    held: bool = False


@dataclass(frozen=True)
class Alarm:
    """An alert and its stage, with the time of its last change in seconds since 1970."""

    name: str
    labels: Mapping[str, str]
    stage: Stage
    since: float
    summary: str
    held: bool = False


@dataclass(frozen=True)
class Event:
    """An alert entered a stage, or a receiver was notified (see `description`). `at` is in seconds since 1970."""

    at: float
    name: str
    labels: Mapping[str, str]
    what: EventKind
    description: str = ""


class Embedded:
    """Evaluates the rules over samples in memory."""

    name = "the embedded evaluator"

    def __init__(self, bundle: Bundle, settings: Settings, database: Database) -> None:
        self._bundle, self._database = bundle, database
        self._summaries = {alert: texts["summary"] for alert, texts in annotation_texts(bundle, settings).items()}
        self._standing: dict[str, dict[Labels, AlertState]] = {}

    def active(self, at: float) -> dict[Key, ActiveAlert]:
        """Evaluate every rule at a time in seconds since 1970; returns the pending and firing alerts."""
        for alert in self._bundle.alerts:
            found = {without_name(labels): value for labels, value in evaluate(alert.condition.whole, self._database, at).items()}
            before = self._standing.get(alert.name, {})
            self._standing[alert.name] = next_states(before, found, at, wait=alert.wait, keep_firing=alert.keep_firing)
        firing = [(name, dict(labels)) for name, all_of_it in self._standing.items() for labels, one in all_of_it.items() if one.firing]
        inhibitions = self._bundle.routing.inhibitions if self._bundle.routing else ()
        return {
            (name, labels): ActiveAlert(
                one.firing, expand(self._summaries[name], dict(labels), one.value), one.firing and held_back(name, dict(labels), firing, inhibitions)
            )
            for name, all_of_it in self._standing.items()
            for labels, one in all_of_it.items()
        }


def held_back(name: str, labels: Mapping[str, str], firing: Iterable[tuple[str, Mapping[str, str]]], inhibitions: Iterable[Inhibition]) -> bool:
    """Whether one of the firing alerts inhibits this one, by the rules of Alertmanager."""
    return any(
        name in one.targets
        and source == one.source
        and not any(labels.get(label) for label in one.targets_without)
        and not any(others.get(label) for label in one.source_without)
        and all(labels.get(label, "") == others.get(label, "") for label in one.equal)
        for one in inhibitions
        for source, others in firing
    )


class External:
    """A Prometheus that evaluates the rules, and its Alertmanager, by their URLs."""

    name = "Prometheus and Alertmanager"

    def __init__(self, session: aiohttp.ClientSession, prometheus: str, alertmanager: str) -> None:
        self._session, self._prometheus, self._alertmanager = session, prometheus, alertmanager

    async def active(self) -> dict[Key, ActiveAlert]:
        """Query both; returns the pending and firing alerts. Raises `aiohttp.ClientError` while they do not answer."""
        groups = (await self._json(f"{self._prometheus}/api/v1/rules?type=alert"))["data"]["groups"]
        alerts_there = await self._json(f"{self._alertmanager}/api/v2/alerts")
        held = {self._key(alert["labels"]) for alert in alerts_there if alert["status"]["inhibitedBy"]}
        alerts = [alert for group in groups for rule in group["rules"] for alert in rule["alerts"]]
        return {
            (key := self._key(alert["labels"])): ActiveAlert(alert["state"] == "firing", alert["annotations"].get("summary", ""), key in held)
            for alert in alerts
            if alert["state"] in ("pending", "firing")
        }

    async def scraped(self) -> None:
        """Wait until Prometheus has scraped its target."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                if (await self._json(f"{self._prometheus}/api/v1/query?query={standard.UP.name}"))["data"]["result"]:
                    return
            await asyncio.sleep(0.1)

    @staticmethod
    def _key(labels: Mapping[str, str]) -> Key:
        return labels["alertname"], frozenset((name, value) for name, value in labels.items() if name not in ("alertname", "severity"))

    async def _json(self, url: str) -> Any:
        async with self._session.get(url) as answer:
            answer.raise_for_status()
            return await answer.json()


class Board:
    """The current state of all alerts, and the latest events, newest first."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self.alerts = {alert.name: alert for alert in alerts}
        self.events: deque[Event] = deque(maxlen=60)
        self._alarms: dict[Key, Alarm] = {}

    @property
    def alarms(self) -> list[Alarm]:
        """Firing alerts, then pending ones, then recently resolved ones."""

        def place(one: Alarm) -> tuple[int, str, str, list[tuple[str, str]]]:
            return ("firing", "pending", "resolved").index(one.stage), self.alerts[one.name].severity, one.name, sorted(one.labels.items())

        return sorted(self._alarms.values(), key=place)

    def stage(self, name: str) -> str:
        """The worst stage of the series of an alert, or inactive."""
        return next((one.stage for one in self.alarms if one.name == name), "inactive")

    def notified(self, message: Any, now: float) -> None:
        """Record a message of Alertmanager's webhook."""
        for alert in message["alerts"]:
            labels = alert["labels"]
            self.events.appendleft(Event(now, labels["alertname"], labels, "notified", f"{message['receiver']}: {alert['status']}"))

    def update(self, seen: Mapping[Key, ActiveAlert], now: float) -> None:
        """Update the state from the alerts that are active now."""
        for key, one in seen.items():
            self._enter(key, "firing" if one.firing else "pending", now, one.summary, held=one.held)
        for key, alarm in list(self._alarms.items()):
            if key in seen:
                continue
            if alarm.stage == "firing":
                self._enter(key, "resolved", now, alarm.summary)
            elif alarm.stage == "pending" or now - alarm.since >= RESOLVED_SECONDS:
                del self._alarms[key]

    def _enter(self, key: Key, stage: Stage, now: float, summary: str, *, held: bool = False) -> None:
        name, labels = key
        known = self._alarms.get(key)
        changed = known is None or known.stage != stage
        self._alarms[key] = Alarm(name, dict(labels), stage, now if known is None or changed else known.since, summary, held)
        if changed:
            self.events.appendleft(Event(now, name, dict(labels), stage))
