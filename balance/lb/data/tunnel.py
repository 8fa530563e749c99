"""Tunnels: after a 101, raw bytes are passed both ways between client and backend, in any protocol.

Theory. The transports get new protocol objects: bytes from one end are written to the other, and an end is read only while the other end
accepts data. The end of one direction (a FIN) is passed on and leaves the other direction open; once both have ended, the tunnel ended
normally. Everything else (a reset, an idle timeout, a shutdown) is passed on as a reset, which no protocol can mistake for a normal end.
The objects that had the connections before still count them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, cast

from balance.instruments import CounterChild
from balance.lb.data.clock import Timed
from balance.lb.policy.faults import Fault

if TYPE_CHECKING:
    from balance.lb.data.client import Client
    from balance.lb.data.exchange import Exchange
    from balance.lb.data.upstream import Upstream

_RESET = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """Close a connection at once with a reset instead of a normal end."""
    with suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class Tunnel(Timed):
    """A tunnel over the connections of an exchange; `begin` starts it. It expires when it has been idle for `timeouts.tunnel`."""

    __slots__ = ("_back", "_exchange", "_front", "_proxy")

    def __init__(self, exchange: Exchange, upstream: Upstream) -> None:
        Timed.__init__(self)
        self._exchange = exchange
        self._proxy = proxy = exchange.client.proxy
        self._front = End(self, exchange.client, Fault.CLIENT_ABORT, proxy.meters.tunnel_in)
        self._back = End(self, upstream, Fault.RESPONSE_TRUNCATED, proxy.meters.tunnel_out)
        self._front.other, self._back.other = self._back, self._front

    def __repr__(self) -> str:
        return f"<Tunnel to {self._exchange.backend}: {self._front.moved} bytes in, {self._back.moved} bytes out>"

    def begin(self, head: bytes) -> None:
        """Send the `head` of the 101 to the client, and pass on what has already arrived."""
        self._proxy.tunnels.add(self)
        self._front.transport.write(head)
        for end in (self._back, self._front):
            end.take_over()
        self.touch()

    def touch(self) -> None:
        """Restart the idle timeout."""
        self._proxy.clock.set(self, self._exchange.active_config.timeouts.tunnel)

    def expire(self) -> None:
        self.end(Fault.TUNNEL_TIMEOUT)

    def lost(self, end: End, exc: Exception | None) -> None:
        """The connection of an end is lost: normal after both directions have ended, else a fault (TLS without close_notify has no `exc`)."""
        if exc is not None or not end.ended:
            self.end(end.fault)
        elif not end.other.open:
            self.end(Fault.OK)

    def end(self, fault: Fault) -> None:
        """End the tunnel: reset open connections, and count and log the exchange with `fault`."""
        if self not in self._proxy.tunnels:
            return
        self._proxy.tunnels.remove(self)
        self._proxy.clock.drop(self)
        for end in (self._front, self._back):
            if end.open:
                reset(end.transport)
        exchange = self._exchange
        exchange.received, exchange.sent = self._front.moved, self._back.moved
        exchange.account(fault, perf_counter() - exchange.started)


class End(asyncio.Protocol):
    """One end of a tunnel. `former`: owner of the connection before; `fault`: the fault if it breaks; `moved`: bytes it has sent."""

    __slots__ = ("_former", "_meter", "_paused", "_tunnel", "ended", "fault", "moved", "open", "other", "transport")

    other: End

    def __init__(self, tunnel: Tunnel, former: Client | Upstream, fault: Fault, meter: CounterChild) -> None:
        self.transport = cast("asyncio.Transport", former.transport)
        self.transport.set_protocol(self)
        self.fault = fault
        self.moved = 0
        self.open = True
        self._tunnel = tunnel
        self._former = former
        self._meter = meter
        self.ended = False
        """True after its direction has ended"""
        self._paused = former.write_paused  # its send buffer is full

    def take_over(self) -> None:
        """Take over the connection, starting with the bytes that have already arrived."""
        if early := self._former.hand_over():
            self.data_received(early)
        self._regulate()

    def data_received(self, data: bytes) -> None:
        self.moved += len(data)
        self._meter.value += len(data)
        self._tunnel.touch()
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        other = self.other.transport
        if self.other.ended:
            other.close()  # both after sending what is still buffered
            self.transport.close()
        elif not other.is_closing():
            other.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._former.connection_lost(exc)
        self._tunnel.lost(self, exc)

    def pause_writing(self) -> None:
        self._paused = True
        self.other._regulate()

    def resume_writing(self) -> None:
        self._paused = False
        self._tunnel.touch()
        self.other._regulate()

    def _regulate(self) -> None:
        """Read while the other end accepts data."""
        if self.ended or self.transport.is_closing():
            return
        if self.other._paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
