"""Which route a request takes: a table made once from the configuration, a few look-ups per request.

Theory. The first route that matches wins. Hosts and paths form trees (``*.example.org`` holds ``a.example.org``, ``/api`` holds ``/api/v1``),
so whatever could match a request is known by the longest host pattern and the longest path prefix that hold it: under each such pair
stand all routes that apply, in their order. Two look-ups find them, and only methods and headers are left to compare.

Paths are compared as they were sent: ``%2F`` is no slash, ``//api`` and ``/%61pi`` are not below ``/api``. A backend may see that
differently, so a route is no access control. Only the worst of it is refused where routes look at paths: segments that lead somewhere
else (``/public/../admin``), in whatever spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from balance.lb.config.httpkinds import DOTTED
from balance.lb.config.model import RouteConfig, RouteMatch
from balance.lb.policy.faults import Fault

_Choice = tuple[frozenset[str], tuple[tuple[bytes, bytes], ...], RouteConfig]
"""Methods that are asked for (empty: any); beginnings of header lines, in lower case, with the values after them (empty: any); the route."""
_Table = tuple[dict[bytes, tuple[_Choice, ...]], int]
"""What applies to a path, by the longest prefix without a slash at its end; and how much of a path must be looked at for that."""
_LEADING = re.compile(DOTTED.pattern.encode(), DOTTED.flags & re.IGNORECASE)
_REMEMBERED = 1024


class Router:
    """The routes of one configuration."""

    def __init__(self, routes: Sequence[RouteConfig]) -> None:
        self._routes = routes
        self._strict = any(route.match.path != "/" or route.replace_prefix is not None for route in routes)
        by_host: dict[str, list[int]] = {"": []}
        for index, route in enumerate(routes):
            for host in route.match.hosts or ("",):
                by_host.setdefault(host, []).append(index)
        self.only = routes[0] if routes and routes[0].match == RouteMatch() and not self._strict else None
        """the route that takes whatever there is"""
        self._tables: dict[bytes, _Table] = {}
        for host in by_host:
            indices = sorted({index for name in _upwards(host) for index in by_host.get(name, ())})
            self._tables[host.removeprefix("*").encode()] = _table([routes[index] for index in indices])
        self._longest = max(len(name) for name in self._tables)
        self._remembered = dict(self._tables)
        """the same by hosts as they were sent, up to a bound: a client can send any number of them"""
        self._bound = len(self._tables) + _REMEMBERED

    def __repr__(self) -> str:
        return f"<Router {', '.join(route.name for route in self._routes)}>"

    def find(self, method: str, host: bytes, target: bytes, headers: Sequence[bytes]) -> RouteConfig | Fault:
        """The route of a request; `NO_ROUTE` if none matches, `BAD_TARGET` if its path leads elsewhere.

        `host`: as it was sent, with or without a port. `headers`: the lines that are passed on, ``Name: value``.
        """
        if self._strict and (b"/." in target or b"%" in target or b"\\" in target) and leads_elsewhere(target):
            return Fault.BAD_TARGET
        routes, reach = self._remembered.get(host) or self._table(host)
        path = target[:reach].partition(b"?")[0]
        while path not in routes:
            path = path.rpartition(b"/")[0]
        for methods, wanted, route in routes[path]:
            if (not methods or method in methods) and (not wanted or _carry(headers, wanted)):
                return route
        return Fault.NO_ROUTE

    def _table(self, host: bytes) -> _Table:
        name = host.lower()
        if not name.endswith(b"]"):
            name = name.rpartition(b":")[0] or name
        name = name.removesuffix(b".")
        found = self._tables.get(name)
        tail = name[-self._longest :] if self._longest else b""
        dot = tail.find(b".")
        while found is None and dot >= 0:
            found = self._tables.get(tail[dot:])
            dot = tail.find(b".", dot + 1)
        table = found or self._tables[b""]
        if len(self._remembered) < self._bound and len(host) <= 64:
            self._remembered[host] = table
        return table


def leads_elsewhere(target: bytes) -> bool:
    """Whether the path has a segment that means "here" or "one up", or may be taken for one."""
    found = _LEADING.search(target)
    return found is not None and b"?" not in target[: found.start()]


def rewrite(target: bytes, route: RouteConfig) -> bytes:
    """The target that backends see. What follows the matched prefix stays byte for byte, the query included; a path is never empty."""
    if route.replace_prefix is None or not target.startswith(b"/"):
        return target
    rest = target[len(_bare(route.match.path)) :]
    prefix = _bare(route.replace_prefix)
    return prefix + rest if prefix or rest.startswith(b"/") else b"/" + rest


def _bare(path: str) -> bytes:
    """A prefix without the slash at its end."""
    return path.removesuffix("/").encode()


def _upwards(host: str) -> Iterable[str]:
    """The host, and all patterns that hold it."""
    yield host
    name = host.removeprefix("*.")
    while "." in name:
        name = name.partition(".")[2]
        yield f"*.{name}"
    yield ""


def _table(routes: Sequence[RouteConfig]) -> _Table:
    paths = {_bare(route.match.path) for route in routes} | {b""}
    table = {path: tuple(_choices(path, routes)) for path in paths}
    return table, max(map(len, paths)) + 1


def _choices(path: bytes, routes: Sequence[RouteConfig]) -> Iterable[_Choice]:
    """The routes for what is at or below a path, up to one that takes everything."""
    for route in routes:
        prefix = _bare(route.match.path)
        if path == prefix or path.startswith(prefix + b"/"):
            yield _choice(route.match, route)
            if not route.match.methods and not route.match.headers:
                return


def _choice(match: RouteMatch, route: RouteConfig) -> _Choice:
    return frozenset(match.methods), tuple((f"{name}:".encode(), value.encode()) for name, value in match.headers), route


def _carry(headers: Sequence[bytes], wanted: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether each of the wanted fields is among the header lines."""
    for start, value in wanted:
        size = len(start)
        for line in headers:
            if line[:size].lower() == start and (not value or line[size:].strip(b" \t") == value):
                break
        else:
            return False
    return True
