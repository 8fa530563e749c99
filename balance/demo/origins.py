"""A backend with faults that can be switched on and off while it runs."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from aiohttp import web

QUICK = 0.04
"""Maximum seconds of a normal response."""


@dataclass
class Faults:
    """Faults of a backend. `errors` is the share of responses with 500, `refusals` of those with 503, `hang_ups` the share of GET requests whose
    connection closes without a response; `delay` is in seconds. Health checks are not affected.
    """

    errors: float = 0.0
    refusals: float = 0.0
    hang_ups: float = 0.0
    delay: float = 0.0


class Origin:
    """A backend on a loopback port. It can be killed, connections and all, and comes back on the same port."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0
        self.faults = Faults()
        self._server: asyncio.Server | None = None
        self._site = web.Server(self._answer, access_log=None)

    def __repr__(self) -> str:
        return f"<Origin {self.name} on port {self.port}: {self.faults if self._server else 'dead'}>"

    async def start(self) -> None:
        """Listen, after a restart on the same port."""
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(self._site, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Close the port and all connections at once."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for connection in self._site.connections:
                _abort(connection.transport)

    async def close(self) -> None:
        """End for good."""
        await self.kill()
        await self._site.shutdown(0)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """``/health``, a page, some data, a form; everything else is 404."""
        if request.path == "/health":
            return web.Response(text="ok\n")
        await request.read()
        faults = self.faults
        await asyncio.sleep(random.random() * QUICK + faults.delay)  # noqa: S311 -- a demo
        if request.method == "GET" and _happens(faults.hang_ups):
            _abort(request.transport)
        if _happens(faults.refusals):
            return web.Response(status=503, text=f"{self.name}: not now\n")
        if _happens(faults.errors):
            return web.Response(status=500, text=f"{self.name}: something went wrong\n")
        if request.path == "/data":
            return web.Response(body=b"0123456789abcdef" * random.randrange(16, 4096))  # noqa: S311 -- a demo
        if request.path == "/":
            return web.Response(text=f"hello from {self.name}\n")
        return web.Response(status=404, text=f"{self.name}: no such page\n")


def _happens(share: float) -> bool:
    """True in this share of the calls, at random."""
    return random.random() < share  # noqa: S311 -- a demo


def _abort(transport: asyncio.BaseTransport | None) -> None:
    if isinstance(transport, asyncio.Transport):
        transport.abort()
