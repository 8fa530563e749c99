"""Which alerts are pending and firing, by the embedded evaluator or by a Prometheus and an Alertmanager, and what became of those that were."""

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

LATELY = 30
"""Seconds for which an alert that is over is shown as resolved."""
Stage = Literal["pending", "firing", "resolved"]
Happened = Literal["pending", "firing", "resolved", "told"]
Key = tuple[str, Labels]


@dataclass(frozen=True)
class Seen:
    """An alert that is pending or firing now; `held` if another one that fires keeps it from being told."""

    firing: bool
    summary: str
    held: bool = False


@dataclass(frozen=True)
class Alarm:
    """An alert and how it stands: since when, in seconds since 1970."""

    name: str
    labels: Mapping[str, str]
    stage: Stage
    since: float
    summary: str
    held: bool = False


@dataclass(frozen=True)
class Event:
    """What happened to an alert, and when: it came into a stage, or a receiver was told (`words` say which, and what)."""

    at: float
    name: str
    labels: Mapping[str, str]
    what: Happened
    words: str = ""


class Embedded:
    """The rules, evaluated over samples in memory."""

    words = "the embedded evaluator"

    def __init__(self, bundle: Bundle, settings: Settings, database: Database) -> None:
        self._bundle, self._database = bundle, database
        self._summaries = {alert: texts["summary"] for alert, texts in annotation_texts(bundle, settings).items()}
        self._standing: dict[str, dict[Labels, AlertState]] = {}

    def look(self, at: float) -> dict[Key, Seen]:
        """Evaluate every rule."""
        for alert in self._bundle.alerts:
            found = {without_name(labels): value for labels, value in evaluate(alert.condition.whole, self._database, at).items()}
            before = self._standing.get(alert.name, {})
            self._standing[alert.name] = next_states(before, found, at, wait=alert.wait, keep_firing=alert.keep_firing)
        firing = [(name, dict(labels)) for name, all_of_it in self._standing.items() for labels, one in all_of_it.items() if one.firing]
        inhibitions = self._bundle.routing.inhibitions if self._bundle.routing else ()
        return {
            (name, labels): Seen(
                one.firing, expand(self._summaries[name], dict(labels), one.value), one.firing and held_back(name, dict(labels), firing, inhibitions)
            )
            for name, all_of_it in self._standing.items()
            for labels, one in all_of_it.items()
        }


def held_back(name: str, labels: Mapping[str, str], firing: Iterable[tuple[str, Mapping[str, str]]], inhibitions: Iterable[Inhibition]) -> bool:
    """Whether one of the alerts that fire keeps this one from being told, as Alertmanager sees it."""
    return any(
        name in one.targets
        and source == one.source
        and not any(labels.get(label) for label in one.targets_without)
        and not any(others.get(label) for label in one.source_without)
        and all(labels.get(label, "") == others.get(label, "") for label in one.equal)
        for one in inhibitions
        for source, others in firing
    )


class Asked:
    """A Prometheus that evaluates the rules, and an Alertmanager that it tells, by their URLs."""

    words = "Prometheus and Alertmanager"

    def __init__(self, session: aiohttp.ClientSession, prometheus: str, alertmanager: str) -> None:
        self._session, self._prometheus, self._alertmanager = session, prometheus, alertmanager

    async def look(self) -> dict[Key, Seen]:
        """Ask both. Raises `aiohttp.ClientError` while they do not answer."""
        groups = (await self._json(f"{self._prometheus}/api/v1/rules?type=alert"))["data"]["groups"]
        told = await self._json(f"{self._alertmanager}/api/v2/alerts")
        held = {self._key(alert["labels"]) for alert in told if alert["status"]["inhibitedBy"]}
        alerts = [alert for group in groups for rule in group["rules"] for alert in rule["alerts"]]
        return {
            (key := self._key(alert["labels"])): Seen(alert["state"] == "firing", alert["annotations"].get("summary", ""), key in held)
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
    """All alerts as they stand, and the last changes, newest first."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self.alerts = {alert.name: alert for alert in alerts}
        self.events: deque[Event] = deque(maxlen=60)
        self._alarms: dict[Key, Alarm] = {}

    @property
    def alarms(self) -> list[Alarm]:
        """Those that fire first, then the pending ones, then those resolved lately."""

        def place(one: Alarm) -> tuple[int, str, str, list[tuple[str, str]]]:
            return ("firing", "pending", "resolved").index(one.stage), self.alerts[one.name].severity, one.name, sorted(one.labels.items())

        return sorted(self._alarms.values(), key=place)

    def stage(self, name: str) -> str:
        """How an alert stands that may be of several series: the worst of them, or inactive."""
        return next((one.stage for one in self.alarms if one.name == name), "inactive")

    def told(self, message: Any, now: float) -> None:
        """Take a message of Alertmanager's webhook."""
        for alert in message["alerts"]:
            labels = alert["labels"]
            self.events.appendleft(Event(now, labels["alertname"], labels, "told", f"{message['receiver']}: {alert['status']}"))

    def update(self, seen: Mapping[Key, Seen], now: float) -> None:
        """Take what there is now."""
        for key, one in seen.items():
            self._enter(key, "firing" if one.firing else "pending", now, one.summary, held=one.held)
        for key, alarm in list(self._alarms.items()):
            if key in seen:
                continue
            if alarm.stage == "firing":
                self._enter(key, "resolved", now, alarm.summary)
            elif alarm.stage == "pending" or now - alarm.since >= LATELY:
                del self._alarms[key]

    def _enter(self, key: Key, stage: Stage, now: float, summary: str, *, held: bool = False) -> None:
        name, labels = key
        known = self._alarms.get(key)
        changed = known is None or known.stage != stage
        self._alarms[key] = Alarm(name, dict(labels), stage, now if known is None or changed else known.since, summary, held)
        if changed:
            self.events.appendleft(Event(now, name, dict(labels), stage))
