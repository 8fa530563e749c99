"""The sockets that clients connect to.

Theory. The event loop's own servers accept one connection per turn of the loop. While a thousand clients are busy a turn takes tens of
milliseconds, and new clients would be let in by the handful. So connections are accepted here, as many as a turn finds.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from balance.lb.config import Address
from balance.lb.data.client import Client
from balance.lb.data.proxy import Proxy
from balance.lb.data.tls import Tls
from balance.lb.errors import StartError

BACKLOG = 1024
_PER_TURN = 128
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_PAUSE = 0.5
"""Seconds without accepting when the process has no file descriptor left."""


def cannot_listen(address: Address, error: OSError, cure: str) -> StartError:
    """The error of an address that cannot be listened on, in one line."""
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return StartError(f"cannot listen: {reason}", where=str(address), cure=cure)


class Listener:
    """All listening sockets of a proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._sockets: dict[socket.socket, Callable[[Any], asyncio.Protocol]] = {}
        self._arriving: set[asyncio.Task[object]] = set()

    def __repr__(self) -> str:
        return f"<Listener {', '.join(map(str, self.addresses()))}>"

    async def open(self) -> None:
        """Listen on all addresses of the configuration, or on none and raise `StartError`."""
        config = self._proxy.config
        await self._open(config.listen, lambda address: Client(self._proxy, address), "listen, or BALANCE_LISTEN")
        if config.tls:
            await self._open(config.tls.listen, self._secure, "tls.listen, or BALANCE_TLS_LISTEN")
        for listening in self._sockets:
            self._proxy.loop.add_reader(listening, self._accept, listening)

    def _secure(self, address: Any) -> asyncio.Protocol:
        return Tls(Client(self._proxy, address), self._proxy.keyring.context, self._proxy.handshake_failed)

    async def _open(self, addresses: Sequence[Address], make: Callable[[Any], asyncio.Protocol], keys: str) -> None:
        for address in addresses:
            try:
                for listening in [bind(socket.AF_UNIX, address.path)] if address.path else await self._listen_tcp(address):
                    self._sockets[listening] = make
            except OSError as error:
                self.close()
                raise cannot_listen(address, error, f"choose another address: {keys}") from None

    async def _listen_tcp(self, address: Address) -> list[socket.socket]:
        found = await self._proxy.loop.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        for family, _type, _protocol, _name, where in dict.fromkeys(found):
            try:
                sockets.append(bind(family, where))
            except OSError as error:
                if address.host or error.errno not in _NO_FAMILY:  # "every interface" is also fine on a machine without IPv6
                    for listening in sockets:
                        remove(listening)
                    raise
        return sockets

    def _accept(self, listening: socket.socket) -> None:
        loop = self._proxy.loop
        for _connection in range(_PER_TURN):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._proxy.log("error", "cannot_accept", cause=str(error), seconds=_PAUSE)
                loop.remove_reader(listening)
                loop.call_later(_PAUSE, self._resume, listening)
                return
            accepted.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(partial(self._sockets[listening], address), accepted))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._proxy.loop.add_reader(listening, self._accept, listening)

    def addresses(self, *, secure: bool = False) -> list[Address]:
        """Where clients can connect, plainly or with TLS; with the real port where 0 was asked for."""
        names = [listening.getsockname() for listening, make in self._sockets.items() if (make == self._secure) is secure]
        return [Address(path=name) if isinstance(name, str) else Address(*name[:2]) for name in names]

    def close(self) -> None:
        """Accept no more connections; those that are open stay."""
        for listening in self._sockets:
            self._proxy.loop.remove_reader(listening)
            remove(listening)
        self._sockets.clear()


def bind(family: int, where: Any) -> socket.socket:
    """A listening socket of the family (`socket.AF_INET`, ...) at an address of it, or at a path."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        if family == socket.AF_UNIX:
            _remove_stale(where)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def remove(listening: socket.socket) -> None:
    """Close a listening socket and remove the path that it was bound to."""
    name = listening.getsockname()
    listening.close()
    if isinstance(name, str) and os.path.exists(name):
        os.unlink(name)


def _remove_stale(path: str) -> None:
    """Remove the socket file of a process that has ended; one that still listens is left, and `bind` will say so."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return
