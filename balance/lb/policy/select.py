"""Smooth weighted round robin: who should get the next request, and who after that.

Theory. Each backend has an account. Before a choice everyone earns its weight; whoever has most is chosen and pays the sum of
all weights. Shares come out exactly by weight and, unlike in blocks, spread evenly: weights 5, 1, 1 give a a b a c a a.
The caller may pass over those at the front (unhealthy, full); they neither earn nor pay, so the rest share in proportion and
nobody saves up for a burst.
"""

from __future__ import annotations

from collections.abc import Sequence


def order(accounts: Sequence[int], weights: Sequence[int]) -> Sequence[int]:
    """All indices, the one to prefer first."""
    if len(weights) == 1:
        return (0,)
    standing = [account + weight for account, weight in zip(accounts, weights, strict=True)]
    return sorted(range(len(standing)), key=standing.__getitem__, reverse=True)  # stable: equals in configured order


def charge(accounts: Sequence[int], weights: Sequence[int], ranking: Sequence[int], position: int) -> Sequence[int]:
    """The accounts after ``ranking[position]`` was chosen and those before it were passed over."""
    if len(weights) == 1:
        return accounts
    after = list(accounts)
    cost = 0
    for index in ranking[position:]:
        after[index] += weights[index]
        cost += weights[index]
    after[ranking[position]] -= cost
    return after
