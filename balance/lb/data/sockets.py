"""Listening sockets, of one process or shared by several.

Theory. Processes that bind the same port with SO_REUSEPORT (Linux 3.9) each have their own queue of connections, and the kernel spreads
new clients over them by a hash of their address; no process is woken in vain, and a dead process takes its socket with it. So a
supervisor only *reserves* a port: its socket is bound but never listens, gets no clients, and keeps the port while workers come and go.
It is bound without the option, so that a port in use by another program is refused, and the option is set afterwards. A Unix socket
cannot be bound twice: the supervisor listens, and the workers inherit the socket and accept from its queue.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Collection, Iterable
from typing import Any

from balance.config.address import Address
from balance.lb.config import Config
from balance.lb.errors import StartError

BACKLOG = 1024
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

Place = tuple[Address, bool]
"""A listening address as configured, and True if it uses TLS."""
Sockets = dict[Place, list[socket.socket]]
"""Listening sockets by place."""
SocketDescriptions = list[tuple[str, int, str, bool, list[tuple[int, Any, int]]]]
"""`Sockets` as sent to another process: host, port, path, TLS, and the family, name and descriptor of each socket."""


def places_of(config: Config) -> list[Place]:
    """All listening places of a configuration."""
    return [(address, False) for address in config.listen] + [(address, True) for address in (config.tls.listen if config.tls else ())]


def open_sockets(config: Config, besides: Collection[Place] = (), *, reserve: bool = False) -> Sockets:
    """Listen at all places of a configuration except `besides`, or `reserve` them. Raises `StartError`; then none is open. May wait for DNS."""
    sockets: Sockets = {}
    try:
        for address, secure in places_of(config):
            if (address, secure) not in besides:
                key = "tls.listen" if secure else "listen"
                sockets[address, secure] = sockets_at(address, f"{key}, or BALANCE_{key.upper().replace('.', '_')}", reserve=reserve)
    except BaseException:
        close_sockets(sockets)
        raise
    return sockets


def split(sockets: Sockets, wanted: Collection[Place]) -> tuple[Sockets, Sockets]:
    """The sockets at `wanted` places, and the others."""
    kept = {place: group for place, group in sockets.items() if place in wanted}
    return kept, {place: group for place, group in sockets.items() if place not in wanted}


def describe(sockets: Sockets) -> SocketDescriptions:
    """The description that another process needs to `join`; it must inherit the descriptors of Unix sockets."""
    return [
        (address.host, address.port, address.path, secure, [(int(bound.family), bound.getsockname(), bound.fileno()) for bound in group])
        for (address, secure), group in sockets.items()
    ]


def join(places: SocketDescriptions) -> Sockets:
    """Listen on ports that a supervisor has reserved, and on inherited Unix sockets. Raises `StartError`."""
    sockets: Sockets = {}
    for host, port, path, secure, group in places:
        address = Address(host, port, path)
        joined = sockets[address, secure] = []
        for family, name, descriptor in group:
            try:
                joined.append(_inherited(descriptor) if path else bind(family, name, share=True))
            except OSError as error:
                close_sockets(sockets, socket.socket.close)
                raise cannot_listen(address, error, "check what else uses the port") from None
    return sockets


def addresses(sockets: Sockets) -> dict[str, list[str]]:
    """Addresses where clients can connect, for the log, with the actual port for port 0."""

    def named(group: Iterable[Place]) -> list[str]:
        return [str(address_of(bound)) for place in group for bound in sockets[place]]

    plain, secure = ([place for place in sockets if place[1] is tls] for tls in (False, True))
    return {"listen": named(plain)} | ({"tls": named(secure)} if secure else {})


def cannot_listen(address: Address, error: OSError, cure: str) -> StartError:
    """The error for an address that cannot be used for listening."""
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return StartError(f"cannot listen: {reason}", where=str(address), cure=cure)


def sockets_at(address: Address, keys: str, *, reserve: bool = False) -> list[socket.socket]:
    """Sockets that listen at an address, one per address family, or that `reserve` it. Raises `StartError` that names the configuration `keys`."""
    sockets: list[socket.socket] = []
    try:
        if address.path:
            return [bind(socket.AF_UNIX, address.path)]
        found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _type, _protocol, _name, where in dict.fromkeys(found):
            try:
                sockets.append(bind(family, where, reserve=reserve))
            except OSError as error:
                if address.host or error.errno not in _NO_FAMILY:  # all interfaces: also on a machine without IPv6
                    raise
    except OSError as error:
        for opened in sockets:
            remove(opened)
        raise cannot_listen(address, error, f"choose another address: {keys}") from None
    return sockets


def bind(family: int, where: Any, *, reserve: bool = False, share: bool = False) -> socket.socket:
    """A listening socket of the family (`socket.AF_INET`, ...) at the address or path `where`. Raises `OSError`.

    `reserve`: do not listen, but let others share the port. `share`: listen on a reserved port.
    """
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        if family == socket.AF_UNIX:
            _remove_stale(where)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if share:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(where)
        if reserve:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _inherited(descriptor: int) -> socket.socket:
    listening = socket.socket(fileno=descriptor)
    listening.setblocking(False)
    return listening


def address_of(bound: socket.socket) -> Address:
    """The address that a socket is bound to, with the actual port for port 0."""
    name = bound.getsockname()
    return Address(path=name) if isinstance(name, str) else Address(*name[:2])


def remove(bound: socket.socket) -> None:
    """Close a socket, and remove its path if it is a Unix socket."""
    name = bound.getsockname()
    bound.close()
    if isinstance(name, str) and os.path.exists(name):
        os.unlink(name)


def close_sockets(sockets: Sockets, drop: Callable[[socket.socket], None] = remove) -> None:
    """Close all sockets with `drop`; by default, paths of Unix sockets are removed too."""
    for group in sockets.values():
        for bound in group:
            drop(bound)


def _remove_stale(path: str) -> None:
    """Remove the socket file of a process that has ended; if a process still listens, `bind` will fail."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return
