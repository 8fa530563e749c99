"""Finds routes that can never match, because earlier routes match all of their requests.

A route is split into all pairs of its hosts and methods; each pair must be covered by a single earlier route. A pair that only several
earlier routes together cover (for example, all methods one by one) counts as reachable.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from balance.lb.config.model import RouteConfig, RouteMatch


def shadowing_routes(match: RouteMatch, earlier: Sequence[RouteConfig]) -> tuple[str, ...]:
    """The names of the earlier routes that take all requests of this one; empty if it can match."""
    names = dict[str, None]()
    for host, method in product(match.hosts or ("",), match.methods or ("",)):
        name = next((route.name for route in earlier if _covers(route.match, host, method, match)), None)
        if name is None:
            return ()
        names[name] = None
    return tuple(names)


def _covers(wide: RouteMatch, host: str, method: str, narrow: RouteMatch) -> bool:
    """True if `wide` matches every request that `narrow` matches with this host and method (empty: any)."""
    return (
        (not wide.methods or method in wide.methods)
        and (not wide.hosts or any(_is_below(host, name) for name in wide.hosts))
        and (wide.path == "/" or narrow.path == wide.path or narrow.path.startswith(wide.path + "/"))
        and all(any(name == own and value in ("", its) for own, its in narrow.headers) for name, value in wide.headers)
    )


def _is_below(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))
