"""Three backends with characters of their own, to have something to look at."""

from __future__ import annotations

import asyncio
import random

from aiohttp import web

CHARACTERS = {"quick": (0.0, 0.0), "slow": (0.15, 0.0), "faulty": (0.02, 0.05)}
"""Per backend: the longest pause before an answer in seconds, and the share of answers that are 500."""


def application(name: str) -> web.Application:
    """A small site: a page, some data, a form; everything else is 404."""
    pause, faults = CHARACTERS[name]

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def page(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(random.random() * pause)  # noqa: S311 -- a demo
        if random.random() < faults:  # noqa: S311 -- a demo
            return web.Response(status=500, text=f"{name}: something went wrong\n")
        return web.Response(text=f"hello from {name}\n")

    async def data(_request: web.Request) -> web.Response:
        await asyncio.sleep(random.random() * pause)  # noqa: S311 -- a demo
        return web.Response(body=b"0123456789abcdef" * random.randrange(16, 4096))  # noqa: S311 -- a demo

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/", page)
    app.router.add_post("/", page)
    app.router.add_get("/data", data)
    return app


async def start(name: str) -> tuple[web.AppRunner, int]:
    """Serve on a free loopback port: the runner, to be cleaned up, and the port."""
    runner = web.AppRunner(application(name), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]
