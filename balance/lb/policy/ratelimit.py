"""Rate limits: a token bucket for each client, in bounded memory.

Theory. The generic cell rate algorithm (ITU-T I.371) stores a token bucket as one number: the time when the bucket will be full again if
no more requests come. A request adds ``1 / rate`` to it, and passes while that time is at most ``burst / rate`` ahead of now.

A full bucket is the same as an unknown one, so it is dropped without loss. If that does not make enough room, the fullest buckets are
dropped: those of the clients with the fewest requests. They gain only the little that they had used, and a client that has emptied its
bucket cannot have it dropped by sending from many other addresses: their buckets are fuller and are dropped first. An IPv6 client is
its /64, since one host usually has all of it.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from operator import itemgetter

from balance.lb.config.model import RateLimit

MAX_CLIENTS = 10_000
"""Maximum number of clients per limit: about a megabyte."""
KEEP_RATIO = 3 / 4
"""Share of the clients to keep when the maximum is reached: sorting takes some milliseconds, once per quarter of the maximum in new clients."""
SLACK = 1e-6
"""Tolerance in seconds: times are floating-point numbers."""


def ask(full_at: float, rate: float, burst: float, now: float) -> tuple[float, float]:
    """Take one token from a bucket that will be full at `full_at` (0 for a new one) and refills by `rate` per second up to `burst`.

    Returns when it will be full afterwards, and the seconds until a request would pass, 0 if this one passes.
    """
    filled = max(full_at, now) + 1 / rate
    wait = filled - now - burst / rate
    return (full_at, wait) if wait > SLACK else (filled, 0.0)


def client_of(address: str) -> str:
    """The client that an address belongs to: an IPv4 address (also IPv4-mapped), the /64 of an IPv6 address; anything else unchanged."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


class RateLimiter:
    """The token buckets of one route, for at most `max_clients` clients."""

    def __init__(self, policy: RateLimit, max_clients: int = MAX_CLIENTS) -> None:
        self._policy = policy
        self._max_clients = max_clients
        self._full_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<RateLimiter {self._policy.rate:g}/s, {len(self)} clients>"

    def __len__(self) -> int:
        return len(self._full_at)

    def ask(self, client: str, now: float) -> float:
        """Count a request of `client` (from `client_of`). Returns the seconds until it would pass (for Retry-After, rounded up), 0 if it passes."""
        key = client if self._policy.per == "client" else ""
        known = self._full_at.get(key)
        if known is None and len(self._full_at) >= self._max_clients:
            self._make_room(now)
        full_at, wait = ask(known or 0.0, self._policy.rate, self._policy.burst, now)
        self._full_at[key] = full_at
        return wait

    def _make_room(self, now: float) -> None:
        emptiest = sorted(self._full_at.items(), key=itemgetter(1), reverse=True)[: int(self._max_clients * KEEP_RATIO)]
        self._full_at = {client: full_at for client, full_at in emptiest if full_at > now}
