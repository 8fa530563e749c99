"""Synthetic traffic with the daily pattern of a real service, sped up."""

from __future__ import annotations

import asyncio
import math
import random
import time

import aiohttp

KINDS = (("GET", "/", 60), ("GET", "/data", 20), ("POST", "/", 17), ("GET", "/missing", 3))
"""Method, path and share of each kind of request."""
MEAN = 60.0
"""Requests a second, over the whole day."""
DAY = 180.0
"""Length of a day in seconds."""
SWING = 0.45
"""Relative difference of the busiest and the quietest hour from the mean."""
MAX_IN_FLIGHT = 150
"""Maximum number of requests in flight."""


def shape(share: float) -> float:
    """Requests a second at a share of the day from 0 to 1: fewest around four in the morning, most around eight in the evening."""
    return MEAN * (1 + SWING * math.sin(2 * math.pi * (share - 0.5)) + SWING / 3 * math.sin(4 * math.pi * (share - 0.7)))


def hour(elapsed: float) -> float:
    """The hour of the day in fast motion, so many seconds after the beginning, which is at nine in the morning."""
    return (9 + elapsed / DAY * 24) % 24


async def send(url: str) -> None:
    """Send requests until cancelled; failures are the balancer's to count."""
    begun = time.monotonic()
    connections = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connections, timeout=aiohttp.ClientTimeout(30)) as session, asyncio.TaskGroup() as group:
        under_way: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(random.expovariate(shape(hour(time.monotonic() - begun) / 24)))
            if len(under_way) < MAX_IN_FLIGHT:
                request = group.create_task(_request(session, url))
                under_way.add(request)
                request.add_done_callback(under_way.discard)


async def _request(session: aiohttp.ClientSession, url: str) -> None:
    method, path, _share = random.choices(KINDS, [share for *_kind, share in KINDS])[0]  # noqa: S311 -- a demo
    body = b"x" * random.randrange(10_000) if method == "POST" else None  # noqa: S311 -- a demo
    try:
        async with session.request(method, url + path, data=body) as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError):
        pass  # a client that goes away, or an answer that never came
