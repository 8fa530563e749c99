"""The access log: one line per request on stdout.

Theory. Lines are formatted at once, because a thread that formatted them in bulk would hold the interpreter lock while requests wait.
They are collected and handed to a writer thread at each tick of the clock, so that a slow reader never delays a request.
"""

from __future__ import annotations

import sys
import time
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from balance.lb.logs import EventLog, LineWriter, quoted_text


class Entry(NamedTuple):
    """The fields of a line, without the time. `status` 0: there was no response. `reason`: the value of a `Fault`; `termination`: from
    `policy.ending`; `trace_id`: empty if there is none. Durations are in seconds, None for a phase that was not reached."""

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
    termination: str
    trace_id: str = ""
    wait: float | None = None
    queue: float | None = None
    connect: float | None = None
    first_byte: float | None = None


def render(moment: str, entry: Entry, form: str) -> str:
    """The line for an entry, in ASCII. `moment`: its time; `form`: "json" or "text". Bytes of the target that are not UTF-8 become ``\\xNN``."""
    client, method, raw, status, backend, received, sent, seconds, attempts, reason, ending, trace, wait, queue, connect, first_byte = entry
    target = raw.decode("utf-8", "backslashreplace")
    if form == "json":
        trace = f'"{trace}"' if trace else "null"
        # most requests wait only for the backend
        waits = '"wait":0,"queue":0,"connect":0' if wait == queue == connect == 0 else _waits(_JSON_WAITS, wait, queue, connect, "null")
        return (
            f'{{"time":"{moment}","client":"{client}","method":"{method}","target":{quoted(target)},"status":{status},"backend":"{backend}",'
            f'"bytes_in":{received},"bytes_out":{sent},{waits},"first_byte":{"null" if first_byte is None else f"{first_byte:.6f}"},'
            f'"duration":{seconds:.6f},"attempts":{attempts},"reason":"{reason}","termination":"{ending}","trace_id":{trace}}}\n'
        )
    return (
        f"time={moment} client={client} method={method} target={quoted_text(target)} status={status} backend={backend}"
        f" bytes_in={received} bytes_out={sent} {_waits(_TEXT_WAITS, wait, queue, connect, '-')}"
        f" first_byte={'-' if first_byte is None else f'{first_byte:.6f}'} duration={seconds:.6f}"
        f" attempts={attempts} reason={reason} termination={ending} trace_id={trace or '-'}\n"
    )


_JSON_WAITS = '"wait":{},"queue":{},"connect":{}'
_TEXT_WAITS = "wait={} queue={} connect={}"


def _waits(form: str, wait: float | None, queue: float | None, connect: float | None, absent: str) -> str:
    return form.format(*(absent if seconds is None else f"{seconds:.6f}" if seconds else "0" for seconds in (wait, queue, connect)))


class AccessLog:
    """Writes the access log: `add` entries, `flush` regularly, `close` at the end. If lines are dropped, one event is logged.

    `form`: "json" or "text". `dropped`: number of dropped lines.
    """

    def __init__(self, form: str, log: EventLog) -> None:
        self._form = form
        self._log = log
        self._writer = LineWriter(sys.stdout, log.lock)
        self._millisecond, self._moment = 0, ""
        self._lines: list[str] = []
        self.dropped = 0
        self._told = False

    def __repr__(self) -> str:
        return f"<AccessLog {len(self._lines)} gathered, {self.dropped} dropped, {self._writer}>"

    def add(self, entry: Entry) -> None:
        """Add a request that has just ended; it is written at the next `flush`."""
        millisecond = int(time.time() * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            self._moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{rest:03d}Z"
        self._lines.append(render(self._moment, entry, self._form))

    def flush(self) -> None:
        """Hand the collected lines to the writer thread."""
        lines, self._lines = self._lines, []
        if lines and not self._writer.write("".join(lines)):
            self.dropped += len(lines)
        if (self.dropped or self._writer.failure) and not self._told:
            self._told = True
            self._log("warning", "access_log_dropping", cause=self._writer.failure or "the reader is too slow or gone")

    def close(self) -> None:
        """Write the remaining lines, and log how many were dropped."""
        self.flush()
        self._writer.close()
        if self.dropped:
            self._log("warning", "access_log_dropped", lines=self.dropped)
