"""Turns discovered addresses into backends (names, weights, order, number) and decides when to update next. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from enum import Enum
from ipaddress import ip_address
from typing import NamedTuple

from balance.config.address import Address
from balance.lb.config.model import MAX_BACKENDS, BackendConfig, BackendTls, Discovery

MIN_INTERVAL = 1.0
"""Minimum seconds between two updates, however short the TTL."""


class UpdateResult(Enum):
    """Result of an update; the values are those of the metric's `result` label."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"


class SrvTarget(NamedTuple):
    """An SRV record (RFC 2782) with one address of its target host."""

    priority: int
    weight: int
    host: str
    port: int


def by_address(pool: str, discover: Discovery, asked: Address, hosts: Iterable[str]) -> tuple[BackendConfig, ...]:
    """A backend for each address of the name in `asked`, named ``POOL-10.0.0.5``, sorted by address."""
    tls = _tls(discover, asked.host)
    return tuple(
        BackendConfig(_name(pool, host), Address(host, asked.port), discover.weight, discover.max_connections, tls)
        for host in sorted(set(hosts), key=_rank)
    )  # fmt: skip


def by_service(pool: str, discover: Discovery, targets: Iterable[SrvTarget]) -> tuple[BackendConfig, ...]:
    """A backend for each address and port, named ``POOL-10.0.0.5-8080``, sorted by address. All but those of the lowest priority are backups."""
    best: dict[tuple[str, int], SrvTarget] = {}
    for target in sorted(targets):
        best.setdefault((target.host, target.port), target)
    first = min((target.priority for target in best.values()), default=0)
    tls = _tls(discover, discover.srv.split("._tcp.", 1)[-1])
    return tuple(
        BackendConfig(
            f"{_name(pool, one.host)}-{one.port}", Address(one.host, one.port), max(one.weight, 1), discover.max_connections, tls,
            backup=one.priority > first,
        )
        for one in sorted(best.values(), key=lambda one: (_rank(one.host), one.port))
    )  # fmt: skip


def pause(ttl: float, interval: float) -> float:
    """Seconds until the next update, given the records' `ttl` and the configured `interval` in seconds."""
    return min(max(ttl, MIN_INTERVAL), interval)


def admitted(found: Iterable[BackendConfig], taken: Collection[str]) -> tuple[BackendConfig, ...]:
    """The backends whose names are not `taken`, as many as the limit on backends leaves room for, the first ones first."""
    return tuple(one for one in found if one.name not in taken)[: max(MAX_BACKENDS - len(taken), 0)]


def _name(pool: str, host: str) -> str:
    """The name of a backend, at most 110 characters; colons of IPv6 addresses become dashes."""
    return f"{pool}-{host.replace(':', '-')}"


def _rank(host: str) -> tuple[int, int]:
    address = ip_address(host)
    return address.version, int(address)


def _tls(discover: Discovery, asked: str) -> BackendTls | None:
    """TLS settings that verify certificates for the name that was asked for: a DNS answer proves nothing (RFC 9525 section 6.1)."""
    return discover.tls and replace(discover.tls, server_name=discover.tls.server_name or asked.rstrip("."))
