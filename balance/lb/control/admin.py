"""The admin server, on a port of its own: metrics, health, readiness, state and version."""

from __future__ import annotations

import platform
import socket
from typing import Any

from aiohttp import web

import balance
from balance.instruments import Instruments
from balance.lb.config import Address
from balance.lb.data.listener import bind, cannot_listen, remove
from balance.lb.data.proxy import Proxy


def unreadiness(proxy: Proxy) -> str:
    """Why no traffic should be sent here; empty if it may."""
    if proxy.draining:
        return "the load balancer is stopping"
    if not any(backend.available for backend in proxy.backends):
        return "no backend is available"
    return ""


def status(proxy: Proxy) -> dict[str, Any]:
    """The present state, for people and scripts."""
    config = proxy.config
    return {
        "ready": not unreadiness(proxy),
        "draining": proxy.draining,
        "connections": {"active": len(proxy.clients), "limit": config.limits.max_connections},
        "requests": {"in_flight": proxy.in_flight, "retrying": proxy.retrying, "queued": proxy.queued},
        "tunnels": {"active": len(proxy.tunnels)},
        "backends": [
            {
                "name": backend.name,
                "address": str(backend.config.address),
                "weight": backend.config.weight,
                "available": backend.available,
                "healthy": backend.health.up,
                "circuit_breaker": backend.breaker.state.value,
                "connections": {"open": backend.open, "idle": len(backend.idle), "limit": backend.config.max_connections},
            }
            for backend in proxy.backends
        ],
        "configuration": {
            "listen": [str(address) for address in config.listen],
            "tls": [str(address) for address in config.tls.listen] if config.tls else "off",
            "algorithm": config.load_balancer.algorithm,
            "health_check": config.health_check.type if config.health_check else "off",
            "circuit_breaker": "on" if config.circuit_breaker else "off",
            "retry": config.retry.max_attempts if config.retry else "off",
        },
    }


def application(proxy: Proxy, instruments: Instruments) -> web.Application:
    """The routes of the admin server."""

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        reason = unreadiness(proxy)
        return web.Response(status=503 if reason else 200, text=f"{reason or 'ready'}\n")

    async def show_status(_request: web.Request) -> web.Response:
        return web.json_response(status(proxy))

    async def version(_request: web.Request) -> web.Response:
        return web.json_response({"version": balance.__version__, "python": platform.python_version()})

    app = web.Application()
    if proxy.config.metrics.enabled:
        app.router.add_get("/metrics", instruments.aiohttp_handler())
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/status", show_status)
    app.router.add_get("/version", version)
    return app


class Admin:
    """The running admin server."""

    def __init__(self, proxy: Proxy, instruments: Instruments) -> None:
        self._runner = web.AppRunner(application(proxy, instruments), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        self._socket: socket.socket | None = None

    async def start(self, address: Address) -> str:
        """Listen; where, with the real port. Raises `StartError`."""
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
