"""Where the parts are joined: start, serve until told to stop, stop in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import platform
import resource
import signal
import sys
from contextlib import AsyncExitStack

import uvloop

import balance
from balance.catalog import metrics
from balance.instruments import Instruments
from balance.lb.config import Config
from balance.lb.control.admin import Admin
from balance.lb.control.prober import Prober
from balance.lb.control.renewer import Renewer
from balance.lb.data.accesslog import AccessLog
from balance.lb.data.listener import Listener
from balance.lb.data.proxy import Proxy
from balance.lb.data.wire import require_c_parsers
from balance.lb.logs import Bridge, EventLog, unraisable


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT; raises `StartError` if that cannot begin."""
    require_c_parsers()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))


def instruments_for(config: Config) -> Instruments:
    """The catalog's live metrics, with what describes this process."""
    instruments = Instruments(metrics.CATALOG)
    instruments.gauge(metrics.BUILD_INFO, version=balance.__version__, python=platform.python_version()).set(1)
    instruments.computed(metrics.PYTHON_TASKS, lambda: len(asyncio.all_tasks()))
    return instruments


async def _serve(config: Config) -> None:
    log = EventLog(config.log.level, config.log.format)
    logging.basicConfig(handlers=[Bridge(log)], force=True)
    sys.unraisablehook = unraisable(log)
    instruments = instruments_for(config)
    async with AsyncExitStack() as stack:
        stack.callback(log.close)
        access = AccessLog(config.log.format, log) if config.log.access else None
        if access:
            stack.callback(access.close)
        proxy = Proxy(config, instruments, log, access)
        stack.callback(proxy.close)
        instruments.computed(metrics.HTTP_REQUESTS_IN_FLIGHT, lambda: proxy.in_flight)
        instruments.computed(metrics.TUNNELS_ACTIVE, lambda: len(proxy.tunnels))
        admin = Admin(proxy, instruments)
        admin_address = await admin.start(config.admin.listen)
        stack.push_async_callback(admin.stop)
        listener = Listener(proxy)
        await listener.open()
        prober = Prober(proxy.backends, config.health_check)
        stack.push_async_callback(prober.stop)
        renewer = Renewer(proxy)
        stack.push_async_callback(renewer.stop)
        stop = _signals()
        _raise_descriptor_limit(config, log)
        proxy.clock.start()
        prober.start()
        renewer.start()
        gc.collect()
        gc.freeze()
        secure = {"tls": [str(address) for address in listener.addresses(secure=True)]} if config.tls else {}
        plain = [str(address) for address in listener.addresses()]
        log("info", "started", listen=plain, **secure, admin=admin_address, version=balance.__version__)
        await stop.get()
        await _drain(proxy, listener, stop, log)


def _signals() -> asyncio.Queue[str]:
    """The names of the signals to stop that arrive."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, queue.put_nowait, number.name)
    return queue


async def _drain(proxy: Proxy, listener: Listener, stop: asyncio.Queue[str], log: EventLog) -> None:
    """Readiness fails and listening ends at once; requests in flight may finish, until time is up or a second signal comes."""
    seconds = proxy.config.timeouts.shutdown
    listener.close()
    log("info", "stopping", connections=len(proxy.clients), requests=proxy.in_flight, tunnels=len(proxy.tunnels), seconds=seconds)
    drain = asyncio.create_task(proxy.drain(seconds))
    again = asyncio.create_task(stop.get())
    await asyncio.wait((drain, again), return_when=asyncio.FIRST_COMPLETED)
    if not drain.done():
        drain.cancel()
    broken = proxy.break_off()
    again.cancel()
    await asyncio.gather(drain, again, return_exceptions=True)
    log("warning" if broken else "info", "stopped", broken_connections=broken)


def _raise_descriptor_limit(config: Config, log: EventLog) -> None:
    """Ask for as many open files as the connections may need, and say so if they are not to be had."""
    needed = config.limits.max_connections + sum(backend.max_connections for backend in config.backends) + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed and soft < needed:
        log("warning", "few_descriptors", limit=max(soft, allowed), needed=needed, cure="raise it: ulimit -n, or LimitNOFILE of the service")
