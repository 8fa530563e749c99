"""The access log: one line per request on stdout.

Theory. Lines are made at once, because a thread that made them in bulk would hold the interpreter's lock against the requests; they
are gathered and handed over at each tick of the clock, and a thread writes them, so that a slow reader never delays a request.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from queue import SimpleQueue
from typing import NamedTuple, TextIO

from balance.commandline import silence
from balance.lb.logs import EventLog, plain

_MOST = 100_000
"""Lines that may wait; further ones are dropped."""


class Entry(NamedTuple):
    """What one line says beside the time. `status` 0: there was no answer. `duration` in seconds. `reason`: the value of a `Fault`."""

    client: str
    method: str
    target: str
    status: int
    backend: str
    bytes_in: int
    bytes_out: int
    duration: float
    attempts: int
    reason: str


def render(moment: str, entry: Entry, form: str) -> str:
    """The line for an entry, ASCII in one of two forms. Only the target can hold anything: its bytes that are no UTF-8 become ``\\xNN``."""
    client, method, target, status, backend, received, sent, seconds, attempts, reason = entry
    if not target.isascii():
        target = target.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if form == "json":
        return (
            f'{{"time":"{moment}","client":"{client}","method":"{method}","target":{json.dumps(target)},"status":{status},"backend":"{backend}",'
            f'"bytes_in":{received},"bytes_out":{sent},"duration":{seconds:.6f},"attempts":{attempts},"reason":"{reason}"}}\n'
        )
    return (
        f"time={moment} client={client} method={method} target={plain(target)} status={status} backend={backend}"
        f" bytes_in={received} bytes_out={sent} duration={seconds:.6f} attempts={attempts} reason={reason}\n"
    )


class AccessLog:
    """`add` entries; `flush` now and then; `close` at the end. If the reader goes away, the log ends and the event log says so."""

    def __init__(self, form: str, log: EventLog, stream: TextIO | None = None) -> None:
        self._form = form
        self._log = log
        self._stream = stream or sys.stdout
        self._second, self._prefix = 0, ""
        self._lines: list[str] = []
        self._queue: SimpleQueue[list[str] | None] = SimpleQueue()
        self._waiting = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, name="access-log", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<AccessLog {len(self._lines) + self._waiting} waiting, {self._dropped} dropped>"

    def add(self, entry: Entry) -> None:
        """Note a request that has ended just now; it is written later."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._lines.append(render(f"{self._prefix}.{int(now % 1 * 1000):03d}Z", entry, self._form))

    def flush(self) -> None:
        """Hand over what has gathered."""
        lines = self._lines
        if not lines:
            return
        self._lines = []
        if self._waiting + len(lines) > _MOST or not self._thread.is_alive():
            if not self._dropped:
                self._log("warning", "access_log_dropping", cause="nobody reads it, or not fast enough")
            self._dropped += len(lines)
            return
        self._waiting += len(lines)
        self._queue.put(lines)

    def close(self) -> None:
        """Write what is left, waiting for a stuck reader for a second at most."""
        self.flush()
        self._queue.put(None)
        self._thread.join(1.0)

    def _work(self) -> None:
        while (lines := self._queue.get()) is not None:
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except OSError as error:
                silence(self._stream)
                self._log("warning", "access_log_ended", cause=str(error))
                return
            self._waiting -= len(lines)
