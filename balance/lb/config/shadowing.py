"""Which routes can never be reached, because earlier ones match all that they match.

A route is taken apart into its hosts times its methods; each part must be covered by one of the earlier routes. What only several earlier
routes together cover (all methods one by one, say) passes for reachable: the verdict errs on that side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from balance.lb.config.model import RouteConfig, RouteMatch


def shadowing_routes(match: RouteMatch, earlier: Sequence[RouteConfig]) -> tuple[str, ...]:
    """The names of the earlier routes that take everything from this one; none if something is left."""
    names = dict[str, None]()
    for host, method in product(match.hosts or ("",), match.methods or ("",)):
        name = next((route.name for route in earlier if _covers(route.match, host, method, match)), None)
        if name is None:
            return ()
        names[name] = None
    return tuple(names)


def _covers(wide: RouteMatch, host: str, method: str, narrow: RouteMatch) -> bool:
    """Whether all that `narrow` matches with that host and method (empty: any) is matched by `wide`."""
    return (
        (not wide.methods or method in wide.methods)
        and (not wide.hosts or any(_is_below(host, name) for name in wide.hosts))
        and (wide.path == "/" or narrow.path == wide.path or narrow.path.startswith(wide.path + "/"))
        and all(any(name == own and value in ("", its) for own, its in narrow.headers) for name, value in wide.headers)
    )


def _is_below(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))
