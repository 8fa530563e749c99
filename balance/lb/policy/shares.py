"""Divides the configured limits among several worker processes."""

from __future__ import annotations

from dataclasses import replace

from balance.lb.config import Config
from balance.lb.config.model import PoolConfig, RouteConfig


def share(total: int, index: int, count: int) -> int:
    """The part of `total` for worker `index` of `count`: the parts add up to the total, but each is at least 1. 0 (off or no limit) stays 0."""
    return total and max(1, (total + count - 1 - index) // count)


def for_worker(config: Config, index: int, count: int) -> Config:
    """The configuration of worker `index` of `count`: with its part of the limits on connections, requests, queues and rates."""

    def part(total: int) -> int:
        return share(total, index, count)

    def pool(whole: PoolConfig) -> PoolConfig:
        return replace(
            whole,
            backends=tuple(replace(backend, max_connections=part(backend.max_connections)) for backend in whole.backends),
            discover=whole.discover and replace(whole.discover, max_connections=part(whole.discover.max_connections)),
            retry=whole.retry and replace(whole.retry, budget_per_second=part(whole.retry.budget_per_second)),
        )

    def route(whole: RouteConfig) -> RouteConfig:
        limit = whole.rate_limit
        return replace(whole, rate_limit=limit and replace(limit, rate=limit.rate / count, burst=part(limit.burst)))

    limits = config.limits
    return replace(
        config,
        limits=replace(
            limits,
            max_connections=part(limits.max_connections),
            max_queue=part(limits.max_queue),
            max_connections_per_client=part(limits.max_connections_per_client),
            max_requests_per_client=part(limits.max_requests_per_client),
        ),
        pools=tuple(map(pool, config.pools)),
        routes=tuple(map(route, config.routes)),
    )
