"""Cost of choosing a backend with each algorithm, as the data plane does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import median

from balance.config.address import Address
from balance.lb.config.model import BackendConfig, LoadBalancer
from balance.lb.policy.latency import Peak
from balance.lb.policy.pickers import make
from balance.lb.policy.pickers.algorithms import ALGORITHMS
from balance.lb.policy.pickers.table import digest
from tools.bench.table import Goal, Result, markdown

ROUNDS, PICKS = 9, 20_000
GOALS = {10: 2.0, 1000: 20.0}
"""Microseconds, by the number of backends."""


@dataclass(slots=True)
class _Backend:
    config: BackendConfig
    weight: float
    active: int
    latency: Peak


def _backends(count: int) -> list[_Backend]:
    """Backends of different weights, all equally loaded."""
    weights = [1 + number % 3 for number in range(count)]
    configs = [BackendConfig(f"backend-{number}", Address("127.0.0.1", 1), weight, 100) for number, weight in enumerate(weights)]
    return [_Backend(config, config.weight, 2 * config.weight, Peak(0.005, 0.0)) for config in configs]


def _micros(work: Callable[[], object], times: int) -> float:
    start = time.process_time()  # whatever else the machine does
    work()
    return (time.process_time() - start) / times * 1e6


def _measure(algorithm: str, count: int) -> tuple[float, float]:
    """Microseconds of one pick (median of the rounds) and of building the picker."""
    backends, policy = _backends(count), LoadBalancer(algorithm)
    made = _micros(lambda: make(policy, backends, Random(1)), 1)
    picker = make(policy, backends, Random(1))
    keys = [digest(number.to_bytes(4)) for number in range(PICKS)]

    def picks() -> None:
        for key in keys:
            next(picker.candidates(key, 1.0, 2.1))

    return median(_micros(picks, PICKS) for _round in range(ROUNDS)), made


def run() -> Result:
    """Measure in this process, on one core."""
    figures = {algorithm: {count: _measure(algorithm, count) for count in GOALS} for algorithm in ALGORITHMS}
    heads = ("CPU µs", *(f"pick, {count} backends" for count in GOALS), f"making one, {max(GOALS)} backends")
    rows = [(algorithm, *(f"{pick:.2f}" for pick, _made in found.values()), f"{found[max(GOALS)][1]:.0f}") for algorithm, found in figures.items()]
    goals = [
        Goal(f"slowest pick with {count} backends, µs", bound, max(found[count][0] for found in figures.values())) for count, bound in GOALS.items()
    ]
    return Result(markdown(heads, rows), goals)
