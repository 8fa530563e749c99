"""Several worker processes as one service.

Theory. The supervisor serves no clients. It reserves the ports (`data.sockets`), starts the workers, sends them all the same
configuration text, restarts those that end, and serves the admin port for all of them. It takes a snapshot of every worker each second
and for each scrape; when a process ends, its last counts are kept, so no counter ever decreases. If a worker is killed, the counts
since its last snapshot (at most a second) are lost; a worker that shuts down gracefully sends its last counts.
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
"""Seconds between two regular snapshots of a worker."""
_ANSWER_SECONDS = 2.0
"""Seconds that a worker may take to answer; after that its last snapshot is used, and it is missing from the status."""
_PREPARE_SECONDS = 10.0
"""Seconds that a worker may take to prepare a configuration."""
_KILL_SECONDS = 2.0
"""Seconds after its shutdown timeout, or after a second stop request, until a worker is killed."""


class Supervisor:
    """Runs the workers: `start` it, then `stop` it; in between the admin server serves it."""

    def __init__(self, config: Config, spec: WorkerSpec, log: EventLog) -> None:
        self.config = config
        self._log = log
        self._stopping = False
        self._spec = spec
        self._lock = asyncio.Lock()
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
        """Reserve the ports and start all workers. Raises `StartError` if one cannot start; then none is running."""
        async with self._lock:
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
        """Restart the worker whenever it ends."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            how = await worker.ended()
            self._log("warning", "worker_ended", worker=worker.index, pid=worker.pid, **how)
            failures, pause = restarts.ended(failures, loop.time() - worker.started)
            self._log("info", "worker_restarting", worker=worker.index, seconds=pause)
            await asyncio.sleep(pause)
            self._restarts[worker.index].inc()
            try:
                async with self._lock:  # so that none starts with a configuration that a reload is about to replace
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
        """Shut all workers down within `timeouts.shutdown`, or at once on `stop.hurry`; then kill the remaining ones."""
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
        """Addresses where clients can connect, by the log's field: "listen" and "tls"."""
        return addresses(self._spec.sockets)

    def close(self) -> None:
        """Close the reserved sockets."""
        close_sockets(self._spec.sockets)
        self._spec = replace(self._spec, sockets={})

    async def ask(self, command: str, /, **arguments: Any) -> dict[WorkerHandle, Any]:
        """Run a command in all workers; returns the results of those that answer in time. Workers that refuse are left out."""
        answers = await self._ask(command, _ANSWER_SECONDS, **arguments)
        return {worker: answer for worker, answer in answers.items() if not isinstance(answer, BaseException)}

    async def _ask(self, command: str, seconds: float, /, **arguments: Any) -> dict[WorkerHandle, Any]:
        """The same, with the exceptions of workers that fail or do not answer within `seconds`."""
        running = self._running
        asked = (asyncio.wait_for(worker.ask(command, **arguments), seconds) for worker in running)
        return dict(zip(running, await asyncio.gather(*asked, return_exceptions=True), strict=True))

    # --- reload ---

    async def apply(self, text: str, config: Config) -> None:
        """Activate a configuration in all workers, once all are prepared, and in those started later. Raises `StartError` if one refuses."""
        async with self._lock:
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
        """Prepare all workers. Raises `StartError` with the problems if one cannot; then none keeps it prepared."""
        paths = [
            Problem(str(address), "a Unix socket cannot be added to several workers by a reload", "restart")
            for address, _secure in added
            if address.path
        ]
        answers = {} if paths else await self._ask("prepare", _PREPARE_SECONDS, text=text, places=describe(added))
        problems = dict.fromkeys(paths)
        for worker, answer in answers.items():
            if isinstance(answer, BalanceError):
                problems |= dict.fromkeys(answer.problems)
            elif isinstance(answer, TimeoutError):
                problems[Problem(f"worker {worker.index}", "does not answer", f"kill its process {worker.pid}: it will be restarted")] = None
        if problems:  # a worker that has ended is no problem: it restarts with the active configuration
            await self.ask("abandon")
            raise StartError(problems=problems)

    # --- what the admin server shows and does ---

    async def unready_reason(self) -> str:
        """Why it should get no traffic; empty if at least one worker is ready."""
        if self._stopping:
            return STOPPING
        reasons: Sequence[str] = list((await self.ask("unready_reason")).values())
        return min(reasons, default="no worker is running")  # the empty text (ready) is the smallest

    async def status(self) -> dict[str, Any]:
        """The merged status of all workers, and an entry for each worker."""
        answers = await self.ask("status")
        each = [
            {"worker": worker.index, "pid": worker.pid, "running": worker.running, "restarts": int(self._restarts[worker.index].value)}
            | ({key: answers[worker][key] for key in ("connections", "requests", "tunnels")} if worker in answers else {})
            for worker in self._workers
        ]
        whole = status.merged(list(answers.values())) if answers else {"ready": False}
        return {**whole, "draining": self._stopping, "workers": each}

    async def snapshot(self) -> Snapshot:
        """All series, merged; for a worker that does not answer in time, its last snapshot is used."""
        await self._take()
        past_and_present = (snapshot for worker in self._workers for snapshot in worker.snapshots())
        return merge(metrics.CATALOG, (self.instruments.snapshot(), *past_and_present))

    async def _take(self) -> None:
        """Take a snapshot of all workers that answer in time."""
        taking = [worker.take() for worker in self._running]
        if taking:
            await asyncio.wait(taking, timeout=_ANSWER_SECONDS)
        self._forget()

    def _forget(self) -> None:
        """Drop counts of ended processes for backends and pools that no running worker has any more."""
        living = [present for worker in self._workers if (present := worker.snapshots()[1])]
        for worker in self._workers if living else ():
            worker.forget(living)

    async def drain(self, backend: str, *, drained: bool) -> list[str]:
        """Drain or enable a backend in all workers, also those started later. Returns an empty list, or the known names if this one is unknown."""
        async with self._lock:
            answers: list[list[str]] = list((await self.ask("drain", backend=backend, drained=drained)).values())
            if answers and all(answers):
                return sorted(set().union(*answers))
            one = {backend}
            self._spec = replace(self._spec, drained=self._spec.drained | one if drained else self._spec.drained - one)
            return []

    async def _collect_drained(self) -> None:
        """Update the drained backends from the workers, which know those that still exist; no change if none is running."""
        answers = await self.ask("drained")
        if answers:
            self._spec = replace(self._spec, drained=frozenset().union(*answers.values()))
