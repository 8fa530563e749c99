"""The backends and the balancer in front of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tools.chaos.load import CLIENTS
from tools.chaos.origin import FALL, Origin, Slot

PATIENCE = 15.0
"""Timeout of every wait, in seconds; enough for a busy machine."""
KEPT, SPARE = ("a", "b", "c", "d"), "e"
"""Backends that are always there, and one that reloads add and remove."""
EQUAL = dict.fromkeys(KEPT, 1)
"""Weights."""
THRESHOLD = 5
"""Failures in a row that open a breaker."""
WINDOW = CLIENTS + THRESHOLD - 1
"""Requests that a hung backend can affect: the failures that open its breaker, and those in flight
when it opens; each client has one request in flight."""
SETTINGS: dict[str, Any] = {
    "listen": "127.0.0.1:0",
    "failing_status": [500, "502-504"],
    "health_check": {"type": "http", "interval": "200ms", "timeout": "500ms", "healthy_threshold": 1, "unhealthy_threshold": FALL},
    "circuit_breaker": {"failure_threshold": THRESHOLD, "success_threshold": 2, "open_for": "1500ms"},
    "retry": {"per_try_timeout": "300ms"},
    "timeouts": {"shutdown": "2s"},
    "log": {"access": False},
}
"""The balancer's configuration, apart from defaults. No breaker admits probes while a fault lasts, and the default retry budget has
room for the window of one backend."""


class Stage:
    """The running balancer and its backends, inside `async with Stage(directory, workers, settings)`. `exposed`: connections of a killed worker;
    `lost`: requests that backends received between the last scrape before the kill and the worker's end, plus one per client in flight."""

    def __init__(self, directory: Path, workers: int, settings: Mapping[str, Any]) -> None:
        self.origins = {name: Origin(name) for name in (*KEPT, SPARE)}
        self.port = self.exposed = self.lost = 0
        self._settings = {**SETTINGS, **settings, "workers": workers}
        self._config, self._log, self._socket = directory / "balance.yaml", directory / "log", directory / "admin"
        self._process: asyncio.subprocess.Process | None = None
        self._admin: aiohttp.ClientSession

    def __repr__(self) -> str:
        return f"<Stage at {self.port} {list(self.origins.values())}>"

    async def __aenter__(self) -> Stage:
        self._admin = aiohttp.ClientSession("http://admin", connector=aiohttp.UnixConnector(str(self._socket)))
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        for origin in self.origins.values():
            origin.start()
        await self.until(lambda: all(origin.counters[Slot.PORT] for origin in self.origins.values()), "the backends start")
        self._write(EQUAL, {})
        with self._log.open("wb") as log:
            command = (sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(self._config))
            self._process = process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, stderr=log)
        await self.until(lambda: self.events("started") or process.returncode is not None, "the balancer starts")
        if not self.events("started"):
            raise RuntimeError(self._log.read_text())
        self.port = int(self.events("started")[0]["listen"][0].rpartition(":")[2])

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()
        for origin in self.origins.values():
            origin.kill()
        if self._process:
            if self._process.returncode is None:
                self._process.terminate()
            await asyncio.wait_for(self._process.wait(), PATIENCE)

    def _write(self, weights: Mapping[str, int], sections: Mapping[str, Any]) -> None:
        backends = [{"name": name, "address": f"127.0.0.1:{self.origins[name].counters[Slot.PORT]}", "weight": weights[name]} for name in weights]
        admin = {"listen": f"unix:{self._socket}"}
        self._config.write_text(json.dumps({**self._settings, **sections, "admin": admin, "backends": backends}))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The balancer's log lines of this event."""
        lines = (json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{") and line.endswith("}"))
        return [line for line in lines if line["event"] == name]

    async def reload(self, weights: Mapping[str, int] = EQUAL, **sections: Any) -> None:
        """Reload by SIGHUP with these weights and sections, and wait until the configuration is in force."""
        before = len(self.events("config_reloaded"))
        self._write(weights, sections)
        if self._process:
            self._process.send_signal(signal.SIGHUP)
        await self.until(lambda: len(self.events("config_reloaded")) > before, "the configuration is reloaded")

    async def turn(self, backend: str, action: str) -> None:
        """Drain or enable a backend by the admin API."""
        async with self._admin.post(f"/-/backends/{backend}/{action}") as response:
            response.raise_for_status()

    async def kill_worker(self) -> None:
        """Kill the worker with the most connections (SIGKILL) and wait for its end."""
        worker = max((await self.status())["workers"], key=lambda one: one["connections"]["active"])
        before = self.total_of(Slot.ASKED)
        await self.figures()
        self.exposed = worker["connections"]["active"]
        os.kill(worker["pid"], signal.SIGKILL)
        await self.until(lambda: self.events("worker_ended"), "the worker ends")
        await self.status()  # meanwhile this process reads what its sockets say: every client knows which connections are gone
        self.lost = self.total_of(Slot.ASKED) - before + CLIENTS

    def total_of(self, word: Slot) -> int:
        """Sum of a counter over all backends."""
        return sum(origin.counters[word] for origin in self.origins.values())

    async def status(self) -> Any:
        """`GET /status` of the admin server."""
        async with self._admin.get("/status") as response:
            return await response.json()

    async def figures(self) -> dict[tuple[str, ...], float]:
        """A scrape: values by the name of the series and its label values, in the order of the labels' names."""
        async with self._admin.get("/metrics") as response:
            families = text_string_to_metric_families(await response.text())
        return {(one.name, *(one.labels[label] for label in sorted(one.labels))): one.value for family in families for one in family.samples}

    async def settled(self) -> None:
        """Wait until every backend is available and every breaker closed."""

        async def all_available() -> bool:
            backends = (await self.status())["backends"]
            return all(backend["available"] and backend["circuit_breaker"] == "closed" for backend in backends)

        await self.until(all_available, "all backends are available")

    async def until(self, holds: Callable[[], Any] | Callable[[], Awaitable[Any]], what: str) -> None:
        """Wait for a condition. Raises `RuntimeError` if it does not come true."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not (await found if isinstance(found := holds(), Awaitable) else found):
            if loop.time() > end:
                raise RuntimeError(f"timed out waiting until {what}: {await self.status() if self.port else self}")
            await asyncio.sleep(0.02)
