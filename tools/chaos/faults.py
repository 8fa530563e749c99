"""The injected faults, and how many requests may fail under each."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tools.chaos.origin import Mode
from tools.chaos.stage import KEPT, SETTINGS, SPARE, WINDOW, Stage

Act = Callable[[Stage], Awaitable[None]]
LASTS_SECONDS = 1.2
UNLIMITED = sys.maxsize
RELOADS = 20
WORKERS = 2


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """`begin` causes the fault and `end` undoes it. `most`: how many requests may fail; None: as many as `Stage.exposed`. It lasts `seconds`."""

    name: str
    backend: str
    begin: Act
    end: Act
    most: int | None
    seconds: float = LASTS_SECONDS


async def _nothing(_stage: Stage) -> None:
    pass


def in_mode(name: str, backends: str, mode: Mode, most: int, seconds: float = LASTS_SECONDS) -> InjectedFault:
    """A fault in which `backends`, one letter each, behave differently for a while."""

    def setting(to: Mode) -> Act:
        async def act(stage: Stage) -> None:
            for backend in backends:
                stage.origins[backend].set_mode(to)

        return act

    return InjectedFault(name, backends, setting(mode), setting(Mode.ANSWER), most, seconds)


def sending(backend: str, number: signal.Signals) -> Act:
    """Send a signal to a backend's process."""

    async def act(stage: Stage) -> None:
        stage.origins[backend].signal(number)

    return act


def switching(backend: str, action: str) -> Act:
    """Drain or enable a backend by the admin API."""

    async def act(stage: Stage) -> None:
        await stage.turn(backend, action)

    return act


async def _kill(stage: Stage) -> None:
    await asyncio.to_thread(stage.origins["a"].kill)


async def _restart(stage: Stage) -> None:
    stage.origins["a"].start()


async def _reload(stage: Stage) -> None:
    """Reload with other weights each time; the spare backend is added and removed."""
    for turn in range(RELOADS):
        weights = {name: 1 + (turn + place) % 3 for place, name in enumerate(KEPT)}
        await stage.reload(weights | ({SPARE: 2} if turn % 2 else {}))
        await asyncio.sleep(LASTS_SECONDS / RELOADS)
    await stage.reload()


async def _kill_worker(stage: Stage) -> None:
    await stage.kill_worker()


async def _restarted_worker(stage: Stage) -> None:
    await stage.until(lambda: len(stage.events("worker_started")) > WORKERS, "the worker is restarted")


async def _errors(stage: Stage) -> None:
    await stage.reload(retry={**SETTINGS["retry"], "on_status": 500})
    stage.origins["b"].set_mode(Mode.ERROR)


async def _no_errors(stage: Stage) -> None:
    stage.origins["b"].set_mode(Mode.ANSWER)
    await stage.reload()


DRAINED = InjectedFault("drained", "c", switching("c", "drain"), switching("c", "enable"), 0)
RELOADED = InjectedFault(f"{RELOADS} reloads", "-", _reload, _nothing, 0)
FLAPPING = in_mode("health flaps", "d", Mode.FLAP, 0, seconds=2 * LASTS_SECONDS)
FAULTS = (
    InjectedFault("killed, restarted", "a", _kill, _restart, 0),
    InjectedFault("hung", "b", sending("b", signal.SIGSTOP), sending("b", signal.SIGCONT), 0),
    in_mode("resets before the head", "c", Mode.RESET, 0),
    in_mode("resets within the head", "d", Mode.HALF, 0),
    in_mode("takes 2 s", "a", Mode.SLOW, 0),
    in_mode("answers 500", "b", Mode.ERROR, WINDOW),
    InjectedFault("answers 500, tried again", "b", _errors, _no_errors, 0),
    FLAPPING,
    in_mode("health of all 4 fails", "".join(KEPT), Mode.SICK, 0),
    DRAINED,
    RELOADED,
)
WORKER_KILLED = InjectedFault(f"a worker of {WORKERS} killed", "-", _kill_worker, _restarted_worker, None)
WORKER_FAULTS = (WORKER_KILLED, DRAINED, RELOADED)
"""For a stage of several workers. Clients of a killed worker lose their requests in flight."""
OUTAGE = in_mode("all 4 reset", "".join(KEPT), Mode.HALF, UNLIMITED, seconds=2 * LASTS_SECONDS)
"""For a stage without breakers and health checks, where only the retry budget limits the attempts."""
NO_BREAKERS = {"circuit_breaker": False, "health_check": False, "retry": {}}
"""Settings of that stage."""
