"""One connection of a client: requests come in one after the other, each becomes an exchange, responses go out in order."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from enum import Enum
from fcntl import ioctl
from termios import TIOCOUTQ
from time import perf_counter
from typing import TYPE_CHECKING, cast

from balance.lb.data.accesslog import Entry
from balance.lb.data.clock import Timed
from balance.lb.data.exchange import Exchange
from balance.lb.data.replies import reply, status_of
from balance.lb.data.request import Body, Peer, examine
from balance.lb.data.tunnel import reset
from balance.lb.data.wire import RequestHead, RequestReader, WireError
from balance.lb.policy.faults import BROKEN_OFF, Fault

if TYPE_CHECKING:
    from balance.lb.data.proxy import Proxy

LINGER_SECONDS = 2.0
"""How long to go on reading after the last response, so that the client gets it before its own data bounces (RFC 9112 section 9.6)."""
LINGER_MOST = 30.0
"""The same for a client that goes on sending."""
EARLY_BYTES = 2**16
"""How much of the next requests may wait; while less is there, reading goes on, so that a client that hangs up is noticed."""


class Phase(Enum):
    """What the next bytes of the client are."""

    HEAD = "head"
    BODY = "body"
    BUSY = "busy"
    """the next requests, too early: kept, up to a bound"""
    TUNNEL = "tunnel"
    """none of ours: the connection has become one end of a tunnel"""
    DISCARD = "discard"
    """of no interest: the connection is about to end"""


class Client(asyncio.Protocol, Timed):
    """`regulate` decides after every event whether to read on."""

    __slots__ = (
        "_backlog",
        "_linger_until",
        "_next",
        "_reader",
        "_reading",
        "_started",
        "_stash",
        "exchange",
        "peer",
        "phase",
        "proxy",
        "transport",
        "write_paused",
    )

    def __init__(self, proxy: Proxy) -> None:
        Timed.__init__(self)
        self.proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.phase = Phase.HEAD
        self.write_paused = False
        self._reader = RequestReader(proxy.loop, proxy.config.limits.max_header_size)
        self._reading = True
        self._stash = b""
        self._next: RequestHead | None = None
        self._started = 0.0
        self._backlog = 0
        self._linger_until = 0.0

    def __repr__(self) -> str:
        return f"<Client {self.peer.name if self.transport else 'gone'} {self.phase.value} {self.exchange or ''}>"

    # --- what the event loop reports ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.peer = _peer(transport)
        self.proxy.clock.set(self, self.proxy.config.timeouts.request_header)
        if not self.proxy.admit(self):
            self._started = perf_counter()
            self._refuse(Fault.TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase is Phase.HEAD:
            if not self._reader.partial:
                self._started = perf_counter()
            self._read_head(data)
        elif phase is Phase.BODY:
            self._read_body(data)
        elif phase is Phase.BUSY:
            self._stash += data
            self.regulate()
        elif self.proxy.clock.now < self._linger_until:
            self.proxy.clock.set(self, LINGER_SECONDS)

    def eof_received(self) -> None:
        if self.exchange is not None:
            self.exchange.give_up(Fault.CLIENT_ABORT)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.proxy.clock.drop(self)
        unfinished, self.phase = self._unfinished, Phase.DISCARD
        if self.exchange is not None:
            self.exchange.give_up(Fault.CLIENT_ABORT)
        elif unfinished:
            self._account(Fault.CLIENT_ABORT, BROKEN_OFF[Fault.CLIENT_ABORT], 0)
        self.proxy.dismiss(self)

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self._watch_writing()
            self.exchange.download_paused()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.phase is Phase.DISCARD:  # its deadline is for the end of the connection
            return
        self.deadline = 0.0
        if self.exchange is not None:
            self.exchange.download_resumed()
        else:
            self._advance()

    def expire(self) -> None:
        exchange, transport = self.exchange, self.transport
        if transport is None:
            return
        if (self.write_paused or self.phase is Phase.DISCARD) and 0 < self._unsent() < self._backlog:
            self._watch_writing()
        elif exchange is not None:
            if exchange.waiting:
                exchange.give_up(Fault.QUEUE_TIMEOUT)
            else:
                exchange.give_up(Fault.CLIENT_STALLED if self.write_paused else Fault.BODY_TIMEOUT)
        elif self.phase is Phase.HEAD and self._reader.partial:
            self._refuse(Fault.HEADER_TIMEOUT)
        else:
            self.abort() if transport.get_write_buffer_size() or transport.is_closing() else transport.close()

    # --- requests ---

    def _read_head(self, data: bytes) -> None:
        fresh = not self._reader.partial
        try:
            message = self._reader.feed(data)
        except WireError as error:
            self._refuse(error.fault)
            return
        if message is not None:
            self._begin(message)
        elif fresh:
            self.proxy.clock.set(self, self.proxy.config.timeouts.request_header)

    def _begin(self, message: RequestHead) -> None:
        self.deadline = 0.0
        self._next = None
        try:
            request = examine(message, self.peer, self.proxy.config.limits.max_request_size)
        except WireError as error:
            self._refuse(error.fault, message)
            return
        reader = self._reader
        self.phase = Phase.BUSY if reader.done else Phase.BODY
        self.exchange = exchange = Exchange(self, request, self._started)
        if request.body is not Body.NONE:
            exchange.upload(reader.body(), reader.done)
            if self.exchange is not exchange:
                return
        if request.body is not Body.NONE or not self._reading:
            self.regulate()
        exchange.begin()

    def _read_body(self, data: bytes) -> None:
        exchange, reader = self.exchange, self._reader
        if exchange is None:
            return
        try:
            reader.feed_body(data)
        except WireError as error:
            exchange.give_up(error.fault)
            return
        if reader.done:
            self.phase = Phase.BUSY
        exchange.upload(reader.body(), reader.done)

    def finished(self, keep: bool) -> None:
        """The exchange is over; `keep`: another may follow on this connection."""
        self.exchange = None
        if self.transport is None:
            return
        if not keep or self.phase is not Phase.BUSY:
            self._hang_up(unread=self.phase is not Phase.BUSY or bool(self._stash))
        elif not self.write_paused:
            self._advance()

    def hand_over(self) -> bytes:
        """The connection becomes one end of a tunnel; what has arrived for it already."""
        self.exchange = None
        self.phase = Phase.TUNNEL
        self.deadline = 0.0
        early, self._stash = self._reader.unread + self._stash, b""
        return early

    def _advance(self) -> None:
        """Turn to the next request, which may have arrived already."""
        stash, self._stash = self._stash, b""
        try:
            message = self._reader.advance(stash)
        except WireError as error:
            self._started = perf_counter()
            self._refuse(error.fault)
            return
        if not self._reader.reusable:
            self._hang_up(unread=True)
        elif message is not None:
            self._started = perf_counter()
            self._next = message
            self.proxy.loop.call_soon(self._begin_next)  # not at once: a thousand pipelined requests would nest a thousand calls
        elif self.proxy.draining and not self._reader.partial:
            self._hang_up(unread=False)
        else:
            self.phase = Phase.HEAD
            timeouts = self.proxy.config.timeouts
            self.proxy.clock.set(self, timeouts.request_header if self._reader.partial else timeouts.keep_alive)
            if not self._reading:
                self.regulate()

    def _begin_next(self) -> None:
        if self._next is None or self.transport is None:
            return
        early, self._stash = self._stash, b""  # what has arrived since: it belongs to this request's body, or follows it
        self._begin(self._next)
        if early:
            self.data_received(early)

    def _refuse(self, fault: Fault, message: RequestHead | None = None) -> None:
        """Answer what never became an exchange, and end the connection."""
        method = message.method if message else "OTHER"
        head, body = reply(fault, close=True)
        if method == "HEAD":
            body = b""
        self.write(head + body)
        self._account(fault, status_of(fault), len(body), message)
        self._hang_up(unread=True)

    @property
    def _unfinished(self) -> bool:
        """Whether a request has begun to arrive that is no exchange yet."""
        return self._next is not None or (self.phase is Phase.HEAD and self._reader.partial)

    def _account(self, fault: Fault, status: int, sent: int, message: RequestHead | None = None) -> None:
        """Count and log what never became an exchange."""
        message = message or self._next
        seconds = perf_counter() - self._started
        self.proxy.meters.answered(message.method if message else "OTHER", status, seconds, 0, sent)
        self.proxy.meters.failed(fault)
        if self.proxy.access is not None:
            method, target = (message.method, message.path) if message else ("-", "-")
            self.proxy.access.add(Entry(self.peer.name, method, target, status, "-", 0, sent, seconds, 0, fault.value))

    # --- the connection ---

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client has gone."""
        if self.transport is not None and data:
            self.transport.write(data)

    def regulate(self) -> None:
        """Read if there is something to be done with what arrives; otherwise let the client wait."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        wanted = self._wants_more()
        if wanted is not self._reading:
            self._reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _wants_more(self) -> bool:
        if self.phase is Phase.BUSY:
            return len(self._stash) < EARLY_BYTES
        if self.phase is Phase.BODY:
            return self.exchange is not None and self.exchange.takes_body
        return True

    def drain(self) -> None:
        """The balancer is about to stop: end now if idle, else after the response."""
        if self.phase is Phase.HEAD and not self._reader.partial:
            self._hang_up(unread=False)

    def break_off(self) -> None:
        """The balancer stops now."""
        if self.exchange is not None:
            self.exchange.give_up(Fault.SHUTDOWN)
        elif self._unfinished:
            self._account(Fault.SHUTDOWN, BROKEN_OFF[Fault.SHUTDOWN], 0)
            self._next = None
        self.abort()

    def abort(self) -> None:
        """Break the connection with a reset: what has been sent is not to be taken for a whole response."""
        self.phase = Phase.DISCARD
        if self.transport is not None:
            reset(self.transport)

    def _hang_up(self, *, unread: bool) -> None:
        """End politely: after the last byte went out and, if the client may still be sending, with an ear for it."""
        transport = self.transport
        self.phase = Phase.DISCARD
        if transport is None or transport.is_closing():
            return
        if unread:
            self.regulate()
            transport.write_eof()
            self._backlog = self._unsent() + 1  # what is left of it after the lingering is given its own time
            self._linger_until = self.proxy.clock.now + LINGER_MOST
            self.proxy.clock.set(self, LINGER_SECONDS)
        else:
            self._watch_writing()
            transport.close()

    def _watch_writing(self) -> None:
        """End the connection unless the client takes something in the meantime."""
        self._backlog = self._unsent()
        self.proxy.clock.set(self, self.proxy.config.timeouts.body_idle)

    def _unsent(self) -> int:
        """Bytes that the client has not taken: in our buffer, and in the kernel's, which may hold megabytes."""
        if self.transport is None:
            return 0
        waiting = bytearray(4)
        with suppress(OSError, AttributeError):
            ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, waiting)
        return self.transport.get_write_buffer_size() + int.from_bytes(waiting, sys.byteorder)


def _peer(transport: asyncio.BaseTransport) -> Peer:
    """Who is at the other end, as log and backend are told."""
    address, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not isinstance(address, tuple) or not isinstance(local, tuple):
        return Peer("unix", (b"X-Forwarded-Proto: http",), b"localhost")
    host = f"[{local[0]}]" if ":" in local[0] else local[0]
    forwarded = (f"X-Forwarded-For: {address[0]}".encode(), b"X-Forwarded-Proto: http")
    return Peer(address[0], forwarded, f"{host}:{local[1]}".encode())
