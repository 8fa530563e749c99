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
from balance.lb.control.service import STOPPING, Stop, process_instruments
from balance.lb.control.workers import WorkerHandle, WorkerSpec
from balance.lb.data.sockets import Sockets, addresses, close_sockets, describe, open_sockets, places_of, split
from balance.lb.errors import StartError
from balance.lb.logs import EventLog
from balance.lb.policy import restarts
from balance.snapshot import Snapshot, merge

_SNAPSHOT_SECONDS = 1.0
"""Between two snapshots of a worker that nobody asks for."""
_ANSWER_SECONDS = 2.0
"""Seconds that a worker may take to answer; then its last snapshot counts, and it is missing in the status."""
_PREPARE_SECONDS = 10.0
"""Seconds that a worker may take to get ready for another configuration."""
_KILL_SECONDS = 2.0
"""Seconds beyond its time, or in a hurry, after which a worker is killed."""


class Supervisor:
    """`start`, then `stop`; meanwhile it is what the admin server tells about."""

    def __init__(self, config: Config, spec: WorkerSpec, log: EventLog) -> None:
        self.config = config
        self._log = log
        self._stopping = False
        self._spec = spec
        self._turn = asyncio.Lock()
        self._workers = [WorkerHandle(index) for index in range(spec.count)]
        self._tasks: list[asyncio.Task[None]] = []
        self.instruments = process_instruments()
        self.instruments.gauge(metrics.WORKERS_CONFIGURED).set(spec.count)
        self.instruments.computed(metrics.WORKERS, lambda: len(self._running))
        self._restarts = [self.instruments.counter(metrics.WORKER_RESTARTS, worker=str(worker.index)) for worker in self._workers]

    def __repr__(self) -> str:
        return f"<Supervisor of {self._workers}>"

    @property
    def _running(self) -> list[WorkerHandle]:
        return [worker for worker in self._workers if worker.running]

    async def start(self) -> None:
        """Reserve the places and start all workers, or none and raise `StartError`."""
        async with self._turn:
            self._spec = replace(self._spec, sockets=await asyncio.to_thread(open_sockets, self.config, reserve=True))
            results = await asyncio.gather(*(worker.start(self._spec) for worker in self._workers), return_exceptions=True)
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

    async def _keep(self, worker: WorkerHandle) -> None:
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
                    await self._collect_drained()
                    await worker.start(self._spec)
            except StartError as error:
                self._log("warning", "worker_not_started", worker=worker.index, cause=str(error))
            else:
                self._log("info", "worker_started", worker=worker.index, pid=worker.pid)

    async def _take_regularly(self) -> None:
        while True:
            await asyncio.sleep(_SNAPSHOT_SECONDS)
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
        await asyncio.wait((ended, hurried), timeout=seconds + _KILL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done() and not ended.done():
            hurries = asyncio.gather(*(worker.stop(0) for worker in self._running))
            await asyncio.wait((ended, hurries), timeout=_KILL_SECONDS, return_when=asyncio.ALL_COMPLETED)
        hurried.cancel()
        for worker in self._workers:
            worker.kill()
        await ended
        broken = sum(await asyncio.gather(*stops))
        self._log("warning" if broken else "info", "stopped", broken_connections=broken)

    def addresses(self) -> dict[str, list[str]]:
        """Where clients can connect."""
        return addresses(self._spec.sockets)

    def close(self) -> None:
        """Give up the places."""
        close_sockets(self._spec.sockets)
        self._spec = replace(self._spec, sockets={})

    async def ask(self, command: str, /, **arguments: Any) -> dict[WorkerHandle, Any]:
        """What each worker answers to a command; those that run and answer in time. One that refuses is missing, too."""
        answers = await self._ask(command, _ANSWER_SECONDS, **arguments)
        return {worker: answer for worker, answer in answers.items() if not isinstance(answer, BaseException)}

    async def _ask(self, command: str, seconds: float, /, **arguments: Any) -> dict[WorkerHandle, Any]:
        """The same with the errors of the others."""
        running = self._running
        asked = (asyncio.wait_for(worker.ask(command, **arguments), seconds) for worker in running)
        return dict(zip(running, await asyncio.gather(*asked, return_exceptions=True), strict=True))

    # --- another configuration ---

    async def apply(self, text: str, config: Config) -> None:
        """Put it in force in all workers, and in those that will be started: once all are ready for it. Raises `StartError` if one refuses."""
        async with self._turn:
            self._refuse_if_stopping()
            added = await asyncio.to_thread(open_sockets, config, self._spec.sockets, reserve=True)
            try:
                await self._prepare(text, added)
                self._refuse_if_stopping()
            except BaseException:
                close_sockets(added)
                raise
            kept, gone = split(self._spec.sockets, places_of(config))
            self._spec = replace(self._spec, text=text, sockets=kept | added)
            self.config = config
            await self.ask("adopt")
            close_sockets(gone)
            await self._collect_drained()
            await self._take()

    def _refuse_if_stopping(self) -> None:
        if self._stopping:
            raise StartError(STOPPING)

    async def _prepare(self, text: str, added: Sockets) -> None:
        """Have all workers get ready, or none."""
        paths = [Problem(str(address), "cannot be added to several workers", "restart") for address, _secure in added if address.path]
        answers = {} if paths else await self._ask("prepare", _PREPARE_SECONDS, text=text, places=describe(added))
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

    async def unready_reason(self) -> str:
        """The workers' reason, if no worker is ready."""
        if self._stopping:
            return STOPPING
        reasons: Sequence[str] = list((await self.ask("unready_reason")).values())
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
            await asyncio.wait(taking, timeout=_ANSWER_SECONDS)
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
            self._spec = replace(self._spec, drained=self._spec.drained | one if drained else self._spec.drained - one)
            return []

    async def _collect_drained(self) -> None:
        """The workers know which backends are drained and still there; if none runs, it is as it was."""
        answers = await self.ask("drained")
        if answers:
            self._spec = replace(self._spec, drained=frozenset().union(*answers.values()))
