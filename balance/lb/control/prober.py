"""Active health checks: a task per backend checks, waits, and repeats; `policy.health` decides what the results mean."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Iterable
from time import perf_counter
from typing import Any

import aiohttp

from balance.lb.config.model import BackendConfig, HealthCheck
from balance.lb.data.backend import Backend
from balance.lb.data.keyring import Identity
from balance.lb.data.pool import Pool
from balance.lb.policy.faults import LOCAL_ERRORS
from balance.lb.policy.health import CheckOutcome, judge

_BODY = 2**16
_JITTER = 0.1
"""Share by which intervals vary, so that many load balancers do not check in step."""


async def check(backend: BackendConfig, policy: HealthCheck, identity: Identity | None = None) -> str | None:
    """Check once. Returns why it failed, "" if it passed, or None if this machine could not make the check. `identity`: use TLS with it."""
    try:
        async with asyncio.timeout(policy.timeout):
            return await (_check_http(backend, policy, identity) if policy.type == "http" else _check_tcp(backend, identity))
    except TimeoutError:
        return f"no answer within {policy.timeout:g} s"
    except (OSError, aiohttp.ClientError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
            return "connection refused"
        if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
            return None
        return f"{type(error).__name__}: {error}"


async def _check_tcp(backend: BackendConfig, identity: Identity | None) -> str:
    """Open a connection; with TLS, complete the handshake."""
    address = backend.address
    secure: dict[str, Any] = {"ssl": identity.context, "server_hostname": backend.server_name or ""} if identity else {}
    if address.path:
        _reader, writer = await asyncio.open_unix_connection(address.path, **secure)
    else:
        _reader, writer = await asyncio.open_connection(address.host, address.port, **secure)
    if identity:
        writer.transport.abort()  # close_notify would have to be awaited
    else:
        writer.close()
        await writer.wait_closed()
    return ""


async def _check_http(backend: BackendConfig, policy: HealthCheck, identity: Identity | None) -> str:
    address = backend.address
    connector = aiohttp.UnixConnector(address.path, force_close=True) if address.path else aiohttp.TCPConnector(force_close=True)
    url = f"{'https' if identity else 'http'}://{'localhost' if address.path else address}{policy.path}"
    secure: dict[str, Any] = {"ssl": identity.context, "server_hostname": backend.server_name} if identity else {}
    headers = {"User-Agent": "balance-health-check", **({"Host": policy.host} if policy.host else {})}
    async with (
        aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session,
        session.request(policy.method, url, allow_redirects=False, headers=headers, **secure) as response,
    ):
        body = await _beginning(response.content) if policy.expected_body else b""
        outcome = judge(policy, response.status, body)
        return {CheckOutcome.PASSED: "", CheckOutcome.WRONG_STATUS: f"status {response.status}", CheckOutcome.WRONG_BODY: "unexpected body"}[outcome]


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """The first 64 KiB of a body."""
    body = b""
    while len(body) < _BODY and (piece := await content.read(_BODY - len(body))):
        body += piece
    return body


class Prober:
    """Checks the backends of pools until it is stopped."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[Backend, HealthCheck], asyncio.Task[None]] = {}
        self._pools: list[Pool] = []

    def __repr__(self) -> str:
        return f"<Prober of {len(self._tasks)} backends>"

    def follow(self, pools: Iterable[Pool]) -> None:
        """Check the backends of these pools and no others; a new backend is checked at once."""
        self._pools = list(pools)
        wanted = {(backend, policy) for pool in self._pools if (policy := pool.config.health_check) is not None for backend in pool.backends}
        for key in self._tasks.keys() - wanted:
            self._tasks.pop(key).cancel()
        for backend, policy in wanted - self._tasks.keys():
            self._tasks[backend, policy] = asyncio.create_task(self._watch(backend, policy))

    async def stop(self) -> None:
        """Stop all checks."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, backend: Backend, policy: HealthCheck) -> None:
        while True:
            began = perf_counter()
            cause = await check(backend.config, policy, backend.identity)
            if cause is not None:
                changed = backend.checked(policy, passed=not cause, cause=cause, seconds=perf_counter() - began)
                for pool in self._pools if changed else ():
                    if backend in pool.backends:
                        pool.settle()  # at once: it may have been the last healthy one
            await asyncio.sleep(policy.interval * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 -- jitter
