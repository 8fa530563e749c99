"""Clients that keep their connections and a steady pace, and record every response."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

CLIENTS = 16
PACE_SECONDS = 0.04
"""Between two requests of a client: 400 requests a second in all, less while some of them wait."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as its client saw it. `began`: start by the loop's clock; `seconds`: until the end of the response; `status`: 0 without response;
    `backend`: its name, "-" if the balancer itself answered."""

    began: float
    seconds: float
    status: int
    backend: str


class ClientLoad:
    """GET requests, each with a target of its own that the response must repeat, until `stop`; connections stay open until `close`.

    `opened` counts connections. A connection that was closed between two requests is replaced; requests are not retried.
    """

    def __init__(self, port: int) -> None:
        self.seen: list[RequestRecord] = []
        self.opened = 0
        self._port = port
        self._connections: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._stopping = False
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]

    def __repr__(self) -> str:
        return f"<ClientLoad {len(self.seen)} requests>"

    @property
    def open(self) -> int:
        """Number of open connections."""
        return len(self._connections)

    def close(self) -> None:
        """Close all connections."""
        for number in list(self._connections):
            self._close(number)

    def _close(self, number: int) -> None:
        self._connections.pop(number)[1].close()

    async def stop(self) -> None:
        """Send no further requests and wait for those in flight."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _client(self, number: int) -> None:
        now = asyncio.get_running_loop().time
        due = now() + PACE_SECONDS * number / CLIENTS
        serial = 0
        while not self._stopping:
            await asyncio.sleep(max(0.0, due - now()))
            due = max(due, now() - PACE_SECONDS) + PACE_SECONDS
            serial += 1
            began, status, backend, keep = now(), 0, "-", False
            with suppress(OSError, asyncio.IncompleteReadError):
                status, backend, keep = await _ask(*await self._connection(number), f"/{number}-{serial}")
            self.seen.append(RequestRecord(began, now() - began, status, backend))
            if not keep and number in self._connections:
                self._close(number)

    async def _connection(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The client's open connection, or a new one."""
        reader, _writer = self._connections.get(number, (None, None))
        if reader and (reader.at_eof() or reader.exception()):
            self._close(number)
        if number not in self._connections:
            self._connections[number] = await asyncio.open_connection("127.0.0.1", self._port)
            self.opened += 1
        return self._connections[number]


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> tuple[int, str, bool]:
    """Status, backend, and whether the connection stays open. Raises `ValueError` if the response belongs to another request."""
    writer.write(f"GET {target} HTTP/1.1\r\nHost: chaos\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    fields = dict(re.findall(r"\n([^:\r]+): ([^\r]*)", head))
    body = (await reader.readexactly(int(fields["content-length"]))).decode()
    backend = fields.get("x-backend", "-")
    if backend != "-" and body != target:
        raise ValueError(f"asked for {target}, got the response to {body}")
    return int(head.split(" ", 2)[1]), backend, fields.get("connection") != "close"


def p99(seen: Iterable[RequestRecord]) -> float:
    """The 99th percentile of durations, in seconds; 0 without requests."""
    times = sorted(one.seconds for one in seen)
    return times[len(times) * 99 // 100] if times else 0.0
