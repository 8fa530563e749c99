"""Rate limits and counts per client: fair, and bounded in memory whatever clients do."""

from __future__ import annotations

import pytest

from balance.lb.config.model import RateLimit
from balance.lb.policy.ratelimit import RateLimiter, client_of
from balance.lb.policy.tally import Tally

LIMIT = RateLimit(rate=10, burst=5, per="client")


def passed(limiter: RateLimiter, moments: list[float], client: str = "a") -> int:
    """Number of requests that pass at these times (seconds)."""
    return sum(not limiter.ask(client, now) for now in moments)


def test_burst_then_rate() -> None:
    limiter = RateLimiter(LIMIT)
    assert passed(limiter, [1000.0] * 9) == 5
    assert passed(limiter, [1000 + number / 1000 for number in range(1, 10_001)]) == 100


def test_client_within_rate_is_never_refused() -> None:
    assert passed(RateLimiter(RateLimit(10, 1, "client")), [1_000_000 + number / 10 for number in range(10_000)]) == 10_000


def test_waiting_as_told_is_enough() -> None:
    """Waiting half as long is not."""
    limiter = RateLimiter(LIMIT)
    passed(limiter, [1000.0] * 5)
    wait = limiter.ask("a", 1000.02)
    assert wait == pytest.approx(0.08)
    assert limiter.ask("a", 1000.02 + wait / 2) > 0
    assert limiter.ask("a", 1000.02 + wait) == 0


def test_refused_requests_cost_nothing() -> None:
    limiter = RateLimiter(LIMIT)
    passed(limiter, [1000.0] * 1000)
    assert limiter.ask("a", 1000.1) == 0


@pytest.mark.parametrize(("per", "expected"), [("client", 15), ("route", 5)])
def test_buckets_per_client_or_per_route(per: str, expected: int) -> None:
    limiter = RateLimiter(RateLimit(10, 5, per))
    assert sum(passed(limiter, [1000.0] * 9, client) for client in "abc") == expected


def test_memory_is_bounded() -> None:
    """No client within its rate is refused."""
    limiter = RateLimiter(LIMIT, max_clients=100)
    for number in range(10_000):
        assert limiter.ask(f"client {number}", 1000 + number / 1e6) == 0
        assert len(limiter) <= 100


def test_address_cycling_does_not_reset_a_limit() -> None:
    limiter = RateLimiter(LIMIT, max_clients=100)
    assert passed(limiter, [1000.0] * 9, "attacker") == 5
    for number in range(10_000):
        limiter.ask(f"other {number}", 1000.0)
    assert limiter.ask("attacker", 1000.0) > 0


def test_full_buckets_are_dropped_first() -> None:
    limiter = RateLimiter(LIMIT, max_clients=100)
    for number in range(100):
        limiter.ask(str(number), 1000.0)
    limiter.ask("late", 1010.0)
    assert len(limiter) == 1


CLIENTS = {
    "192.0.2.7": "192.0.2.7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
    "2001:db8:1:2::1": "2001:db8:1:2::",
    "2001:db8:1:3::1": "2001:db8:1:3::",
    "fe80::1%eth0": "fe80::",
    "": "",
    "unix:": "unix:",
}


@pytest.mark.parametrize("address", CLIENTS)
def test_client_key_is_address_or_ipv6_network(address: str) -> None:
    assert client_of(address) == CLIENTS[address]


def test_tally_limits_each_client() -> None:
    """It forgets clients that have nothing in flight."""
    tally = Tally(2)
    assert [tally.enter("a"), tally.enter("a"), tally.enter("a"), tally.enter("b")] == [True, True, False, True]
    tally.leave("a")
    assert tally.enter("a")
    for client in "aab":
        tally.leave(client)
    assert len(tally) == 0


def test_tally_without_limit_only_counts() -> None:
    tally = Tally(0)
    assert all(tally.enter("a") for _connection in range(1000))
