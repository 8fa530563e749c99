"""A client's connection: reads requests one after the other, makes each an exchange, and sends the responses in order."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from enum import Enum
from fcntl import ioctl
from termios import TIOCOUTQ
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from balance.lb.data.accesslog import Entry
from balance.lb.data.clock import Timed
from balance.lb.data.exchange import MAX_EARLY_BYTES, Exchange
from balance.lb.data.forwarding import Peer
from balance.lb.data.replies import reply, status_of
from balance.lb.data.request import Body, Request
from balance.lb.data.tunnel import reset
from balance.lb.data.wire import RequestHead, RequestReader, WireError
from balance.lb.policy.ending import RequestPhase, termination
from balance.lb.policy.faults import ABORT_STATUSES, Fault

if TYPE_CHECKING:
    from balance.lb.data.activeconfig import ActiveConfig
    from balance.lb.data.proxy import Proxy

LINGER_SECONDS = 2.0
"""Seconds to keep reading after the last response, so that the client gets it before a reset (RFC 9112 section 9.6)."""
MAX_LINGER_SECONDS = 30.0
"""Maximum for a client that keeps sending."""


class ReceivePhase(Enum):
    """What the next bytes from the client belong to."""

    HEAD = "head"
    BODY = "body"
    BUSY = "busy"
    """the next requests, pipelined: buffered, up to a limit"""
    TUNNEL = "tunnel"
    """the connection is one end of a tunnel"""
    DISCARD = "discard"
    """ignored: the connection is about to end"""


_HEAD, _BODY, _BUSY, _DISCARD = ReceivePhase.HEAD, ReceivePhase.BODY, ReceivePhase.BUSY, ReceivePhase.DISCARD


class Client(asyncio.Protocol, Timed):
    """`regulate` decides after every event whether to continue reading. A reader is needed for heads that are not plain (`balance.lb.data.fastheads`)
    and for their bodies; otherwise `_left` is the number of body bytes to come."""

    __slots__ = (
        "_active_config",
        "_address",
        "_backlog",
        "_buffered",
        "_known",
        "_left",
        "_linger_until",
        "_reader",
        "_reading",
        "_started",
        "exchange",
        "peer",
        "phase",
        "proxy",
        "transport",
        "write_paused",
    )

    def __init__(self, proxy: Proxy, address: Any) -> None:
        Timed.__init__(self)
        self._address = address  # from accept: the transport has none if the client has already reset the connection
        self.proxy = proxy
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.phase = _HEAD
        self.write_paused = False
        self._reader: RequestReader | None = None
        self._left = 0
        self._reading = True
        self._buffered = b""
        self._started = 0.0
        self._backlog = 0
        self._linger_until = 0.0

    def __repr__(self) -> str:
        return f"<Client {self.peer.name if self.transport else 'gone'} {self.phase.value} {self.exchange or ''}>"

    # --- callbacks of the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._adopt(self.proxy.active_config)
        self.proxy.clock.set(self, self._active_config.timeouts.request_header)
        if not self.proxy.allowed(self):
            self.abort()
        elif not self.proxy.register(self):
            if transport.get_extra_info("ssl_object"):  # a handshake only to send a refusal costs too much
                self.abort()
                return
            self._started = perf_counter()
            self._refuse(Fault.TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase is _HEAD:
            if self._reader is None:
                self._started = perf_counter()
                if self._active_config is not self.proxy.active_config:
                    self._adopt(self.proxy.active_config)
                end = data.find(b"\r\n\r\n") + 4
                head = data[:end]
                request = self._known.get(head) or self._recognise(head)
                if request is not None:
                    if len(data) == end and not request.length:
                        self._serve(request, b"", True)
                        return
                    body = data[end : end + request.length]
                    self._left = request.length - len(body)
                    self._buffered = data[end + request.length :]
                    self._serve(request, body, not self._left)
                    return
            self._read_head(data)
        elif phase is _BODY:
            self._read_body(data)
        elif phase is _BUSY:
            self._buffered += data
            self.regulate()
        elif self.proxy.clock.now < self._linger_until:
            self.proxy.clock.set(self, LINGER_SECONDS)

    def _adopt(self, active_config: ActiveConfig) -> None:
        """Use this configuration for the next requests."""
        self._active_config = active_config
        self.peer = _peer(self.transport, self._address, active_config)
        self._known = active_config.requests(self.peer)

    def eof_received(self) -> None:
        if self.exchange is not None:
            self.exchange.give_up(Fault.CLIENT_ABORT)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.proxy.clock.drop(self)
        unfinished, self.phase = self._receiving_head, _DISCARD
        if self.exchange is not None:
            self.exchange.give_up(Fault.CLIENT_ABORT)
        elif unfinished:
            self._account(Fault.CLIENT_ABORT, ABORT_STATUSES[Fault.CLIENT_ABORT], 0)
        self.proxy.unregister(self)

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self._watch_writing()
            self.exchange.download_paused()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.phase is _DISCARD:  # its deadline is for the end of the connection
            return
        self.deadline = 0.0
        if self.exchange is not None:
            self.exchange.download_resumed()
        elif self.phase is _BUSY:
            self._advance()

    def expire(self) -> None:
        exchange, transport = self.exchange, self.transport
        if transport is None:
            return
        if (self.write_paused or self.phase is _DISCARD) and 0 < self._unsent() < self._backlog:
            self._watch_writing()
        elif exchange is not None:
            if exchange.waiting:
                exchange.pool.meters.timed_out.value += 1
                exchange.give_up(Fault.QUEUE_TIMEOUT)
            else:
                exchange.give_up(Fault.CLIENT_STALLED if self.write_paused else Fault.BODY_TIMEOUT)
        elif self._receiving_head:
            self._refuse(Fault.HEADER_TIMEOUT)
        else:
            self.abort() if transport.get_write_buffer_size() or transport.is_closing() else transport.close()

    @property
    def _receiving_head(self) -> bool:
        return self.phase is _HEAD and self._reader is not None and self._reader.partial

    # --- requests ---

    def _recognise(self, head: bytes) -> Request | None:
        """The request of a plain head, which is then cached; None if the head is not plain or must be refused."""
        message = self._active_config.head_parser.request(head)
        if message is None:
            return None
        try:
            request = self._active_config.examiner.examine(message, self.peer)
        except WireError:
            return None
        self._known.keep(head, request)
        return request

    def _read_head(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            reader = self._reader = RequestReader(self.proxy.loop, self._active_config.config.limits)
        fresh = not reader.partial
        if fresh:
            self._started = perf_counter()
        try:
            message = reader.feed(data)
        except WireError as error:
            self._refuse(error.fault)
            return
        if message is None:
            if fresh and reader.partial:
                self.proxy.clock.set(self, self._active_config.timeouts.request_header)
            return
        try:
            request = self._active_config.examiner.examine(message, self.peer)
            if reader.done:
                self._end_of_request(reader, request)
        except WireError as error:
            self._refuse(error.fault, message)
            return
        self._serve(request, reader.body(), reader.done, 0.0 if fresh else perf_counter() - self._started)

    def _serve(self, request: Request, body: bytes, done: bool, waited: float = 0.0) -> None:
        """Start an exchange. `body`: what has arrived of the body; `done`: it is complete. `waited`: seconds until the head was complete."""
        self.deadline = 0.0
        self.phase = _BUSY if done else _BODY
        if self._active_config.begins_traces and not request.trace:
            request = request.traced()
        self.exchange = exchange = Exchange(self, request, self._started, waited)
        if request.route.guarded and not exchange.admitted():
            return
        if request.body is not Body.NONE:
            exchange.upload(body, done)
            if self.exchange is not exchange:
                return
            self.regulate()
        elif not self._reading:
            self.regulate()
        exchange.begin()

    def _read_body(self, data: bytes) -> None:
        exchange, reader = self.exchange, self._reader
        if exchange is None:
            return
        if reader is None:
            data, self._buffered = data[: self._left], data[self._left :]
            self._left -= len(data)
            if not self._left:
                self.phase = _BUSY
            exchange.upload(data, not self._left)
            return
        try:
            reader.feed_body(data)
            if reader.done:
                self.phase = _BUSY
                self._end_of_request(reader, exchange.request)
        except WireError as error:
            exchange.give_up(error.fault)
            return
        exchange.upload(reader.body(), reader.done)

    def _end_of_request(self, reader: RequestReader, request: Request) -> None:
        """Buffer bytes after the end of a request. Raises `WireError` if any follow the last request (RFC 9112 section 9.6)."""
        self._buffered = reader.rest or b""
        if request.final and (reader.followed or self._buffered not in (b"", b"\r\n")):
            raise WireError(Fault.BAD_FRAMING)

    def finished(self, keep: bool) -> None:
        """End the exchange; `keep`: the connection may be used for another request."""
        self.exchange = None
        if self.transport is None:
            return
        if not keep or self.phase is not _BUSY:
            self._hang_up(unread=self.phase is not _BUSY or bool(self._buffered))
        elif not self.write_paused:
            self._advance()

    def hand_over(self) -> bytes:
        """Hand the connection to a tunnel; returns the bytes that have already arrived for it."""
        self.exchange = self._reader = None
        self.phase = ReceivePhase.TUNNEL
        self.deadline = 0.0
        early, self._buffered = self._buffered, b""
        return early

    def _advance(self) -> None:
        """Continue with the next request, which may already be buffered."""
        reader, self._reader = self._reader, None
        if reader is not None and reader.rest is None:
            self._hang_up(unread=True)
        elif self._buffered:
            self.proxy.loop.call_soon(self._go_on)  # not at once: a thousand pipelined requests would recurse a thousand times
        else:
            self._rest()

    def _rest(self) -> None:
        """Wait for the next request, unless the proxy is closing."""
        if self.proxy.closing:
            self._hang_up(unread=False)
            return
        self.phase = _HEAD
        self.proxy.clock.set(self, self._active_config.timeouts.keep_alive)
        if not self._reading:
            self.regulate()

    def _go_on(self) -> None:
        """Read the buffered bytes."""
        if self.transport is None or self.phase is not _BUSY:
            return
        self.phase = _HEAD
        data, self._buffered = self._buffered, b""
        self.data_received(data)
        if self.phase is _HEAD and not self._receiving_head:  # only an empty line, as old clients send after a body
            self._rest()
        self.regulate()

    def _refuse(self, fault: Fault, message: RequestHead | None = None) -> None:
        """Send an error response to a request that never became an exchange, and end the connection."""
        method = message.method if message else "OTHER"
        head, body = reply(fault, close=True)
        if method == "HEAD":
            body = b""
        self.write(head + body)
        self._account(fault, status_of(fault), len(body), message)
        self._hang_up(unread=True)

    def _account(self, fault: Fault, status: int, sent: int, message: RequestHead | None = None) -> None:
        """Count and log a request that never became an exchange."""
        seconds = perf_counter() - self._started
        self.proxy.meters.answers.append((message.method if message else "OTHER", status, seconds, 0, sent, -1.0, ""))
        self.proxy.meters.failed(fault)
        if self.proxy.access is not None:
            method, target = (message.method, message.target) if message else ("-", b"-")
            ending = termination(fault, RequestPhase.REQUEST)
            self.proxy.access.add(Entry(self.peer.name, method, target, status, "-", 0, sent, seconds, 0, fault.value, ending))

    # --- the connection ---

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client is gone."""
        if self.transport is not None and data:
            self.transport.write(data)

    def regulate(self) -> None:
        """Resume reading if more bytes can be used, otherwise pause it."""
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
        if self.phase is _BUSY:
            return len(self._buffered) < MAX_EARLY_BYTES
        if self.phase is _BODY:
            return self.exchange is not None and (self.exchange.takes_body or self.exchange.can_buffer_body)
        return True

    def drain(self) -> None:
        """Start shutdown: close now if idle, else after the response."""
        if self.phase is _HEAD and not self._receiving_head:
            self._hang_up(unread=False)

    def break_off(self) -> None:
        """Break the connection, because the load balancer stops now."""
        if self.exchange is not None:
            self.exchange.give_up(Fault.SHUTDOWN)
        elif self._receiving_head:
            self._account(Fault.SHUTDOWN, ABORT_STATUSES[Fault.SHUTDOWN], 0)
        self.abort()

    def abort(self) -> None:
        """Reset the connection, so that a partial response cannot be taken for a complete one."""
        self.phase = _DISCARD
        if self.transport is not None:
            reset(self.transport)

    def _hang_up(self, *, unread: bool) -> None:
        """Close after the last byte is sent; `unread`: the client may still be sending, so keep reading for a while first."""
        transport = self.transport
        self.phase = _DISCARD
        if transport is None or transport.is_closing():
            return
        if unread:
            self.regulate()
            transport.write_eof()
            self._backlog = self._unsent() + 1  # unsent bytes after lingering get their own time
            self._linger_until = self.proxy.clock.now + MAX_LINGER_SECONDS
            self.proxy.clock.set(self, LINGER_SECONDS)
        else:
            self._watch_writing()
            transport.close()

    def _watch_writing(self) -> None:
        """Set a deadline that applies unless the client receives something in the meantime."""
        self._backlog = self._unsent()
        self.proxy.clock.set(self, self._active_config.timeouts.body_idle)

    def _unsent(self) -> int:
        """Bytes that the client has not received: in our buffer and in the kernel's, which can hold megabytes."""
        if self.transport is None:
            return 0
        waiting = bytearray(4)
        with suppress(OSError, AttributeError):
            ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, waiting)
        return self.transport.get_write_buffer_size() + int.from_bytes(waiting, sys.byteorder)


def _peer(transport: asyncio.Transport | None, address: Any, active_config: ActiveConfig) -> Peer:
    """The peer, as shown to the log and to backends."""
    local = transport.get_extra_info("sockname") if transport else None
    secure = transport is not None and transport.get_extra_info("ssl_object") is not None
    if not isinstance(address, tuple) or not isinstance(local, tuple):
        return active_config.forwarding.peer("unix", b"localhost", secure=secure)
    host = f"[{local[0]}]" if ":" in local[0] else local[0]
    return active_config.forwarding.peer(address[0], f"{host}:{local[1]}".encode(), secure=secure)
