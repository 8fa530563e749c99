"""One fault after another under load, and the books at the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.chaos.faults import Fault
from tools.chaos.load import Load, Seen, p99
from tools.chaos.origin import Word
from tools.chaos.stage import KEPT, SPARE, Stage

CALM_SECONDS = 0.8
CUT_OFF = {"a", "b"}
"""Backends that are killed, stopped or slow: an attempt that was given up may have been answered after all, or never have arrived."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A fault and what came of it, from its begin until all is well again. `most`: failed requests that are allowed. `stray`: requests that
    began once the fault was there, and were answered by its backend before it ended. `late`: those of them that failed. `attempts`: requests
    that arrived at the backends before it ended, `asked`: those of clients. `timeouts`: retries after an attempt that took too long. `falls`:
    how often so many health checks failed that a backend goes out of rotation. Times in seconds."""

    fault: Fault
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
    """A figure of the balancer's and the same as others counted it; how much `less` or `more` the balancer may have."""

    what: str
    ours: float
    theirs: float
    less: float = 0
    more: float = 0

    @property
    def agrees(self) -> bool:
        return self.theirs - self.less <= self.ours <= self.theirs + self.more


@dataclass(frozen=True, slots=True)
class Report:
    phases: Sequence[Phase]
    entries: Sequence[Entry]


class Figures:
    """A scrape."""

    def __init__(self, series: Mapping[tuple[str, ...], float]) -> None:
        self.series = series

    def total(self, name: str, *labels: str) -> float:
        """Of the series whose first labels, in the order of their names, are these; an empty one may be any."""
        return sum(
            value
            for key, value in self.series.items()
            if key[0] == name and all(wanted in ("", label) for wanted, label in zip(labels, key[1:], strict=False))
        )


async def run(directory: Path, faults: Sequence[Fault], *, workers: int = 1, settings: Mapping[str, Any] | None = None) -> Report:
    """Raises `RuntimeError` if something never starts or never recovers."""
    async with Stage(directory, workers, settings or {}) as stage:
        load = Load(stage.port)
        phases = [await _suffer(stage, load, fault) for fault in faults]
        await load.stop()
        entries = list(_connected(await stage.status(), load.open))
        load.close()
        await stage.until(lambda: _quiet(stage), "nothing is in flight")
        checks = {name: (origin.books[Word.PASSED], origin.books[Word.FAILED]) for name, origin in stage.origins.items()}
        figures, status = Figures(await stage.figures()), await stage.status()
        slow = sum(phase.timeouts for phase in phases if phase.fault.backend not in CUT_OFF)
        entries += [*_of_clients(figures, load, stage), *_at_rest(figures, status), *_of_workers(status, killed=bool(stage.lost))]
        for name in KEPT:
            entries += _of_backend(figures, load.seen, stage, name, slow)
            entries += _of_checks(figures, stage, name, *checks[name])
        return Report(phases, entries)


async def _suffer(stage: Stage, load: Load, fault: Fault) -> Phase:
    now = asyncio.get_running_loop().time
    await stage.settled()
    calm = now()
    await asyncio.sleep(CALM_SECONDS)
    before, attempts, falls = Figures(await stage.figures()), stage.booked(Word.ASKED), stage.booked(Word.FALLS)
    start = now()
    await fault.begin(stage)
    begun = now()
    await asyncio.sleep(max(0.0, start + fault.seconds - now()))
    undone, attempts = now(), stage.booked(Word.ASKED) - attempts
    await fault.end(stage)
    await stage.settled()
    after = Figures(await stage.figures())
    during = [one for one in load.seen if one.began >= start or one.began + one.seconds >= start]
    amid = [one for one in during if begun < one.began < undone]
    return Phase(
        fault,
        stage.exposed if fault.most is None else fault.most,
        len(during),
        failed=sum(one.status != 200 for one in during),
        stray=sum(one.backend == fault.backend for one in amid),
        late=sum(one.status != 200 for one in amid),
        retries=_more(before, after, "balance_retries_total"),
        timeouts=_more(before, after, "balance_retries_total", "first_byte_timeout"),
        falls=stage.booked(Word.FALLS) - falls,
        attempts=attempts,
        asked=sum(one.began < undone for one in during),
        seconds=undone - start,
        before=p99(one for one in load.seen if one.began >= calm and one.began + one.seconds < start),
        slowest=max((one.seconds for one in during), default=0.0),
    )


def _more(before: Figures, after: Figures, name: str, *labels: str) -> int:
    return int(after.total(name, *labels) - before.total(name, *labels))


async def _quiet(stage: Stage) -> bool:
    status = await stage.status()
    return not status["requests"]["in_flight"] and not status["connections"]["active"]


# --- what the balancer counted beside what its clients and backends counted; after a worker was killed it may lack what that had not told yet ---


def _connected(status: Mapping[str, Any], opened: int) -> Iterator[Entry]:
    """While clients are connected and ask for nothing."""
    yield Entry("connections of clients, open", status["connections"]["active"], opened)
    if "workers" in status:
        yield Entry("connections of clients by worker", sum(worker["connections"]["active"] for worker in status["workers"]), opened)


def _of_clients(figures: Figures, load: Load, stage: Stage) -> Iterator[Entry]:
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


def _of_backend(figures: Figures, seen: Sequence[Seen], stage: Stage, name: str, slow: int) -> Iterator[Entry]:
    books, lost, total = stage.origins[name].books, stage.lost, figures.total
    attempts, unanswered = total("balance_backend_requests_total", name), total("balance_backend_requests_total", name, "none")
    opened, reused = (total("balance_upstream_connections_total", name, word) for word in ("opened", "reused"))
    if name in CUT_OFF:
        unheard = unanswered
    else:  # an attempt at a connection that was closed at that very moment is repeated, and counts as none
        broken = opened + reused - attempts + unanswered
        yield Entry(f"attempts that {name} broke off", broken, books[Word.RESETS], less=lost, more=slow + lost)
        unheard = max(0, broken - books[Word.RESETS])
    answers = Counter(one.status for one in seen if one.backend == name)
    again = total("balance_retries_total", "bad_status") if books[Word.ERRORS] else 0
    for group, code, word, hidden in (("2xx", 200, Word.ANSWERED, 0), ("5xx", 500, Word.ERRORS, again)):
        ours = total("balance_backend_requests_total", name, group)
        yield Entry(f"{group} of {name} as clients got them", ours - hidden, answers[code], less=lost)
        yield Entry(f"{group} of {name} as it gave them", ours, books[word], less=lost + unheard)
    yield Entry(f"connections to {name}", opened, books[Word.CONNECTIONS], less=lost, more=unanswered if name in CUT_OFF else 0)
    closed, present = total("balance_upstream_connections_total", name, "closed"), total("balance_backend_connections", name)
    yield Entry(f"connections to {name} that were closed", closed, opened - present, less=lost, more=0)


def _of_checks(figures: Figures, stage: Stage, name: str, passed: int, failed: int) -> Iterator[Entry]:
    """Checks go on: what was `passed` and `failed` before the scrape, and what is by now."""
    books, total = stage.origins[name].books, figures.total
    ours = {result: total("balance_health_checks_total", name, result) for result in ("passed", "failed")}
    unheard = ours["failed"] if name in CUT_OFF else 0
    pending = 1 + stage.lost
    yield Entry(f"health checks that {name} passed", ours["passed"], passed, less=pending + unheard, more=books[Word.PASSED] - passed)
    if name not in CUT_OFF:
        yield Entry(f"health checks that {name} failed", ours["failed"], failed, less=pending, more=books[Word.FAILED] - failed)
        falls = total("balance_backend_state_transitions_total", name, "", "unhealthy")
        yield Entry(f"how often {name} was found unhealthy", falls, books[Word.FALLS])


def _at_rest(figures: Figures, status: Mapping[str, Any]) -> Iterator[Entry]:
    """When nothing is under way."""
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
