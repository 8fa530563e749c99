"""Active health checks: one task per backend asks, waits, asks again; what the answers mean is decided in `policy.health`."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Sequence
from typing import Any

import aiohttp

from balance.lb.config.model import Address, HealthCheck
from balance.lb.data.backend import Backend
from balance.lb.data.keyring import Identity
from balance.lb.policy.faults import LOCAL_ERRORS

_JITTER = 0.1
"""Share by which intervals vary, so that many balancers do not ask in step."""


async def check(address: Address, policy: HealthCheck, identity: Identity | None = None) -> str | None:
    """Why the check failed, in a few words; empty if it passed; None if this machine could not make it. `identity`: with TLS."""
    try:
        async with asyncio.timeout(policy.timeout):
            return await (_check_http(address, policy, identity) if policy.type == "http" else _check_tcp(address, identity))
    except TimeoutError:
        return f"no answer within {policy.timeout:g} s"
    except (OSError, aiohttp.ClientError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
            return "connection refused"
        if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
            return None
        return f"{type(error).__name__}: {error}"


async def _check_tcp(address: Address, identity: Identity | None) -> str:
    """The connection opens; with TLS, the handshake ends well."""
    secure: dict[str, Any] = {"ssl": identity.context, "server_hostname": identity.server_name or ""} if identity else {}
    if address.path:
        _reader, writer = await asyncio.open_unix_connection(address.path, **secure)
    else:
        _reader, writer = await asyncio.open_connection(address.host, address.port, **secure)
    if identity:
        writer.transport.abort()  # a goodbye would have to be waited for
    else:
        writer.close()
        await writer.wait_closed()
    return ""


async def _check_http(address: Address, policy: HealthCheck, identity: Identity | None) -> str:
    connector = aiohttp.UnixConnector(address.path, force_close=True) if address.path else aiohttp.TCPConnector(force_close=True)
    authority = "localhost" if address.path else str(address)
    url = f"{'https' if identity else 'http'}://{authority}{policy.path}"
    secure: dict[str, Any] = {"ssl": identity.context, "server_hostname": identity.server_name} if identity else {}
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session,
        session.get(url, allow_redirects=False, headers={"User-Agent": "balance-health-check"}, **secure) as response,
    ):
        return "" if 200 <= response.status <= 399 else f"status {response.status}"


class Prober:
    """Checks all backends until it is stopped."""

    def __init__(self, backends: Sequence[Backend], policy: HealthCheck | None) -> None:
        self._policy = policy
        self._backends = backends
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Prober of {len(self._tasks)} backends>"

    def start(self) -> None:
        """Begin; the first check of each backend is made at once."""
        if self._policy is not None:
            self._tasks = [asyncio.create_task(self._watch(backend, self._policy)) for backend in self._backends]

    async def stop(self) -> None:
        """End all checks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _watch(self, backend: Backend, policy: HealthCheck) -> None:
        while True:
            cause = await check(backend.config.address, policy, backend.identity)
            if cause is not None:
                backend.checked(policy, passed=not cause, cause=cause)
            await asyncio.sleep(policy.interval * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 -- jitter
