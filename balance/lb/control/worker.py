"""A worker process: `python -m balance.lb.control.worker`, started by a supervisor alone, which is at the other end of its standard input.

It serves once it has been told what (`start`), and ends when it is told to (`stop`), or when its supervisor has gone: then, and on SIGTERM,
in good order within `timeouts.shutdown`.
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
"""Seconds that the supervisor may take to hear the last counts."""


class WorkerProcess:
    """What a supervisor may ask for: each public coroutine is a command, its arguments are the command's."""

    def __init__(self) -> None:
        self.wish = Stop()
        self._seconds: float | None = None
        self._broken = 0
        self._drained = asyncio.Event()
        self._service: Service | None = None
        self._prepared: Prepared | None = None
        self._of: tuple[str, int, int] = "", 0, 1
        self._turn = asyncio.Lock()
        self._packer = Packer()
        self._log: EventLog | None = None

    async def start(self, *, text: str, source: str, index: int, count: int, places: SocketDescriptions, lock: int, drained: list[str]) -> None:
        """Serve, as worker `index` of `count`, what the configuration `text` from `source` says, at these places, without the drained backends.
        Waits a while for what is to be discovered."""
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
        """Get ready for another configuration, which adds these places; to be followed by `adopt` or `abandon`."""
        async with self._turn:
            config = await asyncio.to_thread(self._read, text)
            watches = await self._served.discover(config)
            if not self._served.stopping:  # else the next process will begin with it
                self._prepared = self._served.prepare(config, join(places), watches)

    async def adopt(self) -> None:
        """Put in force what is prepared."""
        async with self._turn:
            if self._prepared:
                self._served.adopt(self._prepared)
            self._prepared = None

    async def abandon(self) -> None:
        """Leave it at what is in force."""
        async with self._turn:
            if self._prepared:
                self._served.abandon(self._prepared)
            self._prepared = None

    async def drain(self, *, backend: str, drained: bool) -> list[str]:
        """Take a backend out of rotation, or back in; the names that there are, if this is none of them."""
        return await self._served.drain(backend, drained=drained)

    async def drained(self) -> list[str]:
        """The backends that are out of rotation by `drain`."""
        return self._served.drained

    def _read(self, text: str) -> Config:
        source, index, count = self._of
        return for_worker(parse(text, source, os.environ), index, count)

    async def snapshot(self) -> Packed:
        """All series."""
        return self._packer.pack(await self._served.snapshot())

    async def status(self) -> dict[str, Any]:
        """The state of this process."""
        return await self._served.status()

    async def unready_reason(self) -> str:
        """Why this process should get no traffic; empty if it may."""
        return await self._served.unready_reason()

    async def stop(self, *, seconds: float) -> int:
        """End in good order within so many seconds; 0: at once, also if it has been told to end before. How many connections broke."""
        if not seconds:
            self.wish.hurry.set()
        elif self._seconds is None:
            self._seconds = seconds
        self.wish.asked.set()
        await self._drained.wait()
        return self._broken

    async def run(self, channel: Channel) -> None:
        """Go on until told to stop, or until nobody is there to tell."""
        gone = asyncio.create_task(channel.closed.wait())
        asked = asyncio.create_task(self.wish.asked.wait())
        await asyncio.wait((gone, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if self._service and self._log:
            if gone.done():
                self._log("warning", "supervisor_gone", cure="this worker ends in good order; start the service anew")
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
            raise StartError("has not started yet", where="worker")
        return self._service


async def _main() -> None:
    worker = WorkerProcess()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.wish.asked.set)  # never a hurry: whoever tells all says it to us twice
    names = ("start", "prepare", "adopt", "abandon", "drain", "drained", "snapshot", "status", "unready_reason", "stop")
    with socket.socket(fileno=os.dup(0)) as end:
        await worker.run(await Channel.over(end, {name: getattr(worker, name) for name in names}))


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # reloading is the supervisor's as well
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the supervisor decides
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
