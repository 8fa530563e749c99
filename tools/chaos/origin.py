"""A backend in its own process, so that it can be killed and stopped, with counters that survive it.

Theory. Commands and counters are slots of memory shared by parent and child: the parent writes the mode, only the child writes counters.
A response is counted just before it is written, so a kill can leave one count too many, but never one too few.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import struct
from collections.abc import Callable, MutableSequence
from enum import IntEnum
from functools import partial

WORK_SECONDS = 0.01
"""Time per response, so that there is always something in flight."""
SLOW_SECONDS = 2.0
FALL = 2
"""Failed health checks in a row that take a backend out of rotation."""
_SPAWN = multiprocessing.get_context("spawn")


class Mode(IntEnum):
    """What a backend does with a request."""

    ANSWER = 0
    ERROR = 1
    """a 500"""
    SLOW = 2
    RESET = 3
    """the connection is reset before the head"""
    HALF = 4
    """half a head, then a reset"""
    SICK = 5
    """requests are answered, health checks with 503"""
    FLAP = 6
    """requests are answered; health checks alternate: `FALL` with 503, then as many with 200"""


class Slot(IntEnum):
    """Indexes into the shared memory. `ANSWERED` and `ERRORS` count responses with 200 and 500, `PASSED` and `FAILED` health checks, `FALLS`
    how often `FALL` of those failed in a row; `ASKED` counts requests, `CONNECTIONS` the connections that carried them."""

    MODE = 0
    PORT = 1
    ANSWERED = 2
    ERRORS = 3
    RESETS = 4
    ASKED = 5
    CONNECTIONS = 6
    PASSED = 7
    FAILED = 8
    FALLS = 9
    STREAK = 10
    """failed health checks in a row"""
    TURN = 11
    """health checks since flapping began"""


Counters = MutableSequence[int]


class Origin:
    """The parent's handle of a backend. `start` after `kill` listens on the same port again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counters: Counters = _SPAWN.RawArray("Q", len(Slot))
        self._process = self._made()

    def __repr__(self) -> str:
        return f"<Origin {self.name} at {self.counters[Slot.PORT]}, {Mode(self.counters[Slot.MODE]).name}>"

    def _made(self) -> multiprocessing.process.BaseProcess:
        return _SPAWN.Process(target=serve, args=(self.name, self.counters), daemon=True)

    def start(self) -> None:
        """Start the process."""
        self._process.start()

    def set_mode(self, mode: Mode) -> None:
        """Behave in this way from now on."""
        self.counters[Slot.MODE] = mode

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if self._process.pid is None:
            return
        self._process.kill()
        self._process.join()
        self._process = self._made()

    def signal(self, number: signal.Signals) -> None:
        """Send SIGSTOP or SIGCONT to the process, if it runs."""
        if self._process.pid is not None:
            os.kill(self._process.pid, number)


class _Connection(asyncio.Protocol):
    def __init__(self, name: str, counters: Counters) -> None:
        self._name, self._counters = name.encode(), counters
        self._buffer = b""
        self._known = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._serve(head.split(b" ", 2)[1])

    def _serve(self, target: bytes) -> None:
        """Health checks pass while requests fail, so that only the requests show the fault; and the other way round."""
        counters, mode = self._counters, Mode(self._counters[Slot.MODE])
        if target == b"/health":
            self._check(mode)
            return
        counters[Slot.ASKED] += 1
        counters[Slot.CONNECTIONS] += not self._known
        self._known = True
        if mode in (Mode.RESET, Mode.HALF):
            self._later(WORK_SECONDS, partial(self._reset, mode))
        else:
            status, word = (b"500 Sad", Slot.ERRORS) if mode is Mode.ERROR else (b"200 OK", Slot.ANSWERED)
            self._later(SLOW_SECONDS if mode is Mode.SLOW else WORK_SECONDS, partial(self._answer, word, self._response(status, target)))

    def _check(self, mode: Mode) -> None:
        counters = self._counters
        failed = mode is Mode.SICK or (mode is Mode.FLAP and counters[Slot.TURN] // FALL % 2 == 0)
        counters[Slot.TURN] = counters[Slot.TURN] + 1 if mode is Mode.FLAP else 0
        counters[Slot.FAILED if failed else Slot.PASSED] += 1
        counters[Slot.STREAK] = counters[Slot.STREAK] + 1 if failed else 0
        counters[Slot.FALLS] += counters[Slot.STREAK] == FALL
        self._transport.write(self._response(b"503 Ill" if failed else b"200 OK", b"/health"))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, act)

    def _response(self, status: bytes, target: bytes) -> bytes:
        return b"HTTP/1.1 %b\r\nX-Backend: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, self._name, len(target), target)

    def _answer(self, word: Slot, response: bytes) -> None:
        if not self._transport.is_closing():
            self._counters[word] += 1
            self._transport.write(response)

    def _reset(self, mode: Mode) -> None:
        if self._transport.is_closing():
            return
        self._counters[Slot.RESETS] += 1
        if mode is Mode.HALF:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def _listen(name: str, counters: Counters) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(name, counters), "127.0.0.1", counters[Slot.PORT])
    counters[Slot.PORT] = server.sockets[0].getsockname()[1]
    await server.serve_forever()


def serve(name: str, counters: Counters) -> None:
    """Run the backend: respond with its name and the target until killed."""
    asyncio.run(_listen(name, counters))
