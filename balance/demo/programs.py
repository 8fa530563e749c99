"""Child processes of the demo."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from balance.lb.errors import StartError

STOP_TIMEOUT = 10.0
"""Seconds that a process may take to stop."""


@asynccontextmanager
async def running(command: Sequence[str], *, errors: int, environment: Mapping[str, str] | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process in its own session, so that Ctrl-C does not reach it, and stop it at the end; `errors` is its stderr."""
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=DEVNULL, stderr=errors, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)  # process.terminate() would reap it behind asyncio's back
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def balancer(config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, list[str]]]]:
    """Run the balancer; yields its process and its `started` event. Raises `StartError` if it does not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BALANCE_")}
    environment["MALLOC_MMAP_THRESHOLD_"] = "16384"  # glibc gives large pieces back at once: memory falls when the fault ends
    relay: asyncio.Task[None] | None = None
    command = (sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(config))
    try:
        async with running(command, errors=PIPE, environment=environment) as process:
            started = await _started(process)
            relay = asyncio.create_task(_relay(process))
            yield process, started
    finally:
        if relay is not None:
            await relay


async def _started(process: asyncio.subprocess.Process) -> dict[str, list[str]]:
    lines = []
    while process.stderr and (line := (await process.stderr.readline()).decode().strip()):
        lines.append(line)
        if '"event":"started"' in line:
            found: dict[str, list[str]] = json.loads(line)
            return found
    where, _, rest = (lines[-1] if lines else "demo: the balancer did not start").partition(": ")
    raise StartError(rest.partition(" (")[0], where=where, cure="choose other ports: --port, --admin-port")


async def _relay(process: asyncio.subprocess.Process) -> None:
    """Copy the remaining stderr of the balancer to ours."""
    while process.stderr and (line := await process.stderr.readline()):
        print(line.decode().rstrip(), file=sys.stderr, flush=True)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
