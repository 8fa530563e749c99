"""Finds the route of a request: a table made once from the configuration, two lookups per request.

Theory. The first matching route wins. Hosts and paths form trees (``*.example.org`` contains ``a.example.org``, ``/api`` contains
``/api/v1``), so the candidates for a request follow from the longest host pattern and the longest path prefix that match it. The table
holds, for each such pair, all routes that apply, in their order. Two lookups find them; only methods and headers are left to compare.

Paths are compared as sent: ``%2F`` is not a slash, and ``//api`` and ``/%61pi`` are not below ``/api``. A backend may see that
differently, so a route is not access control. Only dot segments (``/public/../admin``), in any spelling, are rejected if routes use paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from balance.lb.config.httpkinds import DOTTED
from balance.lb.config.model import RouteConfig, RouteMatch
from balance.lb.policy.faults import Fault

_Choice = tuple[frozenset[str], tuple[tuple[bytes, bytes], ...], RouteConfig]
"""Methods (empty: any); header names with their colon, in lower case, and required values (empty: any); the route."""
_Table = tuple[dict[bytes, tuple[_Choice, ...]], int]
"""Routes by path prefix, without a slash at its end; and how many bytes of a path are needed for the lookup."""
_DOT_SEGMENT = re.compile(DOTTED.pattern.encode(), DOTTED.flags & re.IGNORECASE)
_REMEMBERED = 1024


class Router:
    """The routes of one configuration, in their order."""

    def __init__(self, routes: Sequence[RouteConfig]) -> None:
        self._routes = routes
        self._strict = any(route.match.path != "/" or route.replace_prefix is not None for route in routes)
        by_host: dict[str, list[int]] = {"": []}
        for index, route in enumerate(routes):
            for host in route.match.hosts or ("",):
                by_host.setdefault(host, []).append(index)
        self.only = routes[0] if routes and routes[0].match == RouteMatch() and not self._strict else None
        """the route that takes every request, if there is one"""
        self._tables: dict[bytes, _Table] = {}
        for host in by_host:
            indices = sorted({index for name in _upwards(host) for index in by_host.get(name, ())})
            self._tables[host.removeprefix("*").encode()] = _table([routes[index] for index in indices])
        self._longest = max(len(name) for name in self._tables)
        self._remembered = dict(self._tables)
        """the same by hosts as sent; bounded, since clients can send any number of hosts"""
        self._bound = len(self._tables) + _REMEMBERED

    def __repr__(self) -> str:
        return f"<Router {', '.join(route.name for route in self._routes)}>"

    def find(self, method: str, host: bytes, target: bytes, headers: Sequence[bytes]) -> RouteConfig | Fault:
        """The route of a request; `NO_ROUTE` if none matches, `BAD_TARGET` if its path has dot segments.

        `host`: as sent, with or without a port. `headers`: the lines that are passed on, ``Name: value``.
        """
        if self._strict and (b"/." in target or b"%" in target or b"\\" in target) and has_dot_segment(target):
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


def has_dot_segment(target: bytes) -> bool:
    """True if the path has a dot segment, or something that a server may decode as one."""
    found = _DOT_SEGMENT.search(target)
    return found is not None and b"?" not in target[: found.start()]


def rewrite(target: bytes, route: RouteConfig) -> bytes:
    """The target sent to the backend. What follows the matched prefix stays unchanged, query included; the path is never empty."""
    if route.replace_prefix is None or not target.startswith(b"/"):
        return target
    rest = target[len(_bare(route.match.path)) :]
    prefix = _bare(route.replace_prefix)
    return prefix + rest if prefix or rest.startswith(b"/") else b"/" + rest


def _bare(path: str) -> bytes:
    """A path prefix as bytes, without a slash at its end."""
    return path.removesuffix("/").encode()


def _upwards(host: str) -> Iterable[str]:
    """The host and all patterns that match it, the most specific first; "" for any host last."""
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
    """The routes for a path and everything below it, up to the first that takes every request there."""
    for route in routes:
        prefix = _bare(route.match.path)
        if path == prefix or path.startswith(prefix + b"/"):
            yield _choice(route.match, route)
            if not route.match.methods and not route.match.headers:
                return


def _choice(match: RouteMatch, route: RouteConfig) -> _Choice:
    return frozenset(match.methods), tuple((f"{name}:".encode(), value.encode()) for name, value in match.headers), route


def _carry(headers: Sequence[bytes], wanted: Iterable[tuple[bytes, bytes]]) -> bool:
    """True if each of the wanted fields is among the header lines."""
    for start, value in wanted:
        size = len(start)
        for line in headers:
            if line[:size].lower() == start and (not value or line[size:].strip(b" \t") == value):
                break
        else:
            return False
    return True
