"""A worker process, seen from its supervisor."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from balance.lb.catalog.metrics import CATALOG
from balance.lb.control.channel import Channel
from balance.lb.data.sockets import Sockets, describe
from balance.lb.errors import StartError
from balance.snapshot import Packed, Snapshot, Unpacker, lasting, merge, shared

_CHANNEL_CLOSE_SECONDS = 1.0
"""Seconds to wait for the last messages of a process that has ended."""


@dataclass(frozen=True)
class WorkerSpec:
    """What all workers get: the configuration `text` and the path of its file, the number of workers, the descriptor of the file that locks the
    logs, the sockets, and the names of drained backends."""

    text: str
    source: str
    count: int
    lock: int
    sockets: Sockets = field(default_factory=dict)
    drained: frozenset[str] = frozenset()


class WorkerHandle:
    """A worker that is started, and restarted after it `ended`; its counts (`snapshots`) continue over its processes."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.started = 0.0
        """start time of its process, on the loop's clock"""
        self._life: tuple[asyncio.subprocess.Process, Channel] | None = None
        self._present: Snapshot = {}
        self._past: Snapshot = {}
        self._unpacker = Unpacker()
        self._taking: asyncio.Task[None] | None = None
        self.running = False

    def __repr__(self) -> str:
        return f"<WorkerHandle {self.index}, process {self.pid}, {'running' if self.running else 'not running'}>"

    @property
    def pid(self) -> int:
        """Process id of its current or last process; 0 before the first."""
        return self._life[0].pid if self._life else 0

    async def start(self, spec: WorkerSpec) -> None:
        """Start a process and wait until it serves. Raises `StartError`."""
        ours, theirs = socket.socketpair()
        inherited = [bound.fileno() for (address, _secure), group in spec.sockets.items() if address.path for bound in group]
        self.started = asyncio.get_running_loop().time()
        try:
            # -P: never import from the working directory; a session of its own: a terminal's signals go to the supervisor only
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "balance.lb.control.worker",
                stdin=theirs.fileno(), pass_fds=(*inherited, spec.lock), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise StartError(f"cannot start a process: {error}", where=f"worker {self.index}", cure="check memory and process limits") from None
        finally:
            theirs.close()
        channel = await Channel.over(ours, {"counted": self._counted})
        self._life = process, channel
        self._unpacker = Unpacker()
        try:
            await channel.ask(
                "start", text=spec.text, source=spec.source, index=self.index, count=spec.count,
                places=describe(spec.sockets), lock=spec.lock, drained=sorted(spec.drained),
            )  # fmt: skip
        except ConnectionError:
            raise StartError("ended before it was ready", where=f"worker {self.index}", cure="see its last log lines") from None
        except BaseException:
            self.kill()
            raise
        self.running = True

    async def ended(self) -> dict[str, Any]:
        """Wait for the end of the process and keep its counts. Returns its `signal` or exit `code`, for the log."""
        if self._life is None:
            raise RuntimeError("the worker was never started")
        process, channel = self._life
        code = await process.wait()
        self.running = False
        with suppress(TimeoutError):
            await asyncio.wait_for(channel.closed.wait(), _CHANNEL_CLOSE_SECONDS)
        if self._taking:
            await asyncio.wait([self._taking])
        self._past = merge(CATALOG, (self._past, lasting(CATALOG, self._present)))
        self._present = {}
        return {"signal": signal.Signals(-code).name} if code < 0 else {"code": code}

    async def ask(self, command: str, /, **arguments: Any) -> Any:
        """Run a command in the process; returns its result. Raises `ConnectionError` if it ends first, `StartError` if it refuses."""
        if not self._life or not self.running:
            raise ConnectionResetError("the worker is not running")
        return await self._life[1].ask(command, **arguments)

    def take(self) -> asyncio.Task[None]:
        """A task that takes a snapshot; the same one while it is running, so that a hanging process is asked only once."""
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._take())
        return self._taking

    async def _take(self) -> None:
        with suppress(ConnectionError):
            self._present = self._unpacker.unpack(await self.ask("snapshot"))

    async def _counted(self, *, snapshot: Packed) -> None:
        """Receive the last counts of the process."""
        self._present = self._unpacker.unpack(snapshot)

    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """The counts of its earlier processes, and the last snapshot of the current one."""
        return self._past, self._present

    def forget(self, living: Collection[Snapshot]) -> None:
        """Drop counts of earlier processes for backends and pools that are in none of the `living` snapshots."""
        for label in ("backend", "pool") if self._past else ():
            self._past = shared(CATALOG, self._past, living, label)

    async def stop(self, seconds: float) -> int:
        """Shut the process down within `seconds`, 0 for at once; returns the number of broken connections."""
        try:
            broken: int = await self.ask("stop", seconds=seconds)
        except ConnectionError:
            return 0
        return broken

    def kill(self) -> None:
        """Kill the process, if it is running."""
        if self._life and self._life[0].returncode is None:
            with suppress(ProcessLookupError):
                self._life[0].kill()
