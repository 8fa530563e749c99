"""What was found becomes backends: their names, weights, order and number, and when to look again. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from enum import Enum
from ipaddress import ip_address
from typing import NamedTuple

from balance.config.address import Address
from balance.lb.config.model import MAX_BACKENDS, BackendConfig, BackendTls, Discovery

MIN_INTERVAL = 1.0
"""Seconds between two looks, however short the TTL."""


class UpdateResult(Enum):
    """How a look ended."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"


class SrvTarget(NamedTuple):
    """An SRV record (RFC 2782) with one address of its target."""

    priority: int
    weight: int
    host: str
    port: int


def by_address(pool: str, discover: Discovery, asked: Address, hosts: Iterable[str]) -> tuple[BackendConfig, ...]:
    """A backend for each address of the name that was asked for, called ``POOL-10.0.0.5``; in the order of the addresses."""
    tls = _tls(discover, asked.host)
    return tuple(
        BackendConfig(_name(pool, host), Address(host, asked.port), discover.weight, discover.max_connections, tls)
        for host in sorted(set(hosts), key=_rank)
    )  # fmt: skip


def by_service(pool: str, discover: Discovery, targets: Iterable[SrvTarget]) -> tuple[BackendConfig, ...]:
    """A backend for each address and port, called ``POOL-10.0.0.5-8080``. Those of the lowest priority come first, all others are backups."""
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
    """Seconds until the next look at records that may be kept for `ttl`."""
    return min(max(ttl, MIN_INTERVAL), interval)


def admitted(found: Iterable[BackendConfig], taken: Collection[str]) -> tuple[BackendConfig, ...]:
    """Those that have a name of their own beside the `taken` ones, the first as far as there is room."""
    return tuple(one for one in found if one.name not in taken)[: max(MAX_BACKENDS - len(taken), 0)]


def _name(pool: str, host: str) -> str:
    """Of IPv6, dashes in place of colons; at most 110 characters."""
    return f"{pool}-{host.replace(':', '-')}"


def _rank(host: str) -> tuple[int, int]:
    address = ip_address(host)
    return address.version, int(address)


def _tls(discover: Discovery, asked: str) -> BackendTls | None:
    """Certificates are verified for the name that was asked for: an answer of DNS proves nothing (RFC 9525 section 6.1)."""
    return discover.tls and replace(discover.tls, server_name=discover.tls.server_name or asked.rstrip("."))
