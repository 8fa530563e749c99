"""Discovers the backends of pools: a task per pool with `discover` fetches them, updates the pool, waits, and repeats.

The last result is kept here, so that a reload starts with it. If a source fails, its pool keeps its backends, and the failure is logged once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from balance.errors import BalanceError
from balance.lb.catalog import metrics
from balance.lb.config import Config, load_backends
from balance.lb.config.files import POLL_SECONDS, FileError, FileWatch
from balance.lb.config.model import BackendConfig, Discovery
from balance.lb.data.proxy import Proxy
from balance.lb.policy.discovery import UpdateResult
from balance.lb.policy.shares import share

FIRST_UPDATE_SECONDS = 5.0
"""Seconds that a start or a reload waits for the first answers; later ones are applied when they come."""
_MAX_NAMES = 10
"""Maximum number of backend names in a log event."""

SERIES = (metrics.DISCOVERY_UPDATES, metrics.DISCOVERY_TIMESTAMP, metrics.DISCOVERY_BACKENDS)
"""Metrics that exist only for pools with discovery."""


class DiscoveryError(Exception):
    """A failed update; the text says why."""


class Discovered(NamedTuple):
    """The backends found, and the seconds until the next update."""

    backends: tuple[BackendConfig, ...]
    pause: float


class BackendSource(Protocol):
    """Where backends are found. After a failed update the next one follows after `retry` seconds."""

    retry: float

    async def update(self) -> Discovered:
        """Fetch the backends. Raises `DiscoveryError`."""


class FileSource:
    """A list of backends in a file, read when it has changed and settled; worker `index` of `count` gets its share of `max_connections`."""

    def __init__(self, discover: Discovery, index: int, count: int) -> None:
        self._path = discover.file
        self._of = index, count
        self.retry = min(POLL_SECONDS, discover.interval)
        self._watch: FileWatch | None = None
        self._found: tuple[BackendConfig, ...] | DiscoveryError = ()

    def __repr__(self) -> str:
        return f"<FileSource {self._path}>"

    async def update(self) -> Discovered:
        """The list as of its last settled change. Raises `DiscoveryError`."""
        await asyncio.to_thread(self._update)
        if isinstance(self._found, DiscoveryError):
            raise self._found
        return Discovered(self._found, self.retry)

    def _update(self) -> None:
        if self._watch and not self._watch.changed():
            return
        self._watch = self._watch or FileWatch([self._path])
        try:
            listed = load_backends(self._path)
        except BalanceError as error:
            self._found = DiscoveryError(str(error.problems[0]))
        else:
            self._found = tuple(replace(one, max_connections=share(one.max_connections, *self._of)) for one in listed)


def source_of(pool: str, discover: Discovery, index: int, count: int) -> BackendSource:
    """The source of the backends of a pool, for worker `index` of `count`."""
    if discover.file:
        return FileSource(discover, index, count)
    from balance.lb.control.resolver import DnsSource  # saves megabytes if DNS is not used

    return DnsSource(pool, discover)


class Watch:
    """A pool and the source of its backends. `found`: result of the last successful update; `failure`: why the last update failed, or empty."""

    def __init__(self, pool: str, discover: Discovery, source: BackendSource, proxy: Proxy) -> None:
        self.pool, self.discover = pool, discover
        self.found: tuple[BackendConfig, ...] = ()
        self.pause = 0.0
        self.result: UpdateResult | None = None
        """result of the last update"""
        self.failure = ""
        self.left_out: list[str] = []
        self._source = source
        self._proxy = proxy

    def __repr__(self) -> str:
        return f"<Watch of {self._source} for {self.pool}: {len(self.found)} backends>"

    async def update(self) -> None:
        """Update once, setting `result`, `found` and `pause` (seconds until the next update)."""
        try:
            found, self.pause = await self._source.update()
        except DiscoveryError as error:
            self.pause = self._source.retry
            self.fail(str(error))
            return
        if self.failure:
            self.failure = ""
            self._proxy.log("info", "discovery_recovered", pool=self.pool)
        self.result = UpdateResult.CHANGED if found != self.found else UpdateResult.UNCHANGED
        self.found = found

    def fail(self, cause: str) -> None:
        """Note a failed update, and log it unless the cause is the same as before; the pool keeps its backends."""
        self.result = UpdateResult.FAILED
        if cause != self.failure:
            self.failure = cause
            self._proxy.log("warning", "discovery_failed", pool=self.pool, cause=cause, kept=len(self.found))

    def count(self) -> None:
        """Count the last update in the metrics."""
        instruments = self._proxy.instruments
        for one in UpdateResult:
            instruments.counter(metrics.DISCOVERY_UPDATES, pool=self.pool, result=one.value).inc(one is self.result)
        instruments.gauge(metrics.DISCOVERY_BACKENDS, pool=self.pool).set(len(self.found))
        last = instruments.gauge(metrics.DISCOVERY_TIMESTAMP, pool=self.pool)
        if self.result in (UpdateResult.CHANGED, UpdateResult.UNCHANGED):
            last.set(time.time())

    def log_changes(self, before: Iterable[BackendConfig]) -> None:
        """Log which backends were added, removed and left out, compared with `before`."""
        names, former = {one.name: None for one in self.found}, {one.name: None for one in before}
        added, removed = [name for name in names if name not in former], [name for name in former if name not in names]
        if self.found != tuple(before):
            self._proxy.log(
                "info", "backends_discovered", pool=self.pool, backends=len(names), added=added[:_MAX_NAMES], removed=removed[:_MAX_NAMES]
            )
        here = {backend.config for backend in self._proxy.active_config.pools[self.pool].backends}
        left_out = [one.name for one in self.found if one not in here]
        if left_out and left_out != self.left_out:
            self._proxy.log("warning", "backends_left_out", pool=self.pool, count=len(left_out), backends=left_out[:_MAX_NAMES],
                            cause="their names are already in use, or all pools together have 1000 backends")  # fmt: skip
        self.left_out = left_out


class Discoverer:
    """Runs all watches until it is stopped, for worker `index` of `count`. `on_change` is called when a pool has got other backends."""

    def __init__(self, proxy: Proxy, on_change: Callable[[], None], index: int, count: int) -> None:
        self._proxy, self._on_change = proxy, on_change
        self._of = index, count
        self.watches: Mapping[str, Watch] = {}
        """the active watches, by the name of the pool"""
        self._tasks: dict[Watch, asyncio.Task[None]] = {}
        self._free = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Discoverer {list(self._tasks)}>"

    async def prepare(self, config: Config) -> Mapping[str, Watch]:
        """The watches for a configuration: unchanged ones, and new ones after their first update, if that took at most `FIRST_UPDATE_SECONDS`."""
        watches = {pool.name: self._watch(pool.name, pool.discover) for pool in config.pools if pool.discover}
        updates = [asyncio.create_task(watch.update()) for watch in watches.values() if watch not in self._tasks]
        if updates:
            await asyncio.wait(updates, timeout=FIRST_UPDATE_SECONDS)
            await _cancel(updates)
        return watches

    def _watch(self, pool: str, discover: Discovery) -> Watch:
        known = self.watches.get(pool)
        if known and known.discover == discover:
            return known
        return Watch(pool, discover, source_of(pool, discover, *self._of), self._proxy)

    def hold(self) -> None:
        """Apply no updates to pools until `adopt` or `release`."""
        self._free.clear()

    def release(self) -> None:
        """Apply updates again."""
        self._free.set()

    def adopt(self, watches: Mapping[str, Watch]) -> None:
        """Activate these watches and stop all others."""
        for watch in self._tasks.keys() - set(watches.values()):
            self._tasks.pop(watch).cancel()
        self._proxy.instruments.retain("pool", watches, *SERIES)
        self.watches = watches
        for watch in watches.values():
            if watch in self._tasks:
                watch.log_changes(watch.found)
            else:
                self._take(watch, ())
                self._tasks[watch] = asyncio.create_task(self._run(watch))
        self.release()

    async def stop(self) -> None:
        """Stop all watches."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await _cancel(tasks)

    async def _run(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(watch.pause)
            before = watch.found
            await watch.update()
            await self._free.wait()
            self._take(watch, before)

    def _take(self, watch: Watch, before: tuple[BackendConfig, ...]) -> None:
        """Apply the last update to the pool; also an unchanged one if backends were left out, since there may be room now."""
        if watch.result is UpdateResult.CHANGED or watch.left_out:
            try:
                self._proxy.set_discovered(watch.pool, watch.found)
            except FileError as error:  # a TLS file; tried again at the next update
                watch.found = before
                watch.fail(f"{error.what} ({error.cure})")
            else:
                watch.log_changes(before)
                self._on_change()
        watch.count()


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
