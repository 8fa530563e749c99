"""Accepts clients' connections.

Theory. The event loop's own servers accept one connection per iteration of the loop. With a thousand busy clients an iteration takes tens
of milliseconds, so few new clients would get in. Here all waiting connections are accepted, up to a limit per iteration.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from balance.lb.config import Config
from balance.lb.data.client import Client
from balance.lb.data.proxy import Proxy
from balance.lb.data.sockets import Place, Sockets, close_sockets, places_of, remove, split
from balance.lb.data.tls import TlsTransport

_PER_TURN = 128
"""Maximum connections to accept per iteration of the event loop."""
_PAUSE = 0.5
"""Seconds without accepting when the process is out of file descriptors."""


class Listener:
    """All listening sockets of a proxy, by place. `drop` closes a socket; `remove` also removes the path of a Unix socket."""

    def __init__(self, proxy: Proxy, drop: Callable[[socket.socket], None] = remove) -> None:
        self._proxy = proxy
        self._drop = drop
        self._arriving: set[asyncio.Task[object]] = set()
        self.open: Sockets = {}

    def __repr__(self) -> str:
        return f"<Listener {', '.join(str(address) for address, _secure in self.open)}>"

    def adopt(self, config: Config, added: Sockets) -> None:
        """Accept connections at the places of this configuration and no others; `added`: sockets of new places. Open connections stay."""
        kept, gone = split(self.open, places_of(config))
        self._close(gone)
        self.open = {**kept, **added}
        for place, sockets in added.items():
            for listening in sockets:
                self._proxy.loop.add_reader(listening, self._accept, listening, place)

    def _protocol(self, address: Any, *, secure: bool) -> asyncio.Protocol:
        client = Client(self._proxy, address)
        return TlsTransport(client, self._proxy.active_config.keyring.context, self._proxy.handshake_failed) if secure else client

    def _accept(self, listening: socket.socket, place: Place) -> None:
        loop = self._proxy.loop
        for _connection in range(_PER_TURN):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._proxy.log("error", "cannot_accept", cause=str(error), seconds=_PAUSE)
                loop.remove_reader(listening)
                loop.call_later(_PAUSE, self._resume, listening, place)
                return
            accepted.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(partial(self._protocol, address, secure=place[1]), accepted))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def _resume(self, listening: socket.socket, place: Place) -> None:
        if listening in self.open.get(place, ()):
            self._proxy.loop.add_reader(listening, self._accept, listening, place)

    def close(self) -> None:
        """Stop accepting connections; open ones stay."""
        closing, self.open = self.open, {}
        self._close(closing)

    def _close(self, closing: Sockets) -> None:
        for sockets in closing.values():
            for listening in sockets:
                self._proxy.loop.remove_reader(listening)
        close_sockets(closing, self._drop)
