"""Steady, modest traffic of a few kinds."""

from __future__ import annotations

import asyncio
import random

import aiohttp

KINDS = (("GET", "/", 60), ("GET", "/data", 20), ("POST", "/", 15), ("GET", "/missing", 5))
"""Method, path and share of each kind of request."""
CLIENTS = 8
PAUSE = 0.25
"""Mean pause of a client between two requests, in seconds: some 30 requests a second from all of them."""


async def send(url: str) -> None:
    """Send requests until cancelled; failures are the balancer's to count."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as clients:
        for _client in range(CLIENTS):
            clients.create_task(_client_loop(session, url))


async def _client_loop(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        await asyncio.sleep(random.uniform(0, 2 * PAUSE))  # noqa: S311 -- a demo
        method, path, _share = random.choices(KINDS, [share for *_kind, share in KINDS])[0]  # noqa: S311 -- a demo
        body = b"x" * random.randrange(10_000) if method == "POST" else None  # noqa: S311 -- a demo
        try:
            async with session.request(method, url + path, data=body) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(PAUSE)
