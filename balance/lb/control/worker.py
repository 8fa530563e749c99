"""A worker process: `python -m balance.lb.control.worker`, started only by a supervisor, which is at the other end of its standard input.

It serves after the command `start`, and shuts down on the command `stop`, on SIGTERM, or when its supervisor is gone; in the last two
cases within `timeouts.shutdown`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

import uvloop

from balance.lb.config import Config, parse
from balance.lb.control.channel import Channel
from balance.lb.control.service import Prepared, Service, Stop
from balance.lb.data.sockets import SocketDescriptions, join
from balance.lb.errors import StartError
from balance.lb.logs import EventLog, LibraryLogHandler, unraisable_hook
from balance.lb.policy.shares import for_worker
from balance.snapshot import Packed, Packer

_LAST_COUNTS_SECONDS = 1.0
"""Seconds that the supervisor may take to receive the last counts."""


class WorkerProcess:
    """The commands that a supervisor may run: each public coroutine, except `run`, is one."""

    def __init__(self) -> None:
        self.wish = Stop()
        self._seconds: float | None = None
        self._broken = 0
        self._drained = asyncio.Event()
        self._service: Service | None = None
        self._prepared: Prepared | None = None
        self._of: tuple[str, int, int] = "", 0, 1
        self._lock = asyncio.Lock()
        self._packer = Packer()
        self._log: EventLog | None = None

    async def start(self, *, text: str, source: str, index: int, count: int, places: SocketDescriptions, lock: int, drained: list[str]) -> None:
        """Start to serve as worker `index` of `count`, with the configuration `text` from the file `source`, at these places.

        `lock`: descriptor of the file that locks the logs. `drained`: names of drained backends. Waits a few seconds for discovery.
        """
        self._of = source, index, count
        config = self._read(text)
        self._log = log = EventLog(config.log.level, config.log.format, lock, worker=index)
        logging.basicConfig(handlers=[LibraryLogHandler(log)], force=True)
        sys.unraisablehook = unraisable_hook(log)
        service = Service(config, log, worker=index, workers=count, drained=drained)
        watches = await service.discover(config)
        service.start(join(places), watches)
        self._service = service

    async def prepare(self, *, text: str, places: SocketDescriptions) -> None:
        """Prepare a configuration that adds these places; `adopt` or `abandon` must follow."""
        async with self._lock:
            config = await asyncio.to_thread(self._read, text)
            watches = await self._served.discover(config)
            if not self._served.stopping:  # else the next process starts with it
                self._prepared = self._served.prepare(config, join(places), watches)

    async def adopt(self) -> None:
        """Activate the prepared configuration."""
        async with self._lock:
            if self._prepared:
                self._served.adopt(self._prepared)
            self._prepared = None

    async def abandon(self) -> None:
        """Drop the prepared configuration."""
        async with self._lock:
            if self._prepared:
                self._served.abandon(self._prepared)
            self._prepared = None

    async def drain(self, *, backend: str, drained: bool) -> list[str]:
        """Take a backend out of rotation, or back in. Returns an empty list, or the known names if this one is unknown."""
        return await self._served.drain(backend, drained=drained)

    async def drained(self) -> list[str]:
        """The names of the drained backends."""
        return self._served.drained

    def _read(self, text: str) -> Config:
        source, index, count = self._of
        return for_worker(parse(text, source, os.environ), index, count)

    async def snapshot(self) -> Packed:
        """All series of this process."""
        return self._packer.pack(await self._served.snapshot())

    async def status(self) -> dict[str, Any]:
        """The status of this process."""
        return await self._served.status()

    async def unready_reason(self) -> str:
        """Why this process should get no traffic; empty if it is ready."""
        return await self._served.unready_reason()

    async def stop(self, *, seconds: float) -> int:
        """Shut down within `seconds`; 0: at once, even if it is already shutting down. Returns the number of broken connections."""
        if not seconds:
            self.wish.hurry.set()
        elif self._seconds is None:
            self._seconds = seconds
        self.wish.asked.set()
        await self._drained.wait()
        return self._broken

    async def run(self, channel: Channel) -> None:
        """Run until told to stop, or until the supervisor is gone."""
        gone = asyncio.create_task(channel.closed.wait())
        asked = asyncio.create_task(self.wish.asked.wait())
        await asyncio.wait((gone, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if self._service and self._log:
            if gone.done():
                self._log("warning", "supervisor_gone", cure="this worker shuts down; restart the service")
            seconds = self._seconds or self._service.config.timeouts.shutdown
            self._broken = await self._service.end(seconds, self.wish.hurry)
            self._drained.set()
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(_LAST_COUNTS_SECONDS):
                    await channel.ask("counted", snapshot=await self.snapshot())
            await self._service.close()
            self._log.close()
        await channel.close()
        gone.cancel()

    @property
    def _served(self) -> Service:
        if self._service is None:
            raise StartError("is not started yet", where="worker")
        return self._service


async def _main() -> None:
    worker = WorkerProcess()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, worker.wish.asked.set
    )  # never hurry: a signal to the whole process group reaches us in addition to the command
    names = ("start", "prepare", "adopt", "abandon", "drain", "drained", "snapshot", "status", "unready_reason", "stop")
    with socket.socket(fileno=os.dup(0)) as end:
        await worker.run(await Channel.over(end, {name: getattr(worker, name) for name in names}))


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # reloads come from the supervisor
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the supervisor decides
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
