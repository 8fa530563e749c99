"""Load-balancing algorithms: shares, order, backends that were skipped, and which keys move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

import pytest

from balance.config.address import Address
from balance.lb.config.model import BackendConfig, LoadBalancer
from balance.lb.policy.latency import UNKNOWN, Peak
from balance.lb.policy.pickers import Picker, make
from balance.lb.policy.pickers.algorithms import ALGORITHMS
from balance.lb.policy.pickers.table import digest

PICKS = 30_000
"""Random picks per test. The standard deviation of a backend's share is then at most 0.003 (at a share of one half)."""
SPREAD = 0x9E3779B97F4A7C15
"""2**64 / golden ratio: its multiples are evenly spread, so that keys add no randomness of their own."""
OFF = 0.007
"""Tolerance for a share. One that is really off by 0.013 is detected 98 times in 100, as with 100,000 picks and 0.01."""


@dataclass
class Backend:
    """What a picker sees of a backend."""

    config: BackendConfig
    weight: float
    active: int = 0
    latency: Peak = field(default=UNKNOWN)

    @property
    def name(self) -> str:
        return self.config.name


def backends(weights: Sequence[int], backups: int = 0) -> list[Backend]:
    """Backends a, b, ... (b0, b1, ... if they are many), the last of them backups."""
    first_backup = len(weights) - backups
    return [
        Backend(
            BackendConfig("abcdefghij"[i] if len(weights) <= 10 else f"b{i}", Address("127.0.0.1", 1), weight, 10, backup=i >= first_backup), weight
        )
        for i, weight in enumerate(weights)
    ]


def picker(algorithm: str, candidates: Sequence[Backend], seed: int = 1, **policy: float) -> Picker[Backend]:
    return make(LoadBalancer(algorithm, **policy), candidates, Random(seed))  # type: ignore[arg-type]


def pick(chooser: Picker[Backend], usable: Callable[[Backend], bool] = lambda _backend: True, key: int = 0, average: float = inf) -> Backend:
    return next(backend for backend in chooser.candidates(key, 0.0, average) if usable(backend))


def shares(chooser: Picker[Backend], usable: Callable[[Backend], bool] = lambda _backend: True, count: int = PICKS) -> Counter[str]:
    return Counter(pick(chooser, usable, number * SPREAD % 2**64).name for number in range(count))


WEIGHTS = {"equal": (1, 1, 1, 1), "smooth": (5, 1, 1), "mixed": (3, 2, 10, 1, 7), "one": (4,)}


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"first"}))
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_shares_match_weights(algorithm: str, weights: tuple[int, ...]) -> None:
    candidates = backends(weights)
    found = shares(picker(algorithm, candidates))
    for backend in candidates:
        assert found[backend.name] / PICKS == pytest.approx(backend.weight / sum(weights), abs=OFF)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_round_robin_is_exact_over_whole_cycles(weights: tuple[int, ...]) -> None:
    rounds = PICKS // sum(weights)
    found = shares(picker("round-robin", backends(weights)), count=rounds * sum(weights))
    assert list(dict(sorted(found.items())).values()) == [weight * rounds for weight in weights]


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("down", ["", "a", "b"])
def test_round_robin_is_exact_at_every_pick(weights: tuple[int, ...], down: str) -> None:
    candidates = backends(weights)
    up = [backend for backend in candidates if backend.name != down]
    if not up:
        return
    chooser, total, found = picker("round-robin", candidates), sum(backend.weight for backend in up), Counter[str]()
    for number in range(1, 2000):
        found[pick(chooser, lambda backend: backend.name != down).name] += 1
        for backend in up:
            assert abs(found[backend.name] - number * backend.weight / total) < 2, (number, found)


def test_round_robin_interleaves() -> None:
    chooser = picker("round-robin", backends((5, 1, 1)))
    line = "".join(pick(chooser).name for _request in range(700))
    assert "aaaa" not in line
    assert "bc" not in line


def test_round_robin_starts_anywhere_in_cycle() -> None:
    assert {pick(picker("round-robin", backends((1, 1, 1, 1)), seed)).name for seed in range(50)} == set("abcd")


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 10, 1), (10, 1, 10)])
def test_returning_backend_gets_no_burst(weights: tuple[int, ...]) -> None:
    chooser, total = picker("round-robin", backends(weights)), sum(weights)
    for _request in range(1000):
        pick(chooser, lambda backend: backend.name != "b")
    found = [pick(chooser).name for _request in range(100 * total)]
    assert Counter(found[: 2 * total])["b"] <= 2 * weights[1] + 1
    assert Counter(found)["b"] == pytest.approx(100 * weights[1], abs=1)


def test_often_skipped_backend_does_not_starve() -> None:
    """Nine of ten times a has no room: it is still asked in its turn."""
    chooser, asked = picker("round-robin", backends((1, 1))), Counter[str]()
    for number in range(1000):

        def usable(backend: Backend, number: int = number) -> bool:
            asked[backend.name] += 1
            return backend.name != "a" or number % 10 == 0

        pick(chooser, usable)
    assert asked["a"] > 450


@pytest.mark.parametrize("algorithm", ["round-robin", "least-requests", "peak-ewma"])
def test_changed_weight_counts_at_once(algorithm: str) -> None:
    candidates = backends((1, 1, 1))
    chooser = picker(algorithm, candidates)
    for weight, count in ((0.1, 21_000), (1.0, 30_000)):
        candidates[0].weight = weight
        chooser.reweigh()
        found = shares(chooser, count=count)
        assert found["a"] / count == pytest.approx(weight / (weight + 2), abs=0.01)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 200])
def test_order_lists_each_backend_once(algorithm: str, count: int) -> None:
    """Backups come last."""
    backups = count // 3
    candidates = backends([1 + number % 5 for number in range(count)], backups)
    chooser = picker(algorithm, candidates)
    for key in range(50):
        order = list(chooser.candidates(digest(b"%d" % key), 0.0, inf if key % 2 else 0.0))
        assert sorted(backend.name for backend in order) == sorted(backend.name for backend in candidates)
        assert [backend.config.backup for backend in order] == [False] * (count - backups) + [True] * backups


def test_lightest_backend_without_slot_comes_last() -> None:
    candidates = backends([1000] * 40 + [1])
    assert [backend.weight for backend in picker("consistent-hash", candidates).candidates(5, 0.0, inf)] == [1000] * 40 + [1]


def test_pool_of_backups_only() -> None:
    assert set(shares(picker("round-robin", backends((1, 1), 2)), count=10)) == {"a", "b"}


def test_first_uses_configured_order() -> None:
    chooser = picker("first", backends((1, 5, 5)))
    assert pick(chooser).name == "a"
    assert pick(chooser, lambda backend: backend.name != "a").name == "b"


@pytest.mark.parametrize("algorithm", ["least-requests", "peak-ewma"])
def test_less_loaded_of_two_is_chosen(algorithm: str) -> None:
    candidates = backends((1, 1))
    candidates[0].active = 1
    for backend in candidates:
        backend.latency = Peak(0.1, 0.0)
    assert set(shares(picker(algorithm, candidates), count=100)) == {"b"}


def test_takeover_from_loaded_backend_follows_weights() -> None:
    candidates = backends((2, 1, 3))
    candidates[0].active = 100
    found = shares(picker("least-requests", candidates))
    assert found["a"] == 0
    assert found["c"] / PICKS == pytest.approx(3 / 4, abs=OFF)


@pytest.mark.parametrize("algorithm", ["round-robin", "least-requests", "peak-ewma"])
@pytest.mark.parametrize("up", ["acei", "ej"])
def test_equal_shares_while_others_are_down(algorithm: str, up: str) -> None:
    found = shares(picker(algorithm, backends((1,) * 10)), lambda backend: backend.name in up)
    assert all(found[name] / PICKS == pytest.approx(1 / len(up), abs=OFF) for name in up)


@pytest.mark.parametrize("algorithm", ["least-requests", "peak-ewma"])
def test_requests_in_flight_follow_weights(algorithm: str) -> None:
    """Backends finish requests at random in proportion to their load: weights 3 to 1 stay 3 to 1."""
    candidates, random = backends((3, 1, 3, 1)), Random(7)
    for backend in candidates:
        backend.latency = Peak(0.1, 0.0)
    chooser, under_way = picker(algorithm, candidates), list[Backend]()
    for _request in range(20_000):
        chosen = pick(chooser)
        chosen.active += 1
        under_way.append(chosen)
        if len(under_way) > 80:
            under_way.pop(random.randrange(80)).active -= 1
    for backend in candidates:
        assert backend.active == pytest.approx(80 * backend.weight / 8, abs=4)


def test_peak_ewma_retries_slow_backend_later() -> None:
    candidates = backends((1, 1))
    chooser = picker("peak-ewma", candidates)
    for now, better in ((10.0, "b"), (100.0, "a")):
        candidates[0].latency, candidates[1].latency = Peak(2.0, 0.0), Peak(0.01, now)
        assert next(chooser.candidates(0, now, inf)).name == better


def test_peak_ewma_probes_unknown_backend_once() -> None:
    """No second request is sent to it before the first is answered."""
    candidates = backends((1, 1))
    candidates[0].latency = Peak(0.01, 0.0)
    chooser = picker("peak-ewma", candidates)
    first = pick(chooser)
    assert first.name == "b"
    first.active = 1
    assert {pick(chooser).name for _request in range(20)} == {"a"}


def moved(weights: Sequence[int], leaves: int) -> float:
    """Share of the keys whose backend changes when one leaves and the order of the others is reversed."""
    before = backends(weights)
    after = [backend for index, backend in enumerate(before) if index != leaves][::-1]
    old, new = picker("consistent-hash", before), picker("consistent-hash", after)
    keys = [digest(b"key %d" % number) for number in range(20_000)]
    return sum(pick(old, key=key).name != pick(new, key=key).name for key in keys) / len(keys)


@pytest.mark.parametrize(("weights", "leaves"), [((1,) * 2, 0), ((1,) * 4, 1), ((1,) * 10, 9), ((5, 1, 2, 2), 0), ((1,) * 100, 50), ((1, 3) * 50, 7)])
def test_few_keys_move_when_backend_leaves(weights: tuple[int, ...], leaves: int) -> None:
    assert moved(weights, leaves) <= weights[leaves] / sum(weights) + 0.05


def test_keys_do_not_depend_on_config_order() -> None:
    candidates = backends((1, 2, 1, 5, 1))
    one, other = picker("consistent-hash", candidates), picker("consistent-hash", candidates[::-1])
    assert all(pick(one, key=key) is pick(other, key=key) for key in range(20_000))


def test_key_order_is_stable() -> None:
    chooser = picker("consistent-hash", backends((1,) * 8))
    orders = {tuple(backend.name for backend in chooser.candidates(digest(b"me"), 0.0, inf)) for _again in range(5)}
    assert len(orders) == 1


def test_keys_of_down_backend_spread_over_others() -> None:
    candidates = backends((1,) * 5)
    chooser = picker("consistent-hash", candidates)
    keys = [key for number in range(20_000) if pick(chooser, key=(key := digest(b"%d" % number))).name == "a"]
    found = Counter(pick(chooser, lambda backend: backend.name != "a", key).name for key in keys)
    assert all(0.15 < found[name] / len(keys) < 0.35 for name in "bcde")


def test_popular_key_respects_balance_factor() -> None:
    candidates = backends((1, 1, 1, 2))
    chooser = picker("consistent-hash", candidates, balance_factor=1.25)
    for number in range(1, 1001):
        pick(chooser, key=digest(b"popular"), average=number / 5).active += 1
        assert all(backend.active < 1.25 * number / 5 * backend.weight + 1 for backend in candidates)


def test_key_keeps_its_backend_at_low_load() -> None:
    candidates = backends((1,) * 10)
    chooser = picker("consistent-hash", candidates)
    assert all(pick(chooser, key=digest(b"%d" % number), average=1 / 10) is pick(chooser, key=digest(b"%d" % number)) for number in range(100))


def test_digest_depends_on_secret() -> None:
    assert digest(b"a", b"one") != digest(b"a", b"two") != digest(b"a")
