"""`balance demo`: three backends, the balancer as a process in front of them, traffic, and a page that shows it all and can break it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from balance.config.kinds import Duration, KindError
from balance.demo import faults, motion, traffic
from balance.demo.live import Live, metrics
from balance.demo.origins import Origin
from balance.demo.programs import balancer, free_port, running
from balance.demo.server import application
from balance.demo.watch import External
from balance.generate import build, collect
from balance.lb.errors import StartError
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

BACKENDS = ("backend-1", "backend-2", "backend-3")
SUMMARY = """\
Open    http://{page}/
        panels, alerts, and buttons that break things; alerts take seconds here, and a day takes {day:.0f}

        balancer      http://{front}/         two workers in front of {backends}
        admin port    http://{admin}/metrics  also /status, /health, /ready, /version
        rules         evaluated by {rules}
{more}
{end}
"""


@dataclass(frozen=True)
class Options:
    """Options of `balance demo`. Port 0 means any free one; `grafana` is a directory for Grafana provisioning files."""

    port: int = 8080
    admin_port: int = 9090
    page_port: int = 9091
    duration: str | None = None
    embedded: bool = False
    grafana: str | None = None


def run(options: Options) -> int:
    """Run the demo until a signal or the end of the duration; returns the exit code. Raises `BalanceError`."""
    try:
        seconds = Duration().parse(options.duration) if options.duration else None
    except KindError as error:
        raise StartError(error.what, where="--duration", cure=error.cure) from None
    return asyncio.run(_demo(options, seconds))


async def _demo(options: Options, seconds: float | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(_listener(options.page_port))
        origins = [Origin(name) for name in BACKENDS]
        for origin in origins:
            await origin.start()
            stack.push_async_callback(origin.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="balance-demo-")))
        config = folder / "balance.yaml"
        config.write_text(yaml.safe_dump(_configuration(options, origins)))
        declared = asyncio.create_task(asyncio.to_thread(collect.collect, Settings()))  # while the balancer starts
        process, started = await stack.enter_async_context(balancer(config))
        front, admin = started["listen"][0], str(started["admin"])
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)))
        environment = faults.DemoEnvironment(origins, int(front.rpartition(":")[2]))
        stack.push_async_callback(environment.end_all)

        programs = {} if options.embedded else _programs()
        places = motion.Places(admin, _address(listener), *(f"127.0.0.1:{free_port()}" for _ in range(2)))
        memory = motion.resident(await metrics(session, admin) or "") + faults.ROOM
        home = Path(options.grafana) if options.grafana else folder
        tree = motion.settings((await declared)[0], places, memory, home)
        bundle, settings = await asyncio.to_thread(motion.collected, tree, folder)
        if options.grafana:
            motion.write(bundle, settings, home, build.dashboards, build.provisioning, build.rule_files, build.prometheus)
        external = External(session, f"http://{places.prometheus}", f"http://{places.alertmanager}") if programs else None
        if external:
            await asyncio.to_thread(motion.write, bundle, settings, folder, build.prometheus, build.alertmanager)
            processes = [await stack.enter_async_context(running(command, errors=DEVNULL)) for command in _commands(programs, places, folder)]
            later = asyncio.create_task(_rules(external, processes[-1], bundle, settings, folder))
            stack.push_async_callback(_cancel, later)
        live = Live(bundle, settings, session, environment, admin, external)
        site = web.AppRunner(application(environment, live.page, live.notified), access_log=None, shutdown_timeout=0.5)
        await site.setup()
        stack.push_async_callback(site.cleanup)
        await web.SockSite(site, listener).start()
        tasks = [asyncio.create_task(one) for one in (traffic.send(f"http://{front}"), live.watch())]
        for task in tasks:
            stack.push_async_callback(_cancel, task)
        print(_summary(options, places, front, live, programs, seconds), flush=True)

        died = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((died, stopped, *tasks), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # these tasks never end by themselves: raise what ended one
        ended_itself = died.done()
        await _cancel(died)
        await _cancel(stopped)
    if ended_itself:
        raise StartError(f"the balancer ended by itself with exit code {process.returncode}", where="demo", cure="see its last lines above")
    return 0


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OverflowError:
        raise StartError(f"invalid port {port}", where="--page-port", cure="must be 0 to 65535") from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise StartError(f"cannot listen: {reason}", where=f"127.0.0.1:{port}", cure="choose another port: --page-port") from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def _programs() -> dict[str, str]:
    """Paths of Prometheus and Alertmanager, if both are on the PATH; in Debian the latter is prometheus-alertmanager."""
    found = {name: shutil.which(name) or shutil.which(f"prometheus-{name}") for name in ("prometheus", "alertmanager")}
    return {name: path for name, path in found.items() if path} if all(found.values()) else {}


def _commands(programs: dict[str, str], places: motion.Places, folder: Path) -> list[list[str]]:
    return [
        [
            programs["alertmanager"], f"--config.file={folder / 'alertmanager' / 'alertmanager.yml'}", f"--storage.path={folder / 'silences'}",
            f"--web.listen-address={places.alertmanager}", "--cluster.listen-address=",
        ],
        [
            programs["prometheus"], f"--config.file={folder / 'prometheus' / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'samples'}",
            f"--web.listen-address={places.prometheus}", "--rules.alert.resend-delay=2s",
        ],
    ]  # fmt: skip


async def _rules(external: External, prometheus: asyncio.subprocess.Process, bundle: Bundle, settings: Settings, folder: Path) -> None:
    """Give Prometheus its rules once it has scraped the balancer: before that, the target would count as down."""
    await external.scraped()
    await asyncio.to_thread(motion.write, bundle, settings, folder, build.rule_files)
    os.kill(prometheus.pid, signal.SIGHUP)


def _summary(options: Options, places: motion.Places, front: str, live: Live, programs: dict[str, str], seconds: float | None) -> str:
    """What to print when everything has started: the addresses."""
    more = ""
    if programs:
        rules = "Prometheus and Alertmanager, found on the PATH (--embedded: do not use them)"
        more += f"        Prometheus    http://{places.prometheus}/\n        Alertmanager  http://{places.alertmanager}/\n"
    else:
        rules = "the embedded evaluator" + ("" if options.embedded else ", since prometheus and alertmanager are not both on the PATH")
    if options.grafana:
        more += f"        for Grafana   {options.grafana}: provisioning/ and dashboards/"
        more += "\n" if programs else f"; for the data source: {_prometheus_command(options.grafana, places)}\n"
    end = f"Ends after {seconds:g} s." if seconds else "Ctrl-C ends it."
    return SUMMARY.format(
        page=places.page, front=front, admin=places.admin, backends=", ".join(BACKENDS), rules=rules, more=more, end=end, day=traffic.DAY
    )  # fmt: skip


def _prometheus_command(folder: str, places: motion.Places) -> str:
    return f"prometheus --config.file={folder}/prometheus/prometheus.yml --web.listen-address={places.prometheus}"


def _configuration(options: Options, origins: list[Origin]) -> dict[str, object]:
    return {
        "listen": f"127.0.0.1:{options.port}",
        "workers": 2,
        "admin": {"listen": f"127.0.0.1:{options.admin_port}"},
        "backends": [{"name": origin.name, "address": f"127.0.0.1:{origin.port}"} for origin in origins],
        "health_check": {"type": "http", "path": "/health", "interval": "500ms", "timeout": "2s", "healthy_threshold": 2, "unhealthy_threshold": 2},
        "circuit_breaker": {"open_for": "3s"},
        "retry": {"budget_percent": 50, "budget_per_second": 100},
        "limits": {"max_connections": faults.LIMIT, "max_header_size": "1MiB"},
        "log": {"access": False},
        "timeouts": {"request_header": "60s", "shutdown": "2s"},
    }


async def _cancel(task: asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[int] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
