"""The status as JSON-compatible data: of one process, and merged from several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from balance.lb.control.discovery import Watch
from balance.lb.data.backend import Backend
from balance.lb.data.pool import Pool
from balance.lb.data.proxy import Proxy
from balance.lb.policy.breaker import BreakerState


def unready_reason(proxy: Proxy) -> str:
    """Why it should get no traffic; empty if it is ready."""
    if proxy.draining:
        return "the load balancer is stopping"
    if not any(backend.available for backend in proxy.backends.values()):
        return "no backend is available"
    return ""


def of(proxy: Proxy, watches: Mapping[str, Watch]) -> dict[str, Any]:
    """The status of a proxy. `watches`: the discovery of pools, by their names."""
    config = proxy.active_config.config
    return {
        "ready": not unready_reason(proxy),
        "draining": proxy.draining,
        "connections": {"active": len(proxy.clients), "limit": config.limits.max_connections},
        "requests": {
            "in_flight": proxy.in_flight,
            "retrying": sum(pool.retrying for pool in proxy.active_config.pools.values()),
            "queued": proxy.queued,
        },
        "tunnels": {"active": len(proxy.tunnels)},
        "pools": [_pool(pool, watches.get(pool.name)) for pool in proxy.active_config.pools.values()],
        "backends": [_backend(backend, pool, proxy.loop.time()) for pool in proxy.active_config.pools.values() for backend in pool.backends],
        "routes": [{"name": route.config.name, "pool": route.pool.name} for route in proxy.active_config.routes.values()],
        "configuration": {
            "listen": [str(address) for address in config.listen],
            "tls": [str(address) for address in config.tls.listen] if config.tls else "off",
        },
    }


def _pool(pool: Pool, watch: Watch | None) -> dict[str, Any]:
    config = pool.config
    return {
        "name": pool.name,
        "backends": {"configured": len(config.backends), "discovered": len(pool.backends) - len(config.backends)},
        "discovery": {
            "source": config.discover.source if config.discover else "off",
            "last_update": watch.result.value if watch and watch.result else "none",
            "failure": watch.failure if watch else "",
        },
        "requests": {"in_flight": pool.in_flight, "retrying": pool.retrying, "queued": len(pool.queue)},
        "algorithm": config.load_balancer.algorithm,
        "sticky": config.load_balancer.sticky.cookie if config.load_balancer.sticky else "off",
        "panicking": pool.panicking,
        "retry_budget": pool.budget,
        "health_check": config.health_check.type if config.health_check else "off",
        "circuit_breaker": "on" if config.circuit_breaker else "off",
        "outlier_detection": "on" if config.outlier_detection else "off",
        "retry": config.retry.max_attempts if config.retry else "off",
    }


def _backend(backend: Backend, pool: Pool, now: float) -> dict[str, Any]:
    return {
        "name": backend.name,
        "pool": pool.name,
        "address": str(backend.config.address),
        "weight": backend.config.weight,
        "backup": backend.config.backup,
        "state": backend.state,
        "available": backend.available,
        "drained": backend.drained,
        "healthy": backend.health.up,
        "ejected_for": _remaining(backend.outlier_state.until, now) if backend.outlier_state.ejected else None,
        "circuit_breaker": backend.breaker.state.value,
        "failures": backend.breaker.failures,
        "retry_in": _remaining(backend.retry_at, now) if backend.breaker.state is BreakerState.OPEN else None,
        "connections": {"open": backend.open, "idle": len(backend.idle), "limit": backend.config.max_connections},
    }


def _remaining(until: float, now: float) -> float:
    return round(max(0.0, until - now), 3)


def _worst(states: Sequence[str]) -> str:
    """The state, of circuit breakers or backends, that keeps the most requests away."""
    worst_first = ("drained", "unhealthy", "ejected", "breaker_open", BreakerState.OPEN.value, "breaker_half_open", BreakerState.HALF_OPEN.value)
    return next((state for state in worst_first if state in states), states[0])


def _optional(choose: Callable[[list[float]], float]) -> Callable[[Sequence[float | None]], float | None]:
    """A rule that applies `choose` to the values that are not None; None if all are."""

    def rule(values: Sequence[float | None]) -> float | None:
        given = [value for value in values if value is not None]
        return choose(given) if given else None

    return rule


def _merged_update(results: Sequence[str]) -> str:
    """The result of the last discovery update: "failed" if it failed in any worker."""
    return "failed" if "failed" in results else max(results)


_RULES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "ready": any, "available": any, "healthy": all, "draining": any, "drained": all,
    "active": sum, "in_flight": sum, "retrying": sum, "queued": sum, "open": sum, "idle": sum, "limit": sum,
    "retry_budget": sum, "panicking": any, "failures": max, "ejected_for": _optional(max), "retry_in": _optional(min),
    "discovered": max, "failure": max, "last_update": _merged_update,
    "circuit_breaker": _worst, "state": _worst,
}  # fmt: skip
"""How the values of a key are merged; other keys have the same value everywhere."""


def merged(states: Sequence[Any], key: str = "") -> Any:
    """Merge several statuses of the same shape. List entries are matched by name, since a reload may have reached only some workers."""
    first = states[0]
    if isinstance(first, dict):
        return {name: merged([state[name] for state in states if name in state], name) for name in first}
    if isinstance(first, list) and any(isinstance(entry, dict) for entry in chain.from_iterable(states)):
        named: dict[str, list[Any]] = {}
        for entry in chain.from_iterable(states):
            named.setdefault(entry["name"], []).append(entry)
        return [merged(entries) for entries in named.values()]
    return _RULES[key](states) if key in _RULES else first
