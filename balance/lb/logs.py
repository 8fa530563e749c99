"""Lines that people and programs read: events on stderr, in JSON or text. The access log writes its lines in the same form."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from balance.commandline import silence

LEVELS = ("debug", "info", "warning", "error")


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 with milliseconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(fields: Mapping[str, Any], form: str) -> str:
    """One line without its end: a JSON object, or ``key=value`` pairs with quotes where needed. Always ASCII, never a control character."""
    if form == "json":
        return json.dumps(fields, separators=(",", ":"))
    return " ".join(f"{key}={plain(value)}" for key, value in fields.items())


def plain(value: Any) -> str:
    """A value in the text form: quoted where it could be misread."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isascii() and text.isprintable() and text and not set(text) & set(' "=') else json.dumps(text)


class EventLog:
    """Writes events at or above a level, one line each, at once: events are rare."""

    def __init__(self, level: str, form: str, stream: TextIO | None = None) -> None:
        self._least = LEVELS.index(level)
        self._form = form
        self._stream = stream or sys.stderr

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        if LEVELS.index(level) < self._least:
            return
        head = {"time": timestamp(datetime.now(UTC).timestamp()), "level": level, "event": event}
        try:
            print(line({**head, **fields}, self._form), file=self._stream, flush=True)
        except OSError:  # nobody listens any more
            self._least = len(LEVELS)
            silence(self._stream)


class Bridge(logging.Handler):
    """Passes what libraries say through `logging` on to the event log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        cause = f"{record.exc_info[0].__name__}: {record.exc_info[1]}" if record.exc_info and record.exc_info[0] else ""
        self._log(level, "library", logger=record.name, message=record.getMessage(), cause=cause)
