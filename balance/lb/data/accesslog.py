"""The access log: one line per request on stdout.

Theory. Lines are made at once, because a thread that made them in bulk would hold the interpreter's lock against the requests; they
are gathered and handed over at each tick of the clock, and a thread writes them, so that a slow reader never delays a request.
"""

from __future__ import annotations

import json
import sys
import time
from typing import NamedTuple

from balance.lb.logs import EventLog, LineWriter, plain


class Entry(NamedTuple):
    """What one line says beside the time. `status` 0: there was no answer. `duration` in seconds. `reason`: the value of a `Fault`."""

    client: str
    method: str
    target: bytes
    status: int
    backend: str
    bytes_in: int
    bytes_out: int
    duration: float
    attempts: int
    reason: str


def render(moment: str, entry: Entry, form: str) -> str:
    """The line for an entry, ASCII in one of two forms. Only the target can hold anything: its bytes that are no UTF-8 become ``\\xNN``."""
    client, method, raw, status, backend, received, sent, seconds, attempts, reason = entry
    target = raw.decode("utf-8", "backslashreplace")
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
    """`add` entries; `flush` now and then; `close` at the end. If lines cannot be written, the event log says so, once."""

    def __init__(self, form: str, log: EventLog) -> None:
        self._form = form
        self._log = log
        self._writer = LineWriter(sys.stdout)
        self._second, self._prefix = 0, ""
        self._lines: list[str] = []
        self._dropped = 0
        self._told = False

    def __repr__(self) -> str:
        return f"<AccessLog {len(self._lines)} gathered, {self._dropped} dropped, {self._writer}>"

    def add(self, entry: Entry) -> None:
        """Note a request that has ended just now; it is written later."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._lines.append(render(f"{self._prefix}.{int(now % 1 * 1000):03d}Z", entry, self._form))

    def flush(self) -> None:
        """Hand over what has gathered."""
        lines, self._lines = self._lines, []
        if lines and not self._writer.write("".join(lines)):
            self._dropped += len(lines)
        if (self._dropped or self._writer.failure) and not self._told:
            self._told = True
            self._log("warning", "access_log_dropping", cause=self._writer.failure or "nobody reads it, or not fast enough")

    def close(self) -> None:
        """Write what is left, and say how much could not be."""
        self.flush()
        self._writer.close()
        if self._dropped:
            self._log("warning", "access_log_dropped", lines=self._dropped)
