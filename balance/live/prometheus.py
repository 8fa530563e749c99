"""A running Prometheus, asked over HTTP: range queries in pieces that neither side chokes on, and what it says of itself."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

from balance.errors import LiveError
from balance.live.fetch import HttpReply, request, without_password

POINTS = 5000
"""So many steps are asked for at a time; Prometheus refuses more than 11,000."""

Series = Mapping[tuple[tuple[str, str], ...], list[tuple[int, float]]]
"""Labels without the name -> times in seconds and values, ascending."""


class Prometheus:
    """The HTTP API of a Prometheus (Thanos and Mimir have the same). Raises `LiveError` for everything that goes wrong with it."""

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise LiveError("is no address of a Prometheus", where=without_password(url), cure="write it like http://127.0.0.1:9090")
        self._url, self._timeout = url.rstrip("/"), timeout
        self.where = without_password(self._url)

    def __repr__(self) -> str:
        return f"<Prometheus {self.where}>"

    def get(self, path: str, parameters: Mapping[str, str | list[str]] = MappingProxyType({})) -> Any:
        """What it says of itself: ``targets``, ``rules``, ``alertmanagers``, ``status/...``; and of its series."""
        return _data(self._exchange(f"/api/v1/{path}" + (f"?{urlencode(parameters, doseq=True)}" if parameters else "")), self.where)

    def now(self, query: str) -> list[dict[str, Any]]:
        """The series that a query gives at this moment, each with ``metric`` and ``value``."""
        found: list[dict[str, Any]] = self._ask("query", query=query)["result"]
        return found

    def reload(self) -> bool:
        """Have it read its configuration and rules anew; whether it takes such orders (`--web.enable-lifecycle`). Raises `LiveError`
        with its words if what it read is wrong: it then goes on with what it had."""
        reply = self._exchange("/-/reload", b"")
        if reply.status == http.client.FORBIDDEN:
            return False
        if reply.status != http.client.OK:
            told = " ".join(reply.body[:500].decode("utf-8", "replace").split())
            raise LiveError(f"refuses to reload: {reply.status} {told}", where=self.where, cure="it goes on with what it had; see its log")
        return True

    def range(self, query: str, start: int, end: int, step: int) -> Iterator[Series]:
        """What the query gives from `start` to `end` (both included, in seconds), every `step`: one piece after the other.

        A piece that has too many samples for the server is asked for again in halves.
        """
        points = POINTS
        while start <= end:
            last = min(start + (points - 1) * step, end)
            try:
                yield _series(self._ask("query_range", query=query, start=str(start), end=str(last), step=str(step)))
            except _TooMuchError:
                if points == 1:
                    raise
                points = max(1, points // 2)
                continue
            start += points * step

    def _ask(self, path: str, **parameters: str) -> Any:
        return _data(self._exchange(f"/api/v1/{path}", urlencode(parameters).encode()), self.where)

    def _exchange(self, path: str, body: bytes | None = None) -> HttpReply:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return request(self._url + path, body=body, headers=headers, timeout=self._timeout)


def _data(reply: HttpReply, where: str) -> Any:
    try:
        answer = json.loads(reply.body)
        told = answer.get("error", "") if reply.status >= http.client.BAD_REQUEST else ""
        if not told:
            return answer["data"]
    except (ValueError, KeyError, TypeError, AttributeError):
        status = f"{reply.status} {reply.reason}" if reply.status != http.client.OK else "with something else than Prometheus does"
        raise LiveError(f"answered {status}", where=where, cure="is this the address of a Prometheus?") from None
    if "too many samples" in told or "exceeded maximum resolution" in told:
        raise _TooMuchError(f"refuses: {told}", where=where, cure="look back less far, or in longer steps")
    raise LiveError(f"refuses: {told}", where=where, cure="see the log of the server")


class _TooMuchError(LiveError):
    """The server has a limit on samples and this is beyond it."""


def _series(data: Any) -> Series:
    return {
        tuple(sorted((name, value) for name, value in series["metric"].items() if name != "__name__")): [
            (round(at), float(value)) for at, value in series["values"]
        ]
        for series in data["result"]
    }
