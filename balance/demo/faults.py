"""What can be broken at the press of a button, and which alert says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from balance.demo.origins import Faults, Origin

LIMIT = 600
"""Client connections that the balancer accepts."""
FLOOD = 500
"""Connections of a flood: beyond the alert's share of the limit, though each worker's half of them is below its half of the limit."""
HOARD, HEAD = 40, 768 * 1024
"""Connections with a head that never ends, and the bytes of it that come."""
PIECE, PAUSE = 48 * 1024, 0.05
"""Bytes that such a connection sends at a time, and the seconds between two times."""
ROOM = HOARD * HEAD
"""Bytes by which the balancer may grow before the alert on memory; heads are held twice while they grow."""


class Clients:
    """Connections that ask for nothing, kept open whatever the balancer does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self, count: int, first: bytes = b"") -> None:
        """Open so many more, and send these bytes on each."""
        self._tasks |= {asyncio.create_task(self._one(first)) for _ in range(count)}

    async def leave(self) -> None:
        """Close all of them."""
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


class World:
    """What faults act on: backends, and clients of the balancer. `active` are the names of the faults that are on."""

    def __init__(self, origins: list[Origin], front: int) -> None:
        self.origins = origins
        self.flood, self.hoard = Clients(front), Clients(front)
        self.active: set[str] = set()

    async def switch(self, name: str, *, on: bool) -> None:
        """Begin a fault, or end it. Raises `KeyError` for a name that is none."""
        fault = FAULTS[name]
        if on != (name in self.active):
            self.active ^= {name}
            await (fault.begin if on else fault.end)(self)

    async def calm(self) -> None:
        """End all faults."""
        for name in tuple(self.active):
            await self.switch(name, on=False)


Act = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """A button: what it says, what happens, the alert that comes of it, and the panel to watch."""

    title: str
    words: str
    alert: str
    begin: Act
    end: Act


KILLED = {"backend": (1,), "backends": (0, 1, 2)}
"""The backends that are dead while a fault is on."""


async def _kill(world: World) -> None:
    """Let those backends live that no fault wants dead."""
    dead = {index for name in world.active for index in KILLED.get(name, ())}
    for index, origin in enumerate(world.origins):
        await (origin.kill() if index in dead else origin.start())


def _wrong(indices: tuple[int, ...], faults: Faults) -> tuple[Act, Act]:
    """These backends do the faults that are given, beside those that they do already."""
    given = {name: value for name, value in vars(faults).items() if value}

    async def begin(world: World) -> None:
        for index in indices:
            vars(world.origins[index].faults).update(given)

    async def end(world: World) -> None:
        for index in indices:
            vars(world.origins[index].faults).update(dict.fromkeys(given, 0.0))

    return begin, end


async def _flood(world: World) -> None:
    world.flood.hold(FLOOD)


async def _ebb(world: World) -> None:
    await world.flood.leave()


async def _hoard(world: World) -> None:
    world.hoard.hold(HOARD, b"GET / HTTP/1.1\r\nX-Endless: " + b"x" * HEAD)


async def _release(world: World) -> None:
    await world.hoard.leave()


ALL = (0, 1, 2)
FAULTS = {
    "backend": Fault("Kill backend 2", "Its process dies. The breaker opens, then its health checks fail.", "BalanceBackendDown", _kill, _kill),
    "backends": Fault("Kill all", "Nobody is left to answer: every request gets 503.", "BalanceAllBackendsDown", _kill, _kill),
    "errors": Fault("Errors", "A third of the answers are 500, from every backend.", "BalanceHighErrorRate", *_wrong(ALL, Faults(errors=0.33))),
    "slowness": Fault("Slowness", "Backend 3 takes two seconds longer.", "BalanceHighLatency", *_wrong((2,), Faults(delay=2))),
    "flood": Fault("Flood", f"{FLOOD} clients connect, say nothing and stay.", "BalanceHighConnections", _flood, _ebb),
    "memory": Fault("Memory", f"{HOARD} clients send heads that never end.", "BalanceHighMemoryUsage", _hoard, _release),
    "retries": Fault("Retries", "Backends hang up on half of the GETs; others step in.", "BalanceHighRetryRate", *_wrong(ALL, Faults(hang_ups=0.5))),
    "breaker": Fault("Breaker", "Backend 1 answers 503, yet its health checks pass.", "BalanceCircuitBreakerOpen", *_wrong((0,), Faults(refusals=1))),
}  # fmt: skip
"""By the name that the page sends."""
