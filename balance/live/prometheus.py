"""A running Prometheus, asked over HTTP: range queries in pieces that neither side chokes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from balance.errors import LiveError

POINTS = 5000
"""So many steps are asked for at a time; Prometheus refuses more than 11,000."""

Series = Mapping[tuple[tuple[str, str], ...], list[tuple[int, float]]]
"""Labels without the name -> times in seconds and values, ascending."""


class Prometheus:
    """The HTTP API of a Prometheus (Thanos and Mimir have the same). Raises `LiveError` for everything that goes wrong with it."""

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise LiveError("is no address of a Prometheus", where=url, cure="write it like http://127.0.0.1:9090")
        self._url, self._timeout = url.rstrip("/"), timeout

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
        request = Request(f"{self._url}/api/v1/{path}", urlencode(parameters).encode(), {"Accept": "application/json"})  # noqa: S310 (checked)
        try:
            with urlopen(request, timeout=self._timeout) as response:  # noqa: S310
                body = response.read()
        except HTTPError as error:
            told = error.read(2**20)
            try:
                message = str(json.loads(told)["error"])
            except (ValueError, KeyError, TypeError):
                raise LiveError(f"answered with status {error.code}", where=self._url, cure="is this the address of a Prometheus?") from None
            if "too many samples" in message or "exceeded maximum resolution" in message:
                raise _TooMuchError(f"refuses: {message}", where=self._url, cure="look back less far, or in longer steps") from None
            raise LiveError(f"refuses: {message}", where=self._url, cure="see the log of the server") from None
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise LiveError(f"cannot be asked: {reason}", where=self._url, cure="check the address, and that it runs") from None
        try:
            return json.loads(body)["data"]
        except (ValueError, KeyError, TypeError):
            raise LiveError("answered with something else than Prometheus does", where=self._url, cure="is this its address?") from None


class _TooMuchError(LiveError):
    """The server has a limit on samples and this is beyond it."""


def _series(data: Any) -> Series:
    return {
        tuple(sorted((name, value) for name, value in series["metric"].items() if name != "__name__")): [
            (round(at), float(value)) for at, value in series["values"]
        ]
        for series in data["result"]
    }
