"""The admin server, on its own port: metrics, health, readiness, status, configuration, version, and actions for authorized callers."""

from __future__ import annotations

import hmac
import json
import logging
import platform
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

import balance
from balance.config.address import Address
from balance.errors import suggestion
from balance.instruments import scrape_handler
from balance.lb.catalog.metrics import CATALOG
from balance.lb.config import Config, written
from balance.lb.config.files import FileError, read_secret
from balance.lb.config.model import Admin
from balance.lb.control.openapi import OPERATIONS, Operation, document
from balance.lb.data.sockets import bind, cannot_listen, remove
from balance.lb.errors import StartError
from balance.snapshot import Snapshot

Reload = Callable[[str], Awaitable[list[str]]]
"""Reloads the configuration; takes who asked (for the log), returns the problems, none if it is active."""


class ManagedService(Protocol):
    """What the admin server serves: the service of this process, or the supervisor of several."""

    @property
    def config(self) -> Config:
        """The active configuration."""
        ...

    async def unready_reason(self) -> str:
        """Why it should get no traffic; empty if it is ready."""

    async def status(self) -> dict[str, Any]:
        """The status as JSON-compatible data."""

    async def snapshot(self) -> Snapshot:
        """All series."""

    async def drain(self, backend: str, *, drained: bool) -> list[str]:
        """Take a backend out of rotation, or back in. Returns an empty list, or the known names if this one is unknown."""


def protected(config: Admin, token: bytes, act: Handler) -> Handler:
    """Protect a handler that changes something: allow it on a Unix socket or with the bearer token, and never from a web page, whose requests
    have an Origin header (Fetch, section 3.2)."""

    async def checked(request: web.Request) -> web.StreamResponse:
        if "Origin" in request.headers:
            return _error(403, "not allowed from a web page", "use the command line")
        scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
        shown = given.strip().encode("utf-8", "surrogateescape")
        known = bool(token) and scheme.lower() == "bearer" and hmac.compare_digest(shown, token)
        if config.listen.path or known:
            return await act(request)
        if not token:
            return _error(403, "changes are disabled", "set admin.token, or use a Unix socket for admin.listen")
        return _error(401, "the token is missing or wrong", "send Authorization: Bearer TOKEN", headers={"WWW-Authenticate": "Bearer"})

    return checked


def handlers(source: ManagedService, reload: Reload, present: Sequence[Operation]) -> dict[tuple[str, str], Handler]:
    """The handler of each operation, by method and path."""

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        reason = await source.unready_reason()
        return web.Response(status=503 if reason else 200, text=f"{reason or 'ready'}\n")

    async def show_status(_request: web.Request) -> web.Response:
        return _json(await source.status())

    async def backends(_request: web.Request) -> web.Response:
        found = (await source.status()).get("backends")
        return _error(503, "no worker answers", "see the log; workers are restarted automatically") if found is None else _json(found)

    async def routes(_request: web.Request) -> web.Response:
        return _json(written(source.config, masked=True)["routes"])

    async def config(_request: web.Request) -> web.Response:
        return _json(written(source.config, masked=True))

    async def version(_request: web.Request) -> web.Response:
        return _json({"version": balance.__version__, "python": platform.python_version()})

    async def describe(_request: web.Request) -> web.Response:
        return _json(document(present))

    async def on_reload(_request: web.Request) -> web.Response:
        problems = await reload("admin")
        return _json({"reloaded": not problems, "problems": problems}, 422 if problems else 200)

    def set_drained(drained: bool) -> Handler:
        async def on_set_drained(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            choices = await source.drain(name, drained=drained)
            if choices:
                return _error(404, f"unknown backend {name!r}", suggestion(name, choices), choices=choices)
            return _json({"backend": name, "drained": drained})

        return on_set_drained

    return {
        ("GET", "/metrics"): scrape_handler(CATALOG, source.snapshot),
        ("GET", "/health"): health,
        ("GET", "/ready"): ready,
        ("GET", "/status"): show_status,
        ("GET", "/backends"): backends,
        ("GET", "/routes"): routes,
        ("GET", "/config"): config,
        ("GET", "/version"): version,
        ("GET", "/openapi.json"): describe,
        ("POST", "/-/reload"): on_reload,
        ("POST", "/-/backends/{name}/drain"): set_drained(True),
        ("POST", "/-/backends/{name}/enable"): set_drained(False),
    }


def application(source: ManagedService, reload: Reload) -> web.Application:
    """The admin server's application. Raises `StartError` if the token cannot be read."""
    config = source.config.admin
    present = [operation for operation in OPERATIONS if operation.path != "/metrics" or source.config.metrics.enabled]
    act = handlers(source, reload, present)
    app = web.Application(middlewares=[_errors(sorted({operation.path for operation in present}))])
    try:
        token = read_secret("admin.token", config.token).strip() if config.token else b""
    except FileError as error:
        raise StartError(error.what, where=error.key, cure=error.cure) from None
    for operation in present:
        handler = act[operation.method, operation.path]
        app.router.add_route(operation.method, operation.path, protected(config, token, handler) if operation.changes else handler)
        if operation.method == "GET":
            app.router.add_route("HEAD", operation.path, handler)
    return app


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(content, status=status, headers=headers, dumps=_dumps)


_dumps = partial(json.dumps, ensure_ascii=False)


def _error(status: int, what: str, cure: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> web.Response:
    return _json({"error": what, "cure": cure, **more}, status, headers)


def _errors(paths: list[str]) -> Middleware:
    """A middleware that turns aiohttp's errors into our JSON errors."""

    @web.middleware
    async def convert(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return _error(405, f"method {request.method} is not allowed for {request.path}", f"choices: {allowed}", headers={"Allow": allowed})
        except web.HTTPNotFound:
            return _error(404, f"unknown path {request.path}", suggestion(request.path, paths), choices=paths)
        except web.HTTPClientError as error:
            return _error(error.status, error.text or error.reason, "see /openapi.json for valid requests")

    return convert


class _ClientErrors(logging.Filter):
    """Keeps malformed requests of clients out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class AdminServer:
    """The running admin server: `start` it, then `stop` it."""

    def __init__(self, source: ManagedService, reload: Reload) -> None:
        logger = logging.getLogger(__name__)
        logger.addFilter(_ClientErrors())
        self._runner = web.AppRunner(application(source, reload), access_log=None, logger=logger, handle_signals=False, shutdown_timeout=1.0)
        self._socket: socket.socket | None = None

    async def start(self, address: Address) -> str:
        """Listen at `address`; returns the address with the actual port. Raises `StartError`."""
        await self._runner.setup()
        try:
            if address.path:
                self._socket = bind(socket.AF_UNIX, address.path)
                await web.SockSite(self._runner, self._socket).start()
            else:
                await web.TCPSite(self._runner, address.host or None, address.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise cannot_listen(address, error, "choose another address: admin.listen, or BALANCE_ADMIN_LISTEN") from None
        name = self._runner.addresses[0]
        return str(address) if address.path else str(Address(*name[:2]))

    async def stop(self) -> None:
        """Close the server and its connections."""
        if self._socket:
            remove(self._socket)
        await self._runner.cleanup()
