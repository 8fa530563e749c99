"""The event log: lines on stderr, as JSON or text. The access log uses the same formats."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, TextIO

LEVELS = ("debug", "info", "warning", "error")
"""Levels of events, in ascending order."""


def timestamp(seconds: float) -> str:
    """Unix time in `seconds` as RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(fields: Mapping[str, Any], form: str) -> str:
    """A line without its newline: a JSON object, or ``key=value`` pairs, quoted where needed. Always ASCII, without control characters."""
    if form == "json":
        return json.dumps(fields, separators=(",", ":"))
    return " ".join(f"{key}={quoted_text(value)}" for key, value in fields.items())


def quoted_text(value: Any) -> str:
    """A value in the text format, quoted if it would be ambiguous."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isascii() and text.isprintable() and text and not set(text) & set(' "=') else json.dumps(text)


class LineWriter:
    """Writes text to a file descriptor from its own thread, so that a slow or stuck reader never delays a request.

    At most `max_pending` characters wait; more are dropped. Once a write has failed, `failure` says why and everything is dropped.
    `lock`: descriptor of a file that all processes with the same output have open, so that none writes into the middle of another's line
    when a pipe is full; the system releases the lock when a process dies.
    """

    max_pending = 2**24
    """Maximum number of characters that wait to be written."""

    def __init__(self, stream: TextIO, lock: int | None = None) -> None:
        self.failure = ""
        self._descriptor = stream.fileno()
        self._lock = lock
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._taken = 0  # changed by the caller only
        self._written = 0  # changed by the thread only
        self._thread = threading.Thread(target=self._work, name=f"writer of {stream.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<LineWriter {self._thread.name}: {self._taken - self._written} characters waiting{self.failure and ', failed'}>"

    def write(self, text: str) -> bool:
        """Queue the text for writing. Returns False if it was dropped."""
        if self.failure or self._taken - self._written > self.max_pending:
            return False
        self._taken += len(text)
        self._queue.put(text)
        return True

    def close(self) -> None:
        """Write the rest, waiting for a stuck reader for a second at most."""
        self._queue.put(None)
        self._thread.join(1.0)

    def _work(self) -> None:
        where = os.fstat(self._descriptor).st_ino & 0x7FFFFFFF  # a byte of the lock file for each output
        while (text := self._queue.get()) is not None:
            if self._lock is None:
                self._put(text.encode())
            else:
                fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, where)
                self._put(text.encode())
                fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, where)
            self._written += len(text)

    def _put(self, left: bytes) -> None:
        while left and not self.failure:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another process has made the shared descriptor non-blocking
                select.select((), (self._descriptor,), ())
            except OSError as error:
                self.failure = error.strerror or str(error)


class EventLog:
    """Writes events at or above `level` to stderr, one line each, all with the fields in `common`. `form`: "json" or "text"; `lock`: as for
    `LineWriter`."""

    def __init__(self, level: str, form: str, lock: int | None = None, **common: Any) -> None:
        self.lock = lock
        self._min_level = LEVELS.index(level)
        self._form = form
        self._common = common
        self._writer = LineWriter(sys.stderr, lock)

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        if LEVELS.index(level) >= self._min_level:
            head = {"time": timestamp(datetime.now(UTC).timestamp()), "level": level, "event": event}
            self._writer.write(line({**head, **self._common, **fields}, self._form) + "\n")

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()


def unraisable_hook(log: EventLog) -> Callable[[sys.UnraisableHookArgs], None]:
    """A `sys.unraisablehook` that logs events. A server name that is not ASCII fails in OpenSSL's callback; that is the client's error."""

    def hook(failure: sys.UnraisableHookArgs) -> None:
        by_client = isinstance(failure.exc_value, UnicodeDecodeError)
        log("debug" if by_client else "error", "unraisable", cause=f"{failure.exc_type.__name__}: {failure.exc_value}", where=repr(failure.object))

    return hook


class LibraryLogHandler(logging.Handler):
    """Passes log records of libraries on to the event log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        cause = f"{record.exc_info[0].__name__}: {record.exc_info[1]}" if record.exc_info and record.exc_info[0] else ""
        self._log(level, "library", logger=record.name, message=record.getMessage(), cause=cause)
