"""Several worker processes as one service.

Theory. The supervisor serves no client. It reserves the ports (`data.sockets`), starts the workers, tells each the same configuration text,
starts anew what has ended, and answers for all of them on the admin port. It takes a snapshot of every worker each second and for each
scrape; when a process ends, its last counts are kept, so no counter ever goes back. Of a worker that is killed, what it counted since it
was last asked (a second at most) is lost; one that ends in good order sends its last counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from balance.errors import BalanceError, Problem
from balance.lb.catalog import metrics
from balance.lb.config import Config
from balance.lb.control import status
from balance.lb.control.service import STOPPING, Stop, instruments_of_a_process
from balance.lb.control.workers import Order, Worker
from balance.lb.data.sockets import Sockets, addresses, discard, opened, places_of, split, told
from balance.lb.errors import StartError
from balance.lb.logs import EventLog
from balance.lb.policy import restarts
from balance.snapshot import Snapshot, merge

_TAKE_SECONDS = 1.0
"""Between two snapshots of a worker that nobody asks for."""
_PATIENCE = 2.0
"""Seconds that a worker may take to answer; then its last snapshot counts, and it is missing in the status."""
_TO_PREPARE = 10.0
"""Seconds that a worker may take to get ready for another configuration."""
_GRACE = 2.0
"""Seconds beyond its time, or in a hurry, after which a worker is killed."""


class Supervisor:
    """`start`, then `stop`; meanwhile it is what the admin server tells about."""

    def __init__(self, config: Config, order: Order, log: EventLog) -> None:
        self.config = config
        self._log = log
        self._stopping = False
        self._order = order
        self._turn = asyncio.Lock()
        self._workers = [Worker(index) for index in range(order.count)]
        self._tasks: list[asyncio.Task[None]] = []
        self.instruments = instruments_of_a_process()
        self.instruments.gauge(metrics.WORKERS_CONFIGURED).set(order.count)
        self.instruments.computed(metrics.WORKERS, lambda: len(self._running))
        self._restarts = [self.instruments.counter(metrics.WORKER_RESTARTS, worker=str(worker.index)) for worker in self._workers]

    def __repr__(self) -> str:
        return f"<Supervisor of {self._workers}>"

    @property
    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.running]

    async def start(self) -> None:
        """Reserve the places and start all workers, or none and raise `StartError`."""
        async with self._turn:
            self._order = replace(self._order, sockets=await asyncio.to_thread(opened, self.config, reserve=True))
            results = await asyncio.gather(*(worker.start(self._order) for worker in self._workers), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                for worker in self._workers:
                    worker.kill()
                raise error
        for worker in self._workers:
            self._log("info", "worker_started", worker=worker.index, pid=worker.pid)
        self._tasks = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        if self.config.metrics.enabled:
            self._tasks.append(asyncio.create_task(self._take_regularly()))

    async def _keep(self, worker: Worker) -> None:
        """Start it anew whenever it has ended."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            how = await worker.ended()
            self._log("warning", "worker_ended", worker=worker.index, pid=worker.pid, **how)
            failures, pause = restarts.ended(failures, loop.time() - worker.started)
            self._log("info", "worker_restarting", worker=worker.index, seconds=pause)
            await asyncio.sleep(pause)
            self._restarts[worker.index].inc()
            try:
                async with self._turn:  # so that nobody starts with what a reload is about to replace
                    await self._note_drained()
                    await worker.start(self._order)
            except StartError as error:
                self._log("warning", "worker_not_started", worker=worker.index, cause=str(error))
            else:
                self._log("info", "worker_started", worker=worker.index, pid=worker.pid)

    async def _take_regularly(self) -> None:
        while True:
            await asyncio.sleep(_TAKE_SECONDS)
            for worker in self._running:
                worker.take()
            self._forget()

    async def stop(self, stop: Stop) -> None:
        """Have all workers end in good order within `timeouts.shutdown`, or at once if there is a hurry; what is left then is killed."""
        seconds = self.config.timeouts.shutdown
        self._stopping = True
        self.close()
        self._log("info", "stopping", workers=len(self._running), seconds=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        stops = [asyncio.create_task(worker.stop(seconds)) for worker in self._running]
        ends = [asyncio.create_task(worker.ended()) for worker in self._running]
        hurried = asyncio.create_task(stop.hurry.wait())
        ended = asyncio.gather(*ends)
        await asyncio.wait((ended, hurried), timeout=seconds + _GRACE, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done() and not ended.done():
            hurries = asyncio.gather(*(worker.stop(0) for worker in self._running))
            await asyncio.wait((ended, hurries), timeout=_GRACE, return_when=asyncio.ALL_COMPLETED)
        hurried.cancel()
        for worker in self._workers:
            worker.kill()
        await ended
        broken = sum(await asyncio.gather(*stops))
        self._log("warning" if broken else "info", "stopped", broken_connections=broken)

    def addresses(self) -> dict[str, list[str]]:
        """Where clients can connect."""
        return addresses(self._order.sockets)

    def close(self) -> None:
        """Give up the places."""
        discard(self._order.sockets)
        self._order = replace(self._order, sockets={})

    async def ask(self, command: str, /, **arguments: Any) -> dict[Worker, Any]:
        """What each worker answers to a command; those that run and answer in time. One that refuses is missing, too."""
        answers = await self._ask(command, _PATIENCE, **arguments)
        return {worker: answer for worker, answer in answers.items() if not isinstance(answer, BaseException)}

    async def _ask(self, command: str, patience: float, /, **arguments: Any) -> dict[Worker, Any]:
        """The same with the errors of the others."""
        running = self._running
        asked = (asyncio.wait_for(worker.ask(command, **arguments), patience) for worker in running)
        return dict(zip(running, await asyncio.gather(*asked, return_exceptions=True), strict=True))

    # --- another configuration ---

    async def apply(self, text: str, config: Config) -> None:
        """Put it in force in all workers, and in those that will be started: once all are ready for it. Raises `StartError` if one refuses."""
        async with self._turn:
            self._refuse_if_stopping()
            added = await asyncio.to_thread(opened, config, self._order.sockets, reserve=True)
            try:
                await self._prepare(text, added)
                self._refuse_if_stopping()
            except BaseException:
                discard(added)
                raise
            kept, gone = split(self._order.sockets, places_of(config))
            self._order = replace(self._order, text=text, sockets=kept | added)
            self.config = config
            await self.ask("adopt")
            discard(gone)
            await self._note_drained()
            await self._take()

    def _refuse_if_stopping(self) -> None:
        if self._stopping:
            raise StartError(STOPPING)

    async def _prepare(self, text: str, added: Sockets) -> None:
        """Have all workers get ready, or none."""
        paths = [Problem(str(address), "cannot be added to several workers", "restart") for address, _secure in added if address.path]
        answers = {} if paths else await self._ask("prepare", _TO_PREPARE, text=text, places=told(added))
        problems = dict.fromkeys(paths)
        for worker, answer in answers.items():
            if isinstance(answer, BalanceError):
                problems |= dict.fromkeys(answer.problems)
            elif isinstance(answer, TimeoutError):
                problems[Problem(f"worker {worker.index}", "does not answer", f"end its process, {worker.pid}: another will be started")] = None
        if problems:  # whoever has ended is no problem: it is started anew with what is in force then
            await self.ask("abandon")
            raise StartError(problems=problems)

    # --- what the admin server shows and does ---

    async def unready(self) -> str:
        """The workers' reason, if no worker is ready."""
        if self._stopping:
            return STOPPING
        reasons: Sequence[str] = list((await self.ask("unready")).values())
        return min(reasons, default="no worker is running")  # the empty text, which is none, comes first

    async def status(self) -> dict[str, Any]:
        """All workers as one, and each."""
        answers = await self.ask("status")
        each = [
            {"worker": worker.index, "pid": worker.pid, "running": worker.running, "restarts": int(self._restarts[worker.index].value)}
            | ({key: answers[worker][key] for key in ("connections", "requests", "tunnels")} if worker in answers else {})
            for worker in self._workers
        ]
        whole = status.merged(list(answers.values())) if answers else {"ready": False}
        return {**whole, "draining": self._stopping, "workers": each}

    async def snapshot(self) -> Snapshot:
        """All series, merged; of a worker that does not answer in time, as they were when it last did."""
        await self._take()
        past_and_present = (snapshot for worker in self._workers for snapshot in worker.snapshots())
        return merge(metrics.CATALOG, (self.instruments.snapshot(), *past_and_present))

    async def _take(self) -> None:
        """Take a snapshot of all workers, as far as they answer in time."""
        taking = [worker.take() for worker in self._running]
        if taking:
            await asyncio.wait(taking, timeout=_PATIENCE)
        self._forget()

    def _forget(self) -> None:
        """What no worker shows any longer is forgotten of those that have ended, too."""
        living = [present for worker in self._workers if (present := worker.snapshots()[1])]
        for worker in self._workers if living else ():
            worker.forget(living)

    async def drain(self, backend: str, *, drained: bool) -> list[str]:
        """In all workers, and in those that will be started."""
        async with self._turn:
            answers: list[list[str]] = list((await self.ask("drain", backend=backend, drained=drained)).values())
            if answers and all(answers):
                return sorted(set().union(*answers))
            one = {backend}
            self._order = replace(self._order, drained=self._order.drained | one if drained else self._order.drained - one)
            return []

    async def _note_drained(self) -> None:
        """The workers know which backends are drained and still there; if none runs, it is as it was."""
        answers = await self.ask("drained")
        if answers:
            self._order = replace(self._order, drained=frozenset().union(*answers.values()))
