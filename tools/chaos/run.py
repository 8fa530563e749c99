"""Inject one fault after another under load, then compare the balancer's metrics with what clients and backends counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.chaos.faults import InjectedFault
from tools.chaos.load import ClientLoad, RequestRecord, p99
from tools.chaos.origin import Slot
from tools.chaos.stage import KEPT, SPARE, Stage

BASELINE_SECONDS = 0.8
CUT_OFF = {"a", "b"}
"""Backends that are killed, stopped or slow: an abandoned attempt may still have been answered, or may never have arrived."""


@dataclass(frozen=True, slots=True)
class FaultRun:
    """A fault and its effects, from its begin until everything has recovered. `most`: how many requests may fail. `stray`: requests that
    began during the fault and were answered by its backend before it ended; `late`: those begun during the fault that failed. `attempts`: requests
    that reached the backends before it ended, `asked`: those of clients. `timeouts`: retries after an attempt that took too long. `falls`:
    how often enough health checks failed to take a backend out of rotation. Times in seconds."""

    fault: InjectedFault
    most: int
    requests: int
    failed: int
    stray: int
    late: int
    retries: int
    timeouts: int
    falls: int
    attempts: int
    asked: int
    seconds: float
    before: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A figure of the balancer (`ours`) beside the same figure counted elsewhere (`theirs`); the balancer may have `less` or `more` by that much."""

    what: str
    ours: float
    theirs: float
    less: float = 0
    more: float = 0

    @property
    def agrees(self) -> bool:
        """True if the figures differ no more than they may."""
        return self.theirs - self.less <= self.ours <= self.theirs + self.more


@dataclass(frozen=True, slots=True)
class Report:
    """The effects of all faults, and the comparison of figures at the end."""

    phases: Sequence[FaultRun]
    entries: Sequence[Entry]


class Figures:
    """The series of a scrape: values by name and label values, in the order of the labels' names."""

    def __init__(self, series: Mapping[tuple[str, ...], float]) -> None:
        self.series = series

    def total(self, name: str, *labels: str) -> float:
        """Sum of the series whose first label values are `labels`, in the order of the labels' names; "" matches any value."""
        return sum(
            value
            for key, value in self.series.items()
            if key[0] == name and all(wanted in ("", label) for wanted, label in zip(labels, key[1:], strict=False))
        )


async def run(directory: Path, faults: Sequence[InjectedFault], *, workers: int = 1, settings: Mapping[str, Any] | None = None) -> Report:
    """Inject the faults one after another and report. Raises `RuntimeError` if something never starts or never recovers."""
    async with Stage(directory, workers, settings or {}) as stage:
        load = ClientLoad(stage.port)
        phases = [await _inject(stage, load, fault) for fault in faults]
        await load.stop()
        entries = list(_connected(await stage.status(), load.open))
        load.close()
        await stage.until(lambda: _is_idle(stage), "nothing is in flight")
        checks = {name: (origin.counters[Slot.PASSED], origin.counters[Slot.FAILED]) for name, origin in stage.origins.items()}
        figures, status = Figures(await stage.figures()), await stage.status()
        slow = sum(phase.timeouts for phase in phases if phase.fault.backend not in CUT_OFF)
        entries += [*_of_clients(figures, load, stage), *_at_rest(figures, status), *_of_workers(status, killed=bool(stage.lost))]
        for name in KEPT:
            entries += _of_backend(figures, load.seen, stage, name, slow)
            entries += _of_checks(figures, stage, name, *checks[name])
        return Report(phases, entries)


async def _inject(stage: Stage, load: ClientLoad, fault: InjectedFault) -> FaultRun:
    now = asyncio.get_running_loop().time
    await stage.settled()
    calm = now()
    await asyncio.sleep(BASELINE_SECONDS)
    before, attempts, falls = Figures(await stage.figures()), stage.total_of(Slot.ASKED), stage.total_of(Slot.FALLS)
    start = now()
    await fault.begin(stage)
    begun = now()
    await asyncio.sleep(max(0.0, start + fault.seconds - now()))
    undone, attempts = now(), stage.total_of(Slot.ASKED) - attempts
    await fault.end(stage)
    await stage.settled()
    after = Figures(await stage.figures())
    during = [one for one in load.seen if one.began >= start or one.began + one.seconds >= start]
    amid = [one for one in during if begun < one.began < undone]
    return FaultRun(
        fault,
        stage.exposed if fault.most is None else fault.most,
        len(during),
        failed=sum(one.status != 200 for one in during),
        stray=sum(one.backend == fault.backend for one in amid),
        late=sum(one.status != 200 for one in amid),
        retries=_increase(before, after, "balance_retries_total"),
        timeouts=_increase(before, after, "balance_retries_total", "first_byte_timeout"),
        falls=stage.total_of(Slot.FALLS) - falls,
        attempts=attempts,
        asked=sum(one.began < undone for one in during),
        seconds=undone - start,
        before=p99(one for one in load.seen if one.began >= calm and one.began + one.seconds < start),
        slowest=max((one.seconds for one in during), default=0.0),
    )


def _increase(before: Figures, after: Figures, name: str, *labels: str) -> int:
    return int(after.total(name, *labels) - before.total(name, *labels))


async def _is_idle(stage: Stage) -> bool:
    status = await stage.status()
    return not status["requests"]["in_flight"] and not status["connections"]["active"]


# --- the balancer's counts beside those of its clients and backends; after a worker was killed, its last unreported counts may be missing ---


def _connected(status: Mapping[str, Any], opened: int) -> Iterator[Entry]:
    """Connections while clients are connected and idle."""
    yield Entry("connections of clients, open", status["connections"]["active"], opened)
    if "workers" in status:
        yield Entry("connections of clients by worker", sum(worker["connections"]["active"] for worker in status["workers"]), opened)


def _of_clients(figures: Figures, load: ClientLoad, stage: Stage) -> Iterator[Entry]:
    total, lost = figures.total, stage.lost
    seen = [one for one in load.seen if one.status]
    for code, number in Counter(one.status for one in seen).items():
        yield Entry(f"requests answered with {code}", total("balance_http_requests_total", "", str(code)), number, less=lost)
    yield Entry("requests", total("balance_http_requests_total"), len(seen), less=lost)
    yield Entry("requests timed", total("balance_http_request_duration_seconds_count"), len(seen), less=lost)
    yield Entry("connections accepted", total("balance_connections_total"), load.opened, less=lost)
    own = sum(one.backend == "-" for one in seen)
    yield Entry("failed requests, and answers from no backend", total("balance_request_failures_total"), own, less=lost)
    spare = sum(one.backend == SPARE for one in seen)
    attempts, refused = total("balance_backend_requests_total"), total("balance_request_failures_total", "no_backend")
    repeated = total("balance_backend_retries_total")
    yield Entry("attempts less retries, and requests", attempts + spare + refused - repeated, len(seen), less=lost)
    bad = total("balance_backend_requests_total", "", "none") + total("balance_retries_total", "bad_status")
    failed = total("balance_request_failures_total", "", "backend")
    yield Entry("failed attempts: repeated, or the request failed", total("balance_retries_total") + failed, bad, less=lost, more=lost)
    yield Entry("series of the backend that was removed", sum(SPARE in key for key in figures.series), 0)


def _of_backend(figures: Figures, seen: Sequence[RequestRecord], stage: Stage, name: str, slow: int) -> Iterator[Entry]:
    counters, lost, total = stage.origins[name].counters, stage.lost, figures.total
    attempts, unanswered = total("balance_backend_requests_total", name), total("balance_backend_requests_total", name, "none")
    opened, reused = (total("balance_upstream_connections_total", name, word) for word in ("opened", "reused"))
    if name in CUT_OFF:
        unheard = unanswered
    else:  # an attempt at a connection that was closed at that very moment is repeated, and counts as none
        broken = opened + reused - attempts + unanswered
        yield Entry(f"attempts that {name} broke off", broken, counters[Slot.RESETS], less=lost, more=slow + lost)
        unheard = max(0, broken - counters[Slot.RESETS])
    answers = Counter(one.status for one in seen if one.backend == name)
    again = total("balance_retries_total", "bad_status") if counters[Slot.ERRORS] else 0
    for group, code, word, hidden in (("2xx", 200, Slot.ANSWERED, 0), ("5xx", 500, Slot.ERRORS, again)):
        ours = total("balance_backend_requests_total", name, group)
        yield Entry(f"{group} of {name} as clients got them", ours - hidden, answers[code], less=lost)
        yield Entry(f"{group} of {name} as it gave them", ours, counters[word], less=lost + unheard)
    yield Entry(f"connections to {name}", opened, counters[Slot.CONNECTIONS], less=lost, more=unanswered if name in CUT_OFF else 0)
    closed, present = total("balance_upstream_connections_total", name, "closed"), total("balance_backend_connections", name)
    yield Entry(f"connections to {name} that were closed", closed, opened - present, less=lost, more=0)


def _of_checks(figures: Figures, stage: Stage, name: str, passed: int, failed: int) -> Iterator[Entry]:
    """Health checks go on meanwhile: `passed` and `failed` are the counts before the scrape, the backend's counters those after it."""
    counters, total = stage.origins[name].counters, figures.total
    ours = {result: total("balance_health_checks_total", name, result) for result in ("passed", "failed")}
    unheard = ours["failed"] if name in CUT_OFF else 0
    pending = 1 + stage.lost
    yield Entry(f"health checks that {name} passed", ours["passed"], passed, less=pending + unheard, more=counters[Slot.PASSED] - passed)
    if name not in CUT_OFF:
        yield Entry(f"health checks that {name} failed", ours["failed"], failed, less=pending, more=counters[Slot.FAILED] - failed)
        falls = total("balance_backend_state_transitions_total", name, "", "unhealthy")
        yield Entry(f"how often {name} was found unhealthy", falls, counters[Slot.FALLS])


def _at_rest(figures: Figures, status: Mapping[str, Any]) -> Iterator[Entry]:
    """What must be zero or equal when nothing is in flight."""
    total = figures.total
    yield Entry("connections of clients", total("balance_active_connections"), 0)
    idle = sum(backend["connections"]["idle"] for backend in status["backends"])
    yield Entry("connections to backends, and idle ones", total("balance_backend_connections"), idle)
    for what, number in status["requests"].items():
        yield Entry(f"requests {what}", number, 0)


def _of_workers(status: Mapping[str, Any], *, killed: bool) -> Iterator[Entry]:
    for worker in status.get("workers", ()):
        yield Entry(f"requests in flight in worker {worker['worker']}", worker["requests"]["in_flight"], 0)
    if "workers" in status:
        yield Entry("restarts of workers", sum(worker["restarts"] for worker in status["workers"]), killed)
