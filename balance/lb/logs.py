"""Lines that people and programs read: events on stderr, in JSON or text. The access log writes its lines in the same form."""

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


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 with milliseconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(fields: Mapping[str, Any], form: str) -> str:
    """One line without its end: a JSON object, or ``key=value`` pairs with quotes where needed. Always ASCII, never a control character."""
    if form == "json":
        return json.dumps(fields, separators=(",", ":"))
    return " ".join(f"{key}={quoted_text(value)}" for key, value in fields.items())


def quoted_text(value: Any) -> str:
    """A value in the text form: quoted where it could be misread."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isascii() and text.isprintable() and text and not set(text) & set(' "=') else json.dumps(text)


class LineWriter:
    """Writes text to a file descriptor from a thread of its own: a reader that is slow or stuck never holds up a request.

    So many characters may wait; what comes on top is dropped. Once a write has failed, `failure` says why and all is dropped.
    `lock`: a file that all processes have open that write to the same place, so that none writes into the middle of another's line
    when a pipe is full; the system frees it when a process dies.
    """

    max_pending = 2**24

    def __init__(self, stream: TextIO, lock: int | None = None) -> None:
        self.failure = ""
        self._descriptor = stream.fileno()
        self._lock = lock
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._taken = 0  # counted by the caller alone
        self._written = 0  # and this by the thread alone
        self._thread = threading.Thread(target=self._work, name=f"writer of {stream.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<LineWriter {self._thread.name}: {self._taken - self._written} characters waiting{self.failure and ', failed'}>"

    def write(self, text: str) -> bool:
        """Take the text, to be written soon; false if it had to be dropped."""
        if self.failure or self._taken - self._written > self.max_pending:
            return False
        self._taken += len(text)
        self._queue.put(text)
        return True

    def close(self) -> None:
        """Write what is left, waiting for a stuck reader for a second at most."""
        self._queue.put(None)
        self._thread.join(1.0)

    def _work(self) -> None:
        where = os.fstat(self._descriptor).st_ino & 0x7FFFFFFF  # a byte of the lock's file for each place
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
            except BlockingIOError:  # somebody who shares the descriptor has made it so
                select.select((), (self._descriptor,), ())
            except OSError as error:
                self.failure = error.strerror or str(error)


class EventLog:
    """Writes events at or above a level, one line each, on stderr; each with the fields in `common`. `lock`: as a `LineWriter` has it."""

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
        """Write what is left."""
        self._writer.close()


def unraisable_hook(log: EventLog) -> Callable[[sys.UnraisableHookArgs], None]:
    """A `sys.unraisablehook` that writes events. OpenSSL's callback for server names fails on one that is no ASCII: the client's doing."""

    def hook(failure: sys.UnraisableHookArgs) -> None:
        hostile = isinstance(failure.exc_value, UnicodeDecodeError)
        log("debug" if hostile else "error", "unraisable", cause=f"{failure.exc_type.__name__}: {failure.exc_value}", where=repr(failure.object))

    return hook


class LibraryLogHandler(logging.Handler):
    """Passes what libraries say through `logging` on to the event log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        cause = f"{record.exc_info[0].__name__}: {record.exc_info[1]}" if record.exc_info and record.exc_info[0] else ""
        self._log(level, "library", logger=record.name, message=record.getMessage(), cause=cause)
