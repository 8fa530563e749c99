"""One worker process as its supervisor sees it."""

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
"""Seconds to wait for the last words of a process that has ended."""


@dataclass(frozen=True)
class WorkerSpec:
    """What all workers are told: the configuration and where it came from, how many they are, the file that locks the logs, where to listen,
    the backends that are drained."""

    text: str
    source: str
    count: int
    lock: int
    sockets: Sockets = field(default_factory=dict)
    drained: frozenset[str] = frozenset()


class WorkerHandle:
    """`start` it, wait until it has `ended`, start it again: its counts go on (`snapshots`), whatever becomes of its processes."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.started = 0.0
        """the loop's time"""
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
        """Of its present or last process; 0 before there was one."""
        return self._life[0].pid if self._life else 0

    async def start(self, spec: WorkerSpec) -> None:
        """Start a process and wait until it serves. Raises `StartError`."""
        ours, theirs = socket.socketpair()
        inherited = [bound.fileno() for (address, _secure), group in spec.sockets.items() if address.path for bound in group]
        self.started = asyncio.get_running_loop().time()
        try:
            # -P: whatever lies in the working directory is no module of ours; a session of its own: a terminal's signals are for the supervisor
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "balance.lb.control.worker",
                stdin=theirs.fileno(), pass_fds=(*inherited, spec.lock), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise StartError(f"no process can be started: {error}", where=f"worker {self.index}", cure="see what the system is short of") from None
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
            raise StartError("ended before it could serve", where=f"worker {self.index}", cure="see its last lines above") from None
        except BaseException:
            self.kill()
            raise
        self.running = True

    async def ended(self) -> dict[str, Any]:
        """Wait for the end of the process: by which signal or with which code. What it had counted is kept."""
        if self._life is None:
            raise RuntimeError("was never started")
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
        """What the process answers to a command. Raises `ConnectionError` if it ends without an answer, `StartError` if it refuses."""
        if not self._life or not self.running:
            raise ConnectionResetError("it does not run")
        return await self._life[1].ask(command, **arguments)

    def take(self) -> asyncio.Task[None]:
        """A task that takes a snapshot; whoever asks meanwhile gets the same one, so that a process that hangs is asked once."""
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._take())
        return self._taking

    async def _take(self) -> None:
        with suppress(ConnectionError):
            self._present = self._unpacker.unpack(await self.ask("snapshot"))

    async def _counted(self, *, snapshot: Packed) -> None:
        """The process tells its last counts."""
        self._present = self._unpacker.unpack(snapshot)

    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """What its earlier processes had counted, and what the present one had when it was last asked."""
        return self._past, self._present

    def forget(self, living: Collection[Snapshot]) -> None:
        """Of what its earlier processes had counted, drop the series of backends and pools that none of the living knows any longer."""
        for label in ("backend", "pool") if self._past else ():
            self._past = shared(CATALOG, self._past, living, label)

    async def stop(self, seconds: float) -> int:
        """Have the process end in good order; how many connections broke. Stop it again with 0 seconds to make it hurry."""
        try:
            broken: int = await self.ask("stop", seconds=seconds)
        except ConnectionError:
            return 0
        return broken

    def kill(self) -> None:
        """End the process at once, if there is one."""
        if self._life and self._life[0].returncode is None:
            with suppress(ProcessLookupError):
                self._life[0].kill()
