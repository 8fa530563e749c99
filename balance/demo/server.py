"""The HTTP server of the demo: the page and its buttons. It serves only this machine, and buttons work only from its own page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from balance.demo.faults import FAULTS, DemoEnvironment

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NAMES = ("127.0.0.1", "localhost")
"""Allowed Host headers: other names that resolve to this machine are refused (DNS rebinding)."""
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests with another Host, and changes that do not come from the page of this server."""
    if request.host.partition(":")[0] not in NAMES:
        raise web.HTTPForbidden(text="unexpected Host header: open the page by its own address\n")
    if request.path == "/notifications":
        if request.content_type != "application/json":  # which a foreign page cannot send
            raise web.HTTPUnsupportedMediaType
    elif request.method not in ("GET", "HEAD") and request.headers.get("Origin") != f"http://{request.host}":
        raise web.HTTPForbidden(text="unexpected Origin header: press the button on the page (or send its address as Origin)\n")
    return await handler(request)


def application(environment: DemoEnvironment, page: Callable[[], Awaitable[str]], notified: Callable[[Any], None]) -> web.Application:
    """``GET /``, ``POST /faults/NAME`` with ``on=1`` or ``on=0``, and ``POST /notifications`` for Alertmanager."""

    async def show(_request: web.Request) -> web.Response:
        text = await page()
        return web.Response(text=text, content_type="text/html", headers=_headers(text))

    async def switch(request: web.Request) -> web.Response:
        name, form = request.match_info["name"], await request.post()
        if name not in FAULTS or form.get("on") not in ("0", "1"):
            raise web.HTTPNotFound(text=f"faults: {', '.join(FAULTS)}; on=1 or on=0\n")
        await environment.switch(name, on=form["on"] == "1")
        raise web.HTTPSeeOther("/")

    async def message(request: web.Request) -> web.Response:
        notified(await request.json())
        return web.Response(status=204)

    app = web.Application(middlewares=[guard])
    app.router.add_get("/", show)
    app.router.add_post("/faults/{name}", switch)
    app.router.add_post("/notifications", message)
    return app


def _headers(text: str) -> dict[str, str]:
    """Security headers: no foreign content, only the scripts of the page, no framing."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _SCRIPT.findall(text))
    scripts = " ".join(f"'sha256-{one}'" for one in hashes)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
    return {"Content-Security-Policy": policy, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
