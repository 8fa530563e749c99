"""A configuration in use, with everything derived from it. Immutable: a reload builds the next one and swaps it in at once."""

from __future__ import annotations

from collections.abc import Mapping

from balance.lb.config import Config
from balance.lb.config.model import RouteConfig
from balance.lb.data.fastheads import FastHeadParser, HeadCache
from balance.lb.data.forwarding import ForwardingFields, Peer
from balance.lb.data.keyring import Keyring
from balance.lb.data.pool import Pool
from balance.lb.data.request import Examiner, Request
from balance.lb.data.response import Response
from balance.lb.data.wire import WireError
from balance.lb.policy.edits import editor
from balance.lb.policy.faults import Fault
from balance.lb.policy.ratelimit import RateLimiter
from balance.lb.policy.route import Router
from balance.lb.policy.tally import Tally


class ActiveRoute:
    """A route in use: its pool, its rate limiter, its header edits, and a cache of its responses."""

    __slots__ = ("config", "edit_request", "edit_response", "guarded", "limiter", "pool", "responses", "rewrites")

    def __init__(self, config: RouteConfig, pool: Pool, *, guarded: bool = False) -> None:
        self.config = config
        self.limiter = RateLimiter(config.rate_limit) if config.rate_limit else None
        self.guarded = guarded or self.limiter is not None
        """True if requests are subject to a limit per client or a rate limit"""
        self.pool = pool
        self.rewrites = config.replace_prefix is not None
        self.edit_request = editor(config.request_headers)
        self.edit_response = editor(config.response_headers)
        self.responses: HeadCache[Response] = HeadCache()

    def __repr__(self) -> str:
        return f"<ActiveRoute {self.config.name} to {self.pool.name}>"


class ActiveConfig:
    """Everything that requests need of a configuration: pools, routes, head parser, caches and timeouts."""

    def __init__(self, config: Config, keyring: Keyring, pools: Mapping[str, Pool]) -> None:
        self.config = config
        self.timeouts = config.timeouts
        self.keyring = keyring
        self.pools = dict(pools)
        limits = config.limits
        guarded = limits.max_requests_per_client > 0
        self.routes = {route.name: ActiveRoute(route, self.pools[route.pool], guarded=guarded) for route in config.routes}
        self.client_requests = Tally(limits.max_requests_per_client)
        self._router = Router(config.routes)
        """finds the route of a request"""
        self.forwarding = ForwardingFields(config.forwarding)
        self.via = self.forwarding.via()
        self.head_parser = FastHeadParser(limits.max_header_size, limits.max_headers, limits.max_request_line)
        only = self.routes[self._router.only.name] if self._router.only else None
        self.examiner = Examiner(self.forwarding, limits.max_request_size, self._route, only=only, tracing=config.log.traceparent != "off")
        self.begins_traces = config.log.traceparent == "make"
        self._requests: HeadCache[Request] = HeadCache()
        self._uncached: HeadCache[Request] = HeadCache(heads=0)

    def __repr__(self) -> str:
        return f"<ActiveConfig {list(self.routes.values())}>"

    def requests(self, peer: Peer) -> HeadCache[Request]:
        """The cache for requests of this peer; one that keeps nothing for a trusted proxy, whose requests depend on more than their heads."""
        return self._uncached if peer.trusted else self._requests

    def forget(self) -> None:
        """Clear all caches of heads."""
        self.head_parser.forget()
        self._requests.forget()
        for route in self.routes.values():
            route.responses.forget()

    def _route(self, method: str, host: bytes, target: bytes, lines: list[bytes]) -> ActiveRoute:
        """The route of a request. Raises `WireError` if none matches."""
        found = self._router.find(method, host, target, lines)
        if isinstance(found, Fault):
            raise WireError(found)
        return self.routes[found.name]
