"""A connection to a backend: parses responses for its exchange, and is idle in the backend between exchanges."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, cast

from balance.lb.data.clock import Timed
from balance.lb.data.request import Body
from balance.lb.data.response import Response, compose, interim
from balance.lb.data.tls import TlsError, TlsTransport, is_refusal
from balance.lb.data.wire import ResponseReader, WireError
from balance.lb.policy.faults import LOCAL_ERRORS, Fault

if TYPE_CHECKING:
    from balance.lb.data.backend import Backend
    from balance.lb.data.exchange import Exchange
    from balance.lb.data.proxy import Proxy


class Upstream(asyncio.Protocol, Timed):
    """Belongs to its `exchange` until it is released; without one it is idle, and any data that arrives closes it.

    A reader is needed for heads that are not plain (`balance.lb.data.fastheads`) and for their bodies; otherwise `_left` is the number of
    body bytes to come. `begun`: part of a response has arrived.
    """

    __slots__ = (
        "_counted", "_dialling", "_left", "_proxy", "_reader", "_reading", "backend", "begun", "exchange", "reused", "transport", "write_paused",
    )  # fmt: skip

    def __init__(self, proxy: Proxy, backend: Backend) -> None:
        Timed.__init__(self)
        self._proxy = proxy
        self.backend = backend
        self.exchange: Exchange | None = None
        self._reader: ResponseReader | None = None
        self._left = 0
        self.begun = False
        self.transport: asyncio.Transport | None = None
        self.reused = False
        self.write_paused = False
        self._reading = True
        self._dialling: asyncio.Task[None] | None = None
        self._counted = True
        backend.open += 1

    def __repr__(self) -> str:
        state = "connecting" if self.transport is None else "idle" if self.exchange is None else "busy"
        return f"<Upstream {self.backend.name} {state}>"

    @property
    def closing(self) -> bool:
        """True if it can take no further request."""
        return self.transport is None or self.transport.is_closing()

    def dial(self) -> None:
        """Open the connection for the current exchange."""
        self._dialling = self._proxy.loop.create_task(self._dial())
        if self.exchange is not None:
            self._proxy.clock.set(self, self.exchange.active_config.timeouts.connect)

    async def _dial(self) -> None:
        config, identity = self.backend.config, self.backend.identity
        address = config.address
        try:
            secure = TlsTransport(self, identity.context, name=config.server_name) if identity else None
            protocol: asyncio.Protocol = secure or self
            if address.path:
                await self._proxy.loop.create_unix_connection(lambda: protocol, address.path)
            else:
                await self._proxy.loop.create_connection(lambda: protocol, address.host, address.port)
            if secure:
                await secure.shaken()
        except TlsError as error:
            self._proxy.log("debug", "backend_tls_failed", backend=self.backend.name, cause=str(error))
            self._fail(Fault.TLS_FAILED)
        except ConnectionRefusedError:
            self._fail(Fault.CONNECT_REFUSED)
        except (OSError, UnicodeError) as error:
            local = isinstance(error, OSError) and error.errno in LOCAL_ERRORS
            self._fail(Fault.OUT_OF_RESOURCES if local else Fault.CONNECT_FAILED)

    def release(self) -> None:
        """End the exchange and make the connection idle."""
        self.exchange = self._reader = None
        self.reused = True
        if not self._reading:
            self.read(True)
        self.backend.give(self)
        if self._proxy.waiting:
            self._proxy.wake()

    def hand_over(self) -> bytes:
        """Hand the connection to a tunnel; returns the bytes that have already arrived for it."""
        reader, self._reader, self.exchange = self._reader, None, None
        self.deadline = 0.0
        return reader.unread if reader is not None else b""

    def close(self) -> None:
        """Close at once, without notifying the exchange."""
        self.exchange = None
        self.deadline = 0.0
        if self.transport is not None:
            self.transport.abort()
        elif self._dialling is not None:
            self._dialling.cancel()
        self._uncount()

    def read(self, wanted: bool) -> None:
        """Resume (`wanted`) or pause reading."""
        if wanted is not self._reading and self.transport is not None and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.exchange is None:
            self.transport.abort()
            return
        self.deadline = 0.0
        self.backend.meters.connections.value += 1
        self.backend.meters.opened.value += 1
        self.exchange.opened()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
        elif self._reader is not None:
            self._parse(exchange, data)
        elif self.begun:
            self._left -= len(data)
            if self._left < 0 and not data[self._left :].strip(b"\r\n"):  # empty lines, which the parser ignores too
                data, self._left = data[: self._left], 0
            if self._left < 0:
                exchange.failed(Fault.INVALID_RESPONSE)
            else:
                exchange.stream(data, not self._left)
        else:
            self.begun = True
            exchange.first_at = perf_counter()
            end = data.find(b"\r\n\r\n") + 4
            head = data[:end]
            response = None if exchange.request.method == "HEAD" else exchange.request.route.responses.get(head) or self._recognise(exchange, head)
            if response is None or len(data) - end > response.length:
                self._parse(exchange, data)
            else:
                self._left = response.length - (len(data) - end)
                exchange.answer(response, data[end:], not self._left)

    def _recognise(self, exchange: Exchange, head: bytes) -> Response | None:
        """The response for a plain head, which is then cached; None if the head is not plain or not acceptable."""
        message = exchange.active_config.head_parser.response(head)
        if message is None:
            return None
        try:
            response = compose(message, bodiless=False, via=exchange.active_config.via, edit=exchange.request.route.edit_response)
        except WireError:
            return None
        if response.body is Body.CLOSE:
            return None
        exchange.request.route.responses.keep(head, response)
        return response

    def _parse(self, exchange: Exchange, data: bytes) -> None:
        """Parse a response that is not plain."""
        bodiless = exchange.request.method == "HEAD"
        exchange.first_at = exchange.first_at or perf_counter()  # after an interim response
        reader = self._reader
        if reader is None:
            reader = self._reader = ResponseReader(self._proxy.loop, exchange.active_config.config.limits, bodiless=bodiless)
        try:
            heads = reader.feed(data)
            if not heads:
                exchange.stream(reader.body(), reader.done)
            for head in heads:
                if head.code == 101:
                    exchange.switch(head)
                elif 100 <= head.code < 200:
                    exchange.interim(interim(head))
                else:
                    exchange.first_at = exchange.first_at or perf_counter()
                    edit = exchange.request.route.edit_response
                    exchange.answer(compose(head, bodiless=bodiless, via=exchange.active_config.via, edit=edit), reader.body(), reader.done)
                if self.exchange is not exchange:
                    return
        except WireError as error:
            exchange.failed(error.fault)

    def eof_received(self) -> None:
        self._ended(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.exchange is not None and self.exchange.response is None and is_refusal(exc):
            self._fail(Fault.TLS_FAILED)
        self._ended(clean=exc is not None and self._salvage())
        self.transport = None
        self._uncount()
        self._proxy.clock.drop(self)

    def _salvage(self) -> bool:
        """Read what the backend sent before our write failed: a backend may respond early and close the connection.

        Returns True if its data ended normally. The socket is still open while the loss of the connection is reported.
        """
        if self.exchange is None or self.transport is None:
            return False
        secure = self.transport if isinstance(self.transport, TlsTransport) else None
        with suppress(OSError), socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as left:
            left.setblocking(False)
            while self.exchange is not None:
                data = left.recv(2**18)
                if not data:
                    return secure is None  # with TLS, only close_notify is a normal end
                (secure or self).data_received(data)
        return False

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self.exchange.await_backend()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.await_backend()

    def expire(self) -> None:
        if self.exchange is None:
            self.close()
        elif self.transport is None:
            self._fail(Fault.CONNECT_TIMEOUT)
        else:
            self._fail(Fault.FIRST_BYTE_TIMEOUT if self.exchange.response is None else Fault.RESPONSE_TIMEOUT)

    def _ended(self, *, clean: bool) -> None:
        exchange, reader = self.exchange, self._reader
        if exchange is None:
            self.close()
        elif clean and reader is not None and reader.eof():
            exchange.stream(reader.body(), True)
        else:
            exchange.failed(Fault.CLOSED_EARLY if exchange.response is None else Fault.RESPONSE_TRUNCATED)

    def _fail(self, fault: Fault) -> None:
        self._dialling = self._dialling if fault is Fault.CONNECT_TIMEOUT else None
        if self.exchange is not None:
            self.exchange.failed(fault)

    def _uncount(self) -> None:
        """Free the place at the backend, for queued requests."""
        if not self._counted:
            return
        self._counted = False
        self.backend.open -= 1
        if self.transport is not None:
            self.backend.meters.connections.value -= 1
            self.backend.meters.closed.value += 1
        if self in self.backend.idle:
            self.backend.idle.remove(self)
        self._proxy.wake()
