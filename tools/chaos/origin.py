"""A backend in a process of its own, so that it can be killed and stopped, with books that outlive it.

Theory. Books and orders are words of memory that parent and child share: the parent writes what to do, the child alone what it did.
An answer is booked just before it is written, so that a kill can leave one too many, and never one too few.
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
"""How long an answer takes, so that there is always something in flight."""
SLOW_SECONDS = 2.0
FALL = 2
"""Failed checks in a row that take a backend out."""
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
    """so are `FALL` checks, then as many with 200, and so on"""


class Word(IntEnum):
    """Places in the shared memory. `ANSWERED` and `ERRORS` count answers with 200 and 500, `PASSED` and `FAILED` answers to health checks, `FALLS`
    how often `FALL` of those failed in a row; `ASKED` and `CONNECTIONS` are requests that arrived and the connections that they came by."""

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
    """health checks that came while it flaps"""


Books = MutableSequence[int]


class Origin:
    """The parent's hold on it. `start` after `kill` takes the same port again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.books: Books = _SPAWN.RawArray("Q", len(Word))
        self._process = self._made()

    def __repr__(self) -> str:
        return f"<Origin {self.name} at {self.books[Word.PORT]}, {Mode(self.books[Word.MODE]).name}>"

    def _made(self) -> multiprocessing.process.BaseProcess:
        return _SPAWN.Process(target=serve, args=(self.name, self.books), daemon=True)

    def start(self) -> None:
        self._process.start()

    def become(self, mode: Mode) -> None:
        self.books[Word.MODE] = mode

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if self._process.pid is None:
            return
        self._process.kill()
        self._process.join()
        self._process = self._made()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT."""
        if self._process.pid is not None:
            os.kill(self._process.pid, number)


class _Connection(asyncio.Protocol):
    def __init__(self, name: str, books: Books) -> None:
        self._name, self._books = name.encode(), books
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
        """Where requests go wrong, health checks pass, so that nothing but the requests themselves tells of the fault; and the other way round."""
        books, mode = self._books, Mode(self._books[Word.MODE])
        if target == b"/health":
            self._check(mode)
            return
        books[Word.ASKED] += 1
        books[Word.CONNECTIONS] += not self._known
        self._known = True
        if mode in (Mode.RESET, Mode.HALF):
            self._later(WORK_SECONDS, partial(self._reset, mode))
        else:
            status, word = (b"500 Sad", Word.ERRORS) if mode is Mode.ERROR else (b"200 OK", Word.ANSWERED)
            self._later(SLOW_SECONDS if mode is Mode.SLOW else WORK_SECONDS, partial(self._answer, word, self._response(status, target)))

    def _check(self, mode: Mode) -> None:
        books = self._books
        failed = mode is Mode.SICK or (mode is Mode.FLAP and books[Word.TURN] // FALL % 2 == 0)
        books[Word.TURN] = books[Word.TURN] + 1 if mode is Mode.FLAP else 0
        books[Word.FAILED if failed else Word.PASSED] += 1
        books[Word.STREAK] = books[Word.STREAK] + 1 if failed else 0
        books[Word.FALLS] += books[Word.STREAK] == FALL
        self._transport.write(self._response(b"503 Ill" if failed else b"200 OK", b"/health"))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, act)

    def _response(self, status: bytes, target: bytes) -> bytes:
        return b"HTTP/1.1 %b\r\nX-Backend: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, self._name, len(target), target)

    def _answer(self, word: Word, response: bytes) -> None:
        if not self._transport.is_closing():
            self._books[word] += 1
            self._transport.write(response)

    def _reset(self, mode: Mode) -> None:
        if self._transport.is_closing():
            return
        self._books[Word.RESETS] += 1
        if mode is Mode.HALF:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def _listen(name: str, books: Books) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(name, books), "127.0.0.1", books[Word.PORT])
    books[Word.PORT] = server.sockets[0].getsockname()[1]
    await server.serve_forever()


def serve(name: str, books: Books) -> None:
    """The process: answers with its name and the target, until it is ended."""
    asyncio.run(_listen(name, books))
