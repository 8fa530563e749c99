"""Rate limits: a token bucket for each client, in bounded memory.

Theory. The generic cell rate algorithm (ITU-T I.371) is a token bucket in one number: when the bucket will be full again, if nothing more
comes. A request adds ``1 / rate`` to it; it passes while that is at most ``burst / rate`` ahead of now.

A bucket that is full says no more than one never heard of, so it is dropped at no loss. If that is not enough room, the fullest are: those who
have asked least. What they gain is the little they had used, so forgetting never punishes anyone, and who has used up his bucket cannot
have it forgotten by asking from many other addresses: those are fuller than his and go first. For IPv6 a client is its /64, since one host
has all of it.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from operator import itemgetter

from balance.lb.config.model import RateLimit

MAX_CLIENTS = 10_000
"""Clients to remember for each limit: about a megabyte."""
KEEP_RATIO = 3 / 4
"""Share of them to keep when that is too few: sorting all costs some milliseconds, which a quarter as many new clients share."""
SLACK = 1e-6
"""Seconds by which a request may be early: times are floating-point numbers."""


def ask(full_at: float, rate: float, burst: float, now: float) -> tuple[float, float]:
    """One request at a bucket that will be full at `full_at` (0 for a new one), which refills by `rate` per second up to `burst`: when it will be
    full afterwards, and the seconds until a request would pass, 0 if this one does."""
    filled = max(full_at, now) + 1 / rate
    wait = filled - now - burst / rate
    return (full_at, wait) if wait > SLACK else (filled, 0.0)


def client_of(address: str) -> str:
    """Whose bucket it is: an IPv4 address, also one in IPv6's clothes, the /64 of an IPv6 address; anything else as it is."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


class RateLimiter:
    """The buckets of one route."""

    def __init__(self, policy: RateLimit, max_clients: int = MAX_CLIENTS) -> None:
        self._policy = policy
        self._max_clients = max_clients
        self._full_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<RateLimiter {self._policy.rate:g}/s, {len(self)} clients>"

    def __len__(self) -> int:
        return len(self._full_at)

    def ask(self, client: str, now: float) -> float:
        """One request of `client`, as `client_of` names it: the seconds until it would pass (for Retry-After, rounded up), 0 if it does."""
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
