"""What goes wrong, and how many requests may fail of it."""

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
class Fault:
    """`begin` and `end` cause and undo it. `most`: failed requests that are allowed, None: as many as `Stage.exposed` says."""

    name: str
    backend: str
    begin: Act
    end: Act
    most: int | None
    seconds: float = LASTS_SECONDS


async def _nothing(_stage: Stage) -> None:
    pass


def becoming(name: str, backends: str, mode: Mode, most: int, seconds: float = LASTS_SECONDS) -> Fault:
    """Backends, a letter each, behave differently for a while."""

    def turned(to: Mode) -> Act:
        async def act(stage: Stage) -> None:
            for backend in backends:
                stage.origins[backend].become(to)

        return act

    return Fault(name, backends, turned(mode), turned(Mode.ANSWER), most, seconds)


def signalled(backend: str, number: signal.Signals) -> Act:
    async def act(stage: Stage) -> None:
        stage.origins[backend].signal(number)

    return act


def turning(backend: str, action: str) -> Act:
    async def act(stage: Stage) -> None:
        await stage.turn(backend, action)

    return act


async def _kill(stage: Stage) -> None:
    await asyncio.to_thread(stage.origins["a"].kill)


async def _restart(stage: Stage) -> None:
    stage.origins["a"].start()


async def _reload(stage: Stage) -> None:
    """Weights change each time; the spare backend comes and goes."""
    for turn in range(RELOADS):
        weights = {name: 1 + (turn + place) % 3 for place, name in enumerate(KEPT)}
        await stage.reload(weights | ({SPARE: 2} if turn % 2 else {}))
        await asyncio.sleep(LASTS_SECONDS / RELOADS)
    await stage.reload()


async def _kill_worker(stage: Stage) -> None:
    await stage.kill_worker()


async def _restarted_worker(stage: Stage) -> None:
    await stage.until(lambda: len(stage.events("worker_started")) > WORKERS, "the worker is started anew")


async def _errors(stage: Stage) -> None:
    await stage.reload(retry={**SETTINGS["retry"], "on_status": 500})
    stage.origins["b"].become(Mode.ERROR)


async def _no_errors(stage: Stage) -> None:
    stage.origins["b"].become(Mode.ANSWER)
    await stage.reload()


DRAINED = Fault("drained", "c", turning("c", "drain"), turning("c", "enable"), 0)
RELOADED = Fault(f"{RELOADS} reloads", "-", _reload, _nothing, 0)
FLAPPING = becoming("health flaps", "d", Mode.FLAP, 0, seconds=2 * LASTS_SECONDS)
FAULTS = (
    Fault("killed, restarted", "a", _kill, _restart, 0),
    Fault("hung", "b", signalled("b", signal.SIGSTOP), signalled("b", signal.SIGCONT), 0),
    becoming("resets before the head", "c", Mode.RESET, 0),
    becoming("resets within the head", "d", Mode.HALF, 0),
    becoming("takes 2 s", "a", Mode.SLOW, 0),
    becoming("answers 500", "b", Mode.ERROR, WINDOW),
    Fault("answers 500, tried again", "b", _errors, _no_errors, 0),
    FLAPPING,
    becoming("health of all 4 fails", "".join(KEPT), Mode.SICK, 0),
    DRAINED,
    RELOADED,
)
WORKER = Fault(f"a worker of {WORKERS} killed", "-", _kill_worker, _restarted_worker, None)
OF_WORKERS = (WORKER, DRAINED, RELOADED)
"""For a stage of several workers. Who is connected to one that is killed loses what is under way."""
OUTAGE = becoming("all 4 reset", "".join(KEPT), Mode.HALF, UNLIMITED, seconds=2 * LASTS_SECONDS)
"""For a stage without breakers and checks: what is left is the budget of retries."""
UNGUARDED = {"circuit_breaker": False, "health_check": False, "retry": {}}
"""Settings of that stage."""
