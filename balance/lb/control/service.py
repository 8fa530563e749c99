"""Serving clients in this process: the data plane and what goes on beside it."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import resource
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import balance
from balance.catalog import standard
from balance.instruments import Instruments
from balance.lb.catalog import metrics
from balance.lb.config import Config
from balance.lb.control import status
from balance.lb.control.discovery import Discoverer, Watch
from balance.lb.control.prober import Prober
from balance.lb.control.renewer import Renewer
from balance.lb.data.accesslog import AccessLog
from balance.lb.data.listener import Listener
from balance.lb.data.proxy import Draft, Proxy
from balance.lb.data.sockets import Sockets, addresses, close_sockets, open_sockets, remove
from balance.lb.errors import StartError
from balance.lb.logs import EventLog
from balance.snapshot import Snapshot

Watches = Mapping[str, Watch]
"""Who discovers backends, by the name of the pool."""
STOPPING = "the load balancer is stopping"
"""Why there is no other configuration for it, and no traffic."""


class Stop:
    """The wish to end: `asked` for once, in good order; once more, in a `hurry`."""

    def __init__(self) -> None:
        self.asked, self.hurry = asyncio.Event(), asyncio.Event()

    def ask(self) -> None:
        """Wish it, or wish it more."""
        (self.hurry if self.asked.is_set() else self.asked).set()


@dataclass(frozen=True)
class Prepared:
    """Another configuration, ready to be put in force: the sockets that it adds, and who discovers the backends of its pools."""

    draft: Draft
    added: Sockets
    watches: Watches


class Service:
    """`start` it, `end` it, `close` it. It is one of so many `workers`; where there are several, a supervisor owns the paths of Unix sockets."""

    def __init__(self, config: Config, log: EventLog, *, worker: int = 0, workers: int = 1, drained: Collection[str] = ()) -> None:
        self.config = config
        self.instruments = process_instruments()
        self._log = log
        self._access = AccessLog(config.log.format, log) if config.log.access else None
        self._proxy = Proxy(config, self.instruments, log, self._access, drained)
        self._drop = remove if workers == 1 else socket.socket.close
        self._listener = Listener(self._proxy, self._drop)
        self._prober = Prober()
        self._renewer = Renewer(self._proxy)
        self._discoverer = Discoverer(self._proxy, self._follow, worker, workers)
        self._needed = 0
        self._turn = asyncio.Lock()
        self._measure(str(worker))

    def _measure(self, worker: str) -> None:
        proxy, instruments = self._proxy, self.instruments
        instruments.computed(metrics.HTTP_REQUESTS_IN_FLIGHT, lambda: proxy.in_flight)
        instruments.computed(metrics.TUNNELS_ACTIVE, lambda: len(proxy.tunnels))
        instruments.computed(metrics.RETRY_BUDGET, lambda: sum(pool.budget for pool in proxy.active_config.pools.values()))
        instruments.computed(metrics.WORKER_IN_FLIGHT, lambda: proxy.in_flight, worker=worker)
        instruments.computed(metrics.WORKER_CONNECTIONS, lambda: len(proxy.clients), worker=worker)
        instruments.computed(metrics.WORKER_MEMORY, _resident_bytes, worker=worker)
        proxy.clock.on_late = instruments.histogram(metrics.EVENT_LOOP_LAG, worker=worker).observe

    async def listen(self) -> None:
        """Begin to serve, at sockets of our own. Raises `StartError`."""
        async with self._turn:
            watches = await self.discover(self.config)
            self.start(await asyncio.to_thread(open_sockets, self.config, self._listener.open), watches)

    async def discover(self, config: Config) -> Watches:
        """What a configuration has its pools discover by: each has looked once, if that did not take too long."""
        return await self._discoverer.prepare(config)

    def start(self, sockets: Sockets, watches: Watches) -> None:
        """Begin to serve, at these sockets; they belong to the service from now on."""
        self._proxy.clock.start()
        self._renewer.start()
        self._listener.adopt(self.config, sockets)
        self._discoverer.adopt(watches)
        self._follow()
        gc.collect()
        gc.freeze()

    def _follow(self) -> None:
        """The backends may be others now."""
        self._prober.follow(self._proxy.active_config.pools.values())
        backends = self._proxy.backends.values()
        needed = self.config.limits.max_connections + sum(backend.config.max_connections for backend in backends) + 100
        if needed > self._needed:
            _raise_descriptor_limit(needed, self._log)
            self._needed = needed

    def addresses(self) -> dict[str, list[str]]:
        """Where clients can connect."""
        return addresses(self._listener.open)

    @property
    def stopping(self) -> bool:
        """Whether it has been told to end."""
        return self._proxy.draining

    # --- another configuration ---

    def prepare(self, config: Config, added: Sockets, watches: Watches) -> Prepared:
        """What it takes to `adopt` a configuration; nothing has changed yet, and nothing that is discovered meanwhile does until it is adopted
        or abandoned. Raises `StartError`, and closes the sockets then."""
        try:
            draft = self._proxy.build(config, {pool: watch.found for pool, watch in watches.items()})
        except BaseException:
            close_sockets(added, self._drop)
            raise
        self._discoverer.hold()
        return Prepared(draft, added, watches)

    def adopt(self, prepared: Prepared) -> None:
        """Put it in force, unless it is too late for that."""
        if self.stopping:
            self.abandon(prepared)
            return
        self.config = prepared.draft.config
        self._proxy.adopt(prepared.draft)
        self._listener.adopt(self.config, prepared.added)
        self._discoverer.adopt(prepared.watches)
        self._follow()

    def abandon(self, prepared: Prepared) -> None:
        """Leave it at what is in force."""
        close_sockets(prepared.added, self._drop)
        self._discoverer.release()

    async def apply(self, _text: str, config: Config) -> None:
        """Put it in force, with sockets of our own."""
        async with self._turn:
            watches = await self.discover(config)
            added = await asyncio.to_thread(open_sockets, config, self._listener.open)
            if self.stopping:
                close_sockets(added, self._drop)
                raise StartError(STOPPING)
            self.adopt(self.prepare(config, added, watches))

    # --- the end ---

    async def end(self, seconds: float, hurry: asyncio.Event) -> int:
        """Readiness fails and listening ends at once; requests in flight may finish, until time is up or there is a hurry. How many broke."""
        proxy = self._proxy
        proxy.draining = True
        self._listener.close()
        self._log("info", "stopping", connections=len(proxy.clients), requests=proxy.in_flight, tunnels=len(proxy.tunnels), seconds=seconds)
        drained, hurried = asyncio.create_task(proxy.drain(seconds)), asyncio.create_task(hurry.wait())
        await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        hurried.cancel()
        broken = proxy.break_off()
        await asyncio.gather(drained, hurried, return_exceptions=True)
        self._log("warning" if broken else "info", "stopped", broken_connections=broken)
        return broken

    async def close(self) -> None:
        """End everything."""
        self._listener.close()
        await self._renewer.stop()
        await self._discoverer.stop()
        await self._prober.stop()
        self._proxy.close()
        if self._access:
            self._access.close()

    # --- what the admin server shows and does ---

    async def unready_reason(self) -> str:
        return status.unready_reason(self._proxy)

    async def status(self) -> dict[str, Any]:
        return status.of(self._proxy, self._discoverer.watches)

    async def snapshot(self) -> Snapshot:
        """All series; requests have their turn between two metrics, of which each may have thousands."""
        taken: Snapshot = {}
        for name, rows in self.instruments.parts():
            taken[name] = rows
            await asyncio.sleep(0)
        return taken

    async def drain(self, backend: str, *, drained: bool) -> list[str]:
        return [] if self._proxy.drain_backend(backend, drained=drained) else sorted(self._proxy.backends)

    @property
    def drained(self) -> list[str]:
        """The backends that are out of rotation by `drain`."""
        return self._proxy.drained


def process_instruments() -> Instruments:
    """The catalog's live metrics, with what describes this process."""
    instruments = Instruments(metrics.CATALOG)
    instruments.gauge(metrics.BUILD_INFO, version=balance.__version__, python=platform.python_version()).set(1)
    instruments.computed(standard.PYTHON_TASKS, lambda: len(asyncio.all_tasks()))
    return instruments


def _resident_bytes() -> float:
    """Resident memory of this process; without Linux's /proc the most that it has been."""
    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _raise_descriptor_limit(needed: int, log: EventLog) -> None:
    """Ask for as many open files as may be needed, and say so if they are not to be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed and soft < needed:
        log("warning", "few_descriptors", limit=max(soft, allowed), needed=needed, cure="raise it: ulimit -n, or LimitNOFILE of the service")
