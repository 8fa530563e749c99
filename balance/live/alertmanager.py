"""A client of a running Alertmanager: alerts, configuration, silences, and counts of notifications."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from balance.errors import LiveError
from balance.live.fetch import request
from balance.promql.text import quoted

TIMEOUT = 10.0
"""Seconds per request."""
_COUNTER = re.compile(r'^alertmanager_notification_requests(_failed)?_total\{(?:.*,)?integration="(\w+)".*\} (\S+)$', re.MULTILINE)
Json = dict[str, Any]


@dataclass(frozen=True)
class NotificationCount:
    """Requests of an integration since Alertmanager started: all, and the failed ones."""

    attempts: float = 0
    failed: float = 0


class Alertmanager:
    """An Alertmanager at a URL, including its route prefix if it has one. Every method raises `LiveError`; `timeout` is in seconds."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        try:
            parts = urlsplit(url)
            whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:
            whole = False
        if not whole or "@" in parts.netloc or parts.query or parts.fragment:
            raise LiveError("invalid Alertmanager address", where="--alertmanager", cure="write http://HOST:9093, without a password")
        self.url, self._timeout = url.rstrip("/"), timeout

    def __repr__(self) -> str:
        return f"<Alertmanager {self.url}>"

    def post(self, alert: Json) -> None:
        """Send one alert, as Prometheus does."""
        self._ask("/api/v2/alerts", json.dumps([alert]).encode())

    def find(self, labels: Mapping[str, str]) -> Json | None:
        """The active alert with exactly these labels, as Alertmanager shows it; None if there is none."""
        filters = "&".join(f"filter={quote(f'{name}={quoted(value)}')}" for name, value in sorted(labels.items()))
        answer = self._json(f"/api/v2/alerts?{filters}")
        found = [alert for alert in answer if isinstance(alert, dict) and alert.get("labels") == dict(labels)] if isinstance(answer, list) else []
        return found[0] if found else None

    def configuration(self) -> Json:
        """The running configuration with all defaults; secrets are hidden."""
        import yaml

        try:
            return dict(yaml.safe_load(self._json("/api/v2/status")["config"]["original"]))
        except (KeyError, TypeError, ValueError, yaml.YAMLError):
            raise self._not_an_alertmanager() from None

    def silences(self) -> list[Json]:
        """All silences, expired ones included."""
        answer = self._json("/api/v2/silences")
        return [silence for silence in answer if isinstance(silence, dict)] if isinstance(answer, list) else []

    def reload(self) -> None:
        """Make it reload its configuration."""
        self._ask("/-/reload", b"")

    def sent(self) -> dict[str, NotificationCount]:
        """The requests of each integration since Alertmanager started."""
        counted: dict[str, list[float]] = {}
        for failed, integration, value in _COUNTER.findall(self._ask("/metrics")):
            counted.setdefault(integration, [0, 0])[bool(failed)] += float(value)
        return {integration: NotificationCount(*figures) for integration, figures in counted.items()}

    def _json(self, path: str) -> Any:
        try:
            return json.loads(self._ask(path))
        except ValueError:
            raise self._not_an_alertmanager() from None

    def _not_an_alertmanager(self) -> LiveError:
        return LiveError("does not respond like an Alertmanager", where=self.url, cure="check address and path: Alertmanager listens on 9093")

    def _ask(self, path: str, body: bytes | None = None) -> str:
        reply = request(self.url + path, body=body, headers={"Content-Type": "application/json"} if body else {}, timeout=self._timeout)
        words = reply.body.decode("utf-8", "replace")
        if reply.status == http.client.NOT_FOUND:
            raise self._not_an_alertmanager()
        if reply.status != http.client.OK:
            raise LiveError(f"answered {reply.status} {' '.join(words[:200].split())}", where=self.url, cure="see its log")
        return words
