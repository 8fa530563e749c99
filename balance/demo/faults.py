"""Faults that buttons of the page switch on and off, and the alert that each one causes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from balance.demo.origins import Faults, Origin

LIMIT = 600
"""Limit of client connections of the balancer."""
FLOOD = 500
"""Connections of a flood: above the threshold of the alert, while each worker's half stays below half of the limit."""
HOARD, HEAD = 40, 768 * 1024
"""Connections with an endless request head, and the bytes of it that each sends."""
PIECE, PAUSE = 48 * 1024, 0.05
"""Bytes that such a connection sends at a time, and the seconds between two sends."""
ROOM = HOARD * HEAD
"""Bytes by which the balancer may grow before the memory alert; growing heads are buffered twice."""


class Clients:
    """Idle client connections, opened again whenever the balancer closes them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self, count: int, first: bytes = b"") -> None:
        """Open `count` more connections, and send the bytes `first` on each."""
        self._tasks |= {asyncio.create_task(self._one(first)) for _ in range(count)}

    async def close(self) -> None:
        """Close all connections."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, first: bytes) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    for place in range(0, len(first), PIECE):
                        writer.write(first[place : place + PIECE])
                        await asyncio.sleep(PAUSE)
                    await reader.read()
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.5)


class DemoEnvironment:
    """The backends and clients that faults act on. `active` are the names of the faults that are on."""

    def __init__(self, origins: list[Origin], front: int) -> None:
        self.origins = origins
        self.flood, self.hoard = Clients(front), Clients(front)
        self.active: set[str] = set()

    async def switch(self, name: str, *, on: bool) -> None:
        """Begin or end a fault. Raises `KeyError` for an unknown name."""
        fault = FAULTS[name]
        if on != (name in self.active):
            self.active ^= {name}
            await (fault.begin if on else fault.end)(self)

    async def end_all(self) -> None:
        """End all faults."""
        for name in tuple(self.active):
            await self.switch(name, on=False)


Act = Callable[[DemoEnvironment], Awaitable[None]]


@dataclass(frozen=True)
class DemoFault:
    """A button: its title, a description, the alert that the fault causes, and how it begins and ends."""

    title: str
    description: str
    alert: str
    begin: Act
    end: Act


KILLED = {"backend": (1,), "backends": (0, 1, 2)}
"""The backends that are dead while a fault is on."""


async def _kill(environment: DemoEnvironment) -> None:
    """Kill the backends that an active fault kills, and start the others."""
    dead = {index for name in environment.active for index in KILLED.get(name, ())}
    for index, origin in enumerate(environment.origins):
        await (origin.kill() if index in dead else origin.start())


def _misbehave(indices: tuple[int, ...], faults: Faults) -> tuple[Act, Act]:
    """Add the faults to these backends, and remove them at the end."""
    given = {name: value for name, value in vars(faults).items() if value}

    async def begin(environment: DemoEnvironment) -> None:
        for index in indices:
            vars(environment.origins[index].faults).update(given)

    async def end(environment: DemoEnvironment) -> None:
        for index in indices:
            vars(environment.origins[index].faults).update(dict.fromkeys(given, 0.0))

    return begin, end


async def _flood(environment: DemoEnvironment) -> None:
    environment.flood.hold(FLOOD)


async def _end_flood(environment: DemoEnvironment) -> None:
    await environment.flood.close()


async def _hoard(environment: DemoEnvironment) -> None:
    environment.hoard.hold(HOARD, b"GET / HTTP/1.1\r\nX-Endless: " + b"x" * HEAD)


async def _end_hoard(environment: DemoEnvironment) -> None:
    await environment.hoard.close()


ALL = (0, 1, 2)
FAULTS = {
    "backend": DemoFault(
        "Kill backend 2", "Backend 2 stops. Its circuit breaker opens, then its health checks fail.", "BalanceBackendDown", _kill, _kill
    ),
    "backends": DemoFault("Kill all", "No backend is left: every request gets 503.", "BalanceAllBackendsDown", _kill, _kill),
    "errors": DemoFault(
        "Errors", "Every backend answers a third of its requests with 500.", "BalanceHighErrorRate", *_misbehave(ALL, Faults(errors=0.33))
    ),
    "slowness": DemoFault("Slowness", "Backend 3 is two seconds slower.", "BalanceHighLatency", *_misbehave((2,), Faults(delay=2))),
    "flood": DemoFault("Flood", f"{FLOOD} clients connect and stay idle.", "BalanceHighConnections", _flood, _end_flood),
    "memory": DemoFault("Memory", f"{HOARD} clients send endless request heads.", "BalanceHighMemoryUsage", _hoard, _end_hoard),
    "retries": DemoFault(
        "Retries",
        "Backends close the connection on half of the GET requests, which are retried.",
        "BalanceHighRetryRate",
        *_misbehave(ALL, Faults(hang_ups=0.5)),
    ),
    "breaker": DemoFault(
        "Breaker", "Backend 1 answers 503 while its health checks pass.", "BalanceCircuitBreakerOpen", *_misbehave((0,), Faults(refusals=1))
    ),
}
"""By the name in the address of the button's form."""
