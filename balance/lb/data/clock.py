"""One coarse clock for all timeouts.

Theory. A timer per request costs more than the work it guards, and nearly all are cancelled. Here a deadline is an attribute of the
connection. A timer wheel with a bucket per tick says which connections to check; moving a deadline further away changes no bucket,
because a connection that is checked too early is simply put into a later bucket. So a deadline fires at most two ticks late, never early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK = 0.25
"""Seconds between two ticks."""


class Timed:
    """An object with a deadline. `deadline`: time on the loop's clock, 0 for none; `due`: tick of its bucket, 0 for none."""

    __slots__ = ("deadline", "due")

    def __init__(self) -> None:
        self.deadline = 0.0
        self.due = 0

    def expire(self) -> None:
        """Called when the deadline has passed; it is 0 again by then."""
        raise NotImplementedError


class Clock:
    """The timer wheel. `now`: the loop's time at the last tick. `on_tick` is called after each tick, `on_late` with the seconds it was late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_tick: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self._on_tick = on_tick
        self.on_late: Callable[[float], None] = lambda _seconds: None
        self._buckets: dict[int, set[Timed]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self.now = loop.time()
        self._tick = int(self.now / TICK)
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<Clock {self.now:.2f}: {sum(map(len, self._buckets.values()))} timed>"

    def start(self) -> None:
        """Start ticking."""
        self._due = self._loop.time() + TICK
        self._handle = self._loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Stop ticking."""
        if self._handle:
            self._handle.cancel()

    def set(self, item: Timed, seconds: float) -> None:
        """Expire `item` `seconds` from now, unless it is set again or its deadline is set to 0."""
        item.deadline = deadline = self.now + seconds + TICK
        due = item.due
        if not due or deadline + TICK < due * TICK:
            self._file(item)

    def drop(self, item: Timed) -> None:
        """Remove `item`, which has ended, so that its bucket does not keep it alive."""
        item.deadline = 0.0
        if item.due in self._buckets:
            self._buckets[item.due].discard(item)

    def _file(self, item: Timed) -> None:
        if item.due in self._buckets:
            self._buckets[item.due].discard(item)
        item.due = due = max(int(item.deadline / TICK), self._tick) + 1
        self._buckets.setdefault(due, set()).add(item)

    def _look(self) -> None:
        self.now = now = self._loop.time()
        self.on_late(max(0.0, now - self._due))
        self._due = now + TICK
        self._handle = self._loop.call_at(self._due, self._look)
        until = int(now / TICK)
        while self._tick < until:
            self._tick += 1
            for item in self._buckets.pop(self._tick, ()):
                self._visit(item)
        self._on_tick()

    def _visit(self, item: Timed) -> None:
        item.due = 0
        if not item.deadline:
            return
        if item.deadline > self.now:
            self._file(item)
            return
        item.deadline = 0.0
        item.expire()
