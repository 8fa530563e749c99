"""A running Alertmanager: give it alerts, ask what became of them, count what it sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from balance.errors import LiveError
from balance.promql.text import quoted
from balance.record import Record

PATIENCE_SECONDS = 10.0
"""How long one answer may take."""
_COUNTER = re.compile(r'^alertmanager_notification_requests(_failed)?_total\{(?:.*,)?integration="(\w+)".*\} (\S+)$', re.MULTILINE)
Json = dict[str, Any]


class Sent(Record):
    """How often an integration was tried, and how often in vain."""

    attempts: float = 0
    failed: float = 0


class Alertmanager:
    """By its URL, with the path under which it serves if there is one. Every method raises `LiveError`."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:
            whole = False
        if not whole or "@" in parts.netloc or parts.query or parts.fragment:
            raise LiveError("is no URL of an Alertmanager", where="--alertmanager", cure="write http://host:9093, without a password")
        self.url = url.rstrip("/")

    def __repr__(self) -> str:
        return f"<Alertmanager {self.url}>"

    def post(self, alert: Json) -> None:
        """Hand over one alert, as Prometheus does."""
        self._ask("/api/v2/alerts", json.dumps([alert]).encode())

    def find(self, labels: Mapping[str, str]) -> Json | None:
        """The alert with exactly these labels and what Alertmanager says about it, if it has it and it has not ended."""
        filters = "&".join(f"filter={quote(f'{name}={quoted(value)}')}" for name, value in sorted(labels.items()))
        answer = self._json(f"/api/v2/alerts?{filters}")
        found = [alert for alert in answer if isinstance(alert, dict) and alert.get("labels") == dict(labels)] if isinstance(answer, list) else []
        return found[0] if found else None

    def sent(self) -> dict[str, Sent]:
        """What each integration has done since Alertmanager started."""
        counted: dict[str, list[float]] = {}
        for failed, integration, value in _COUNTER.findall(self._ask("/metrics")):
            counted.setdefault(integration, [0, 0])[bool(failed)] += float(value)
        return {integration: Sent(*figures) for integration, figures in counted.items()}

    def _json(self, path: str) -> Any:
        try:
            return json.loads(self._ask(path))
        except ValueError:
            raise self._other() from None

    def _other(self) -> LiveError:
        return LiveError("does not answer as an Alertmanager does", where=self.url, cure="check address and path: Alertmanager listens on 9093")

    def _ask(self, path: str, body: bytes | None = None) -> str:
        request = Request(self.url + path, body, {"Content-Type": "application/json"} if body else {})  # noqa: S310 (http or https: see above)
        try:
            with urlopen(request, timeout=PATIENCE_SECONDS) as response:  # noqa: S310
                text: str = response.read().decode()
                return text
        except HTTPError as error:
            if error.code == 404:
                raise self._other() from None
            words = " ".join(error.read(200).decode("utf-8", "replace").split())
            raise LiveError(f"answers {error.code} {words}", where=self.url, cure="see its log") from None
        except TimeoutError:
            raise LiveError(f"gives no answer within {PATIENCE_SECONDS:g} s", where=self.url, cure="check the address and whether it runs") from None
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise LiveError(f"cannot be reached: {words}", where=self.url, cure="check the address and whether it runs") from None
