"""The demo's own server: the page, and the buttons. For this machine alone, and for its own page alone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from balance.demo.faults import FAULTS, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NAMES = ("127.0.0.1", "localhost")
"""Under which names browsers may ask: another name that leads here is somebody else's trick (DNS rebinding)."""
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what comes by another name, and what changes anything without coming from a page of this very server."""
    if request.host.partition(":")[0] not in NAMES:
        raise web.HTTPForbidden(text="this page answers to its own address alone\n")
    if request.path == "/told":
        if request.content_type != "application/json":  # which a page from elsewhere cannot send
            raise web.HTTPUnsupportedMediaType
    elif request.method not in ("GET", "HEAD") and request.headers.get("Origin") != f"http://{request.host}":
        raise web.HTTPForbidden(text="buttons are pressed on the page itself (or send its address as Origin)\n")
    return await handler(request)


def application(world: World, page: Callable[[], Awaitable[str]], told: Callable[[Any], None]) -> web.Application:
    """``GET /``, ``POST /faults/NAME`` with ``on=1`` or ``on=0``, and ``POST /told`` for Alertmanager."""

    async def show(_request: web.Request) -> web.Response:
        text = await page()
        return web.Response(text=text, content_type="text/html", headers=_headers(text))

    async def switch(request: web.Request) -> web.Response:
        name, form = request.match_info["name"], await request.post()
        if name not in FAULTS or form.get("on") not in ("0", "1"):
            raise web.HTTPNotFound(text=f"faults: {', '.join(FAULTS)}; on=1 or on=0\n")
        await world.switch(name, on=form["on"] == "1")
        raise web.HTTPSeeOther("/")

    async def message(request: web.Request) -> web.Response:
        told(await request.json())
        return web.Response(status=204)

    app = web.Application(middlewares=[guard])
    app.router.add_get("/", show)
    app.router.add_post("/faults/{name}", switch)
    app.router.add_post("/told", message)
    return app


def _headers(text: str) -> dict[str, str]:
    """Nothing from elsewhere, no script but those that the page has, no frame around it."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _SCRIPT.findall(text))
    scripts = " ".join(f"'sha256-{one}'" for one in hashes)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
    return {"Content-Security-Policy": policy, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
