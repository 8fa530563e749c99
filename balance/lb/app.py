"""Runs the load balancer: start, serve until told to stop, shut down; as one process, or as a supervisor with workers."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

import balance
from balance.lb.catalog import metrics
from balance.lb.config import Config, parse
from balance.lb.control.admin import AdminServer
from balance.lb.control.reload import Reloader
from balance.lb.control.service import Service, Stop
from balance.lb.control.supervisor import Supervisor
from balance.lb.control.workers import WorkerSpec
from balance.lb.data.wire import require_c_parsers
from balance.lb.logs import EventLog, LibraryLogHandler, unraisable_hook


def serve(text: str, source: str) -> None:
    """Serve with the configuration `text` until SIGTERM or SIGINT; SIGHUP reloads its file `source`. Raises `ConfigError`, and `StartError` if
    it cannot start."""
    config = parse(text, source, os.environ)
    count = config.workers or min(processors(), metrics.MAX_WORKERS)
    require_c_parsers()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_single(config, text, source) if count == 1 else _several(config, text, source, count))


def processors() -> int:
    """Number of processors that this process may use, by its CPU affinity and its container's quota (cgroup v2)."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else min(allowed, math.ceil(int(quota) / int(period)))


async def _single(config: Config, text: str, source: str) -> None:
    """Serve in this process."""
    async with AsyncExitStack() as stack:
        log = _log(config, stack)
        service = Service(config, log)
        stack.push_async_callback(service.close)
        for gauge in (metrics.WORKERS, metrics.WORKERS_CONFIGURED):
            service.instruments.gauge(gauge).set(1)
        service.instruments.counter(metrics.WORKER_RESTARTS, worker="0")
        async with _controls(service, text, source, log) as (stop, admin_address):
            await service.listen()
            log("info", "started", **service.addresses(), admin=admin_address, version=balance.__version__)
            _unblock_reloads()
            await stop.asked.wait()
            await service.end(service.config.timeouts.shutdown, stop.hurry)


async def _several(config: Config, text: str, source: str, count: int) -> None:
    """Supervise worker processes."""
    async with AsyncExitStack() as stack:
        lock = os.memfd_create("log lock")
        stack.callback(os.close, lock)
        log = _log(config, stack, lock)
        supervisor = Supervisor(config, WorkerSpec(text, source, count, lock), log)
        stack.callback(supervisor.close)
        async with _controls(supervisor, text, source, log) as (stop, admin_address):
            await supervisor.start()
            log("info", "started", **supervisor.addresses(), admin=admin_address, version=balance.__version__, workers=count)
            _unblock_reloads()
            await stop.asked.wait()
            await supervisor.stop(stop)


def _unblock_reloads() -> None:
    """Unblock SIGHUP after the start; one that has arrived meanwhile is delivered now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _log(config: Config, stack: AsyncExitStack, lock: int | None = None) -> EventLog:
    log = EventLog(config.log.level, config.log.format, lock)
    stack.callback(log.close)
    logging.basicConfig(handlers=[LibraryLogHandler(log)], force=True)
    sys.unraisablehook = unraisable_hook(log)
    return log


@asynccontextmanager
async def _controls(served: Service | Supervisor, text: str, source: str, log: EventLog) -> AsyncIterator[tuple[Stop, str]]:
    """Run the admin server, the signal handlers for stop and reload, and the watch of the configuration file. Yields the stop request and the
    admin server's address."""
    reloader = Reloader(source, text, served, log)
    admin = AdminServer(served, reloader.reload)
    address = await admin.start(served.config.admin.listen)
    loop, stop, reloads = asyncio.get_running_loop(), Stop(), set[asyncio.Task[object]]()

    def reload() -> None:
        task = asyncio.create_task(reloader.reload("SIGHUP"))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask)
    loop.add_signal_handler(signal.SIGHUP, reload)
    watching = asyncio.create_task(reloader.watch())
    try:
        yield stop, address
    finally:
        watching.cancel()
        await admin.stop()
