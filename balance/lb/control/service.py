"""Serves clients in this process: the data plane with health checks, discovery and certificate renewal."""

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
"""The watches that discover backends, by the name of the pool."""
STOPPING = "the load balancer is stopping"
"""Why it gets no traffic and no other configuration."""


class Stop:
    """A request to stop: the first `ask` sets `asked` (graceful shutdown), the second `hurry` (stop now)."""

    def __init__(self) -> None:
        self.asked, self.hurry = asyncio.Event(), asyncio.Event()

    def ask(self) -> None:
        """Ask to stop; the second time, without waiting for requests in flight."""
        (self.hurry if self.asked.is_set() else self.asked).set()


@dataclass(frozen=True)
class Prepared:
    """A configuration that is ready to be activated, with the sockets that it adds and the watches of its pools."""

    draft: Draft
    added: Sockets
    watches: Watches


class Service:
    """The load balancer in this process: `listen` or `start`, `end`, then `close`.

    It is worker `worker` of `workers`; with several, the supervisor owns the paths of Unix sockets. `drained`: names of drained backends.
    """

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
        self._lock = asyncio.Lock()
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
        """Open sockets and start to serve. Raises `StartError`."""
        async with self._lock:
            watches = await self.discover(self.config)
            self.start(await asyncio.to_thread(open_sockets, self.config, self._listener.open), watches)

    async def discover(self, config: Config) -> Watches:
        """The watches for a configuration, after their first update, if that did not take too long."""
        return await self._discoverer.prepare(config)

    def start(self, sockets: Sockets, watches: Watches) -> None:
        """Start to serve on these sockets, which the service owns from now on."""
        self._proxy.clock.start()
        self._renewer.start()
        self._listener.adopt(self.config, sockets)
        self._discoverer.adopt(watches)
        self._follow()
        gc.collect()
        gc.freeze()

    def _follow(self) -> None:
        """Adapt health checks and the descriptor limit to the current backends."""
        self._prober.follow(self._proxy.active_config.pools.values())
        backends = self._proxy.backends.values()
        needed = self.config.limits.max_connections + sum(backend.config.max_connections for backend in backends) + 100
        if needed > self._needed:
            _raise_descriptor_limit(needed, self._log)
            self._needed = needed

    def addresses(self) -> dict[str, list[str]]:
        """Addresses where clients can connect, by the log's field: "listen" and "tls"."""
        return addresses(self._listener.open)

    @property
    def stopping(self) -> bool:
        """True if it has been told to stop."""
        return self._proxy.draining

    # --- reload ---

    def prepare(self, config: Config, added: Sockets, watches: Watches) -> Prepared:
        """Prepare a configuration for `adopt`. Nothing changes yet, and discovered backends are not applied until `adopt` or `abandon`.

        Raises `StartError` and closes the sockets if that fails.
        """
        try:
            draft = self._proxy.build(config, {pool: watch.found for pool, watch in watches.items()})
        except BaseException:
            close_sockets(added, self._drop)
            raise
        self._discoverer.hold()
        return Prepared(draft, added, watches)

    def adopt(self, prepared: Prepared) -> None:
        """Activate a prepared configuration, unless the service is stopping."""
        if self.stopping:
            self.abandon(prepared)
            return
        self.config = prepared.draft.config
        self._proxy.adopt(prepared.draft)
        self._listener.adopt(self.config, prepared.added)
        self._discoverer.adopt(prepared.watches)
        self._follow()

    def abandon(self, prepared: Prepared) -> None:
        """Drop a prepared configuration and keep the active one."""
        close_sockets(prepared.added, self._drop)
        self._discoverer.release()

    async def apply(self, _text: str, config: Config) -> None:
        """Activate a configuration, opening the sockets it needs. Raises `StartError`; then nothing has changed."""
        async with self._lock:
            watches = await self.discover(config)
            added = await asyncio.to_thread(open_sockets, config, self._listener.open)
            if self.stopping:
                close_sockets(added, self._drop)
                raise StartError(STOPPING)
            self.adopt(self.prepare(config, added, watches))

    # --- shutdown ---

    async def end(self, seconds: float, hurry: asyncio.Event) -> int:
        """Shut down: stop listening at once, let requests in flight finish for `seconds` or until `hurry`, then break the remaining
        connections. Returns their number."""
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
        """Stop all tasks and close everything."""
        self._listener.close()
        await self._renewer.stop()
        await self._discoverer.stop()
        await self._prober.stop()
        self._proxy.close()
        if self._access:
            self._access.close()

    # --- what the admin server shows and does ---

    async def unready_reason(self) -> str:
        """Why it should get no traffic; empty if it is ready."""
        return status.unready_reason(self._proxy)

    async def status(self) -> dict[str, Any]:
        """The status as JSON-compatible data."""
        return status.of(self._proxy, self._discoverer.watches)

    async def snapshot(self) -> Snapshot:
        """All series, taken metric by metric, so that requests are served in between: a metric can have thousands of series."""
        taken: Snapshot = {}
        for name, rows in self.instruments.parts():
            taken[name] = rows
            await asyncio.sleep(0)
        return taken

    async def drain(self, backend: str, *, drained: bool) -> list[str]:
        """Take a backend out of rotation, or back in. Returns an empty list, or the known names if this one is unknown."""
        return [] if self._proxy.drain_backend(backend, drained=drained) else sorted(self._proxy.backends)

    @property
    def drained(self) -> list[str]:
        """The names of the drained backends."""
        return self._proxy.drained


def process_instruments() -> Instruments:
    """The live metrics of the catalog, with the build info and asyncio tasks of this process."""
    instruments = Instruments(metrics.CATALOG)
    instruments.gauge(metrics.BUILD_INFO, version=balance.__version__, python=platform.python_version()).set(1)
    instruments.computed(standard.PYTHON_TASKS, lambda: len(asyncio.all_tasks()))
    return instruments


def _resident_bytes() -> float:
    """Resident memory of this process in bytes; its maximum so far where there is no /proc."""
    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _raise_descriptor_limit(needed: int, log: EventLog) -> None:
    """Raise the limit of open files to `needed`, and log a warning if that is not possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed and soft < needed:
        log("warning", "few_descriptors", limit=max(soft, allowed), needed=needed, cure="raise the limit: ulimit -n, or LimitNOFILE of the service")
