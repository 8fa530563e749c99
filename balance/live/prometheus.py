"""A client of the HTTP API of Prometheus: queries, range queries in pieces of limited size, and its status."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from balance.errors import LiveError
from balance.live.fetch import HttpReply, checked_url, request, without_password

POINTS = 5000
"""Steps per range query; Prometheus rejects more than 11,000."""

Series = Mapping[tuple[tuple[str, str], ...], list[tuple[int, float]]]
"""Labels (without the name) -> pairs of time in seconds since 1970 and value, ascending."""


class Prometheus:
    """A Prometheus at a URL; Thanos and Mimir have the same API. Every method raises `LiveError`; `timeout` is in seconds per request."""

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        self._url, self._timeout = checked_url(url, "Prometheus", "http://127.0.0.1:9090"), timeout
        self.where = without_password(self._url)

    def __repr__(self) -> str:
        return f"<Prometheus {self.where}>"

    def get(self, path: str, parameters: Mapping[str, str | list[str]] = MappingProxyType({})) -> Any:
        """The data at a path of the API: ``targets``, ``rules``, ``alertmanagers``, ``status/...``, ``series``."""
        return _data(self._exchange(f"/api/v1/{path}" + (f"?{urlencode(parameters, doseq=True)}" if parameters else "")), self.where)

    def now(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query: series, each with ``metric`` and ``value``."""
        found: list[dict[str, Any]] = self._ask("query", query=query)["result"]
        return found

    def reload(self) -> bool:
        """Make it reload configuration and rules. Returns False if it does not allow that (`--web.enable-lifecycle`). Raises `LiveError`, with its
        message, if they are invalid; it then keeps running with the old ones."""
        reply = self._exchange("/-/reload", b"")
        if reply.status == http.client.FORBIDDEN:
            return False
        if reply.status != http.client.OK:
            told = " ".join(reply.body[:500].decode("utf-8", "replace").split())
            raise LiveError(
                f"failed to reload: {reply.status} {told}", where=self.where, cure="it keeps running with the old configuration; see its log"
            )
        return True

    def range(self, query: str, start: int, end: int, step: int) -> Iterator[Series]:
        """The result of a range query from `start` to `end` (both included, seconds since 1970) every `step` seconds, in pieces.

        A piece with too many samples for the server is requested again in halves.
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
        status = f"{reply.status} {reply.reason}" if reply.status != http.client.OK else "in an unknown format"
        raise LiveError(f"answered {status}", where=where, cure="check that this is the address of a Prometheus") from None
    if "too many samples" in told or "exceeded maximum resolution" in told:
        raise _TooMuchError(f"rejected the query: {told}", where=where, cure="use a shorter period or a longer step")
    raise LiveError(f"rejected the query: {told}", where=where, cure="see the log of the server")


class _TooMuchError(LiveError):
    """The query exceeds the server's limit of samples."""


def _series(data: Any) -> Series:
    return {
        tuple(sorted((name, value) for name, value in series["metric"].items() if name != "__name__")): [
            (round(at), float(value)) for at, value in series["values"]
        ]
        for series in data["result"]
    }
