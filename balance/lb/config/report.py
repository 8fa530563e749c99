"""Shows a configuration with all defaults: as plain data, and as a text about where requests go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from balance.lb.config.model import BackendConfig, Config, Edits, PoolConfig, RouteConfig, RouteMatch


def as_data(value: Any) -> Any:
    """The configuration, or a part of it, as JSON-compatible data. Of secrets, only the names of their files are included.

    Parts that are off are None. Durations are seconds, sizes are bytes; addresses and networks are written as in the file.
    """
    if is_dataclass(value) and "__str__" not in vars(type(value)):
        return {field.name: as_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [as_data(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def text(config: Config) -> str:
    """Listening addresses, pools with their backends, and routes in their order, in aligned columns."""
    return "\n".join([
        *_columns([
            *(("listen", str(address)) for address in config.listen),
            *(("listen", f"{address} with TLS") for address in (config.tls.listen if config.tls else ())),
            ("admin", str(config.admin.listen)),
            ("workers", str(config.workers or "auto")),
        ]),
        *(line for pool in config.pools for line in ("", *_pool(pool))),
        "",
        "routes (the first match wins):",
        *_columns([
            ("  #", "name", "host", "method", "path", "header", "pool", "changes"),
            *((f"  {number}", *_route(route)) for number, route in enumerate(config.routes, 1)),
        ]),
    ])  # fmt: skip


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _pool(pool: PoolConfig) -> Iterable[str]:
    yield f"pool {pool.name}: {', '.join(_features(pool))}"
    if pool.backends:
        yield from _columns([("  backend", "address", "weight", "connections", ""), *map(_backend, pool.backends)])
    if pool.discover:
        yield f"  {'and ' if pool.backends else ''}backends from {pool.discover.source}, updated every {pool.discover.interval:g}s"


def _features(pool: PoolConfig) -> Iterable[str]:
    """How the pool works, one phrase per feature."""
    balancer, check = pool.load_balancer, pool.health_check
    yield balancer.algorithm + (f" by {balancer.hash_key}" if balancer.algorithm == "consistent-hash" else "")
    if balancer.sticky:
        yield f"sticky by cookie {balancer.sticky.cookie}"
    if check is None:
        yield "no health check"
    else:
        what = f"{check.method} {check.path}" if check.type == "http" else "connection"
        yield f"health check by {what} every {check.interval:g}s"
    for name, part in (("outlier detection", pool.outlier_detection), ("circuit breaker", pool.circuit_breaker), ("retries", pool.retry)):
        yield name if part else f"no {name}"


def _backend(one: BackendConfig) -> tuple[str, ...]:
    notes = [word for word, holds in (("backup", one.backup), ("TLS", one.tls)) if holds]
    return f"  {one.name}", str(one.address), str(one.weight), str(one.max_connections), ", ".join(notes)


def _route(route: RouteConfig) -> tuple[str, ...]:
    match: RouteMatch = route.match
    headers = " ".join(f"{name}: {value or 'any'}" for name, value in match.headers)
    return (
        route.name,
        " ".join(match.hosts) or "any",
        " ".join(match.methods) or "any",
        match.path,
        headers or "any",
        route.pool,
        ", ".join(_changes(route)),
    )


def _changes(route: RouteConfig) -> Iterable[str]:
    if route.replace_prefix is not None:
        yield f"path to {route.replace_prefix or '/'}"
    for name, edits in (("request headers", route.request_headers), ("response headers", route.response_headers)):
        if edits != Edits():
            yield name
    if route.rate_limit:
        yield f"{route.rate_limit.rate:g}/s per {route.rate_limit.per}, burst {route.rate_limit.burst}"
