"""Who gets a request: every algorithm behind one interface, an order of candidates. `make` is the way in."""

from __future__ import annotations

from balance.lb.policy.pickers.algorithms import make
from balance.lb.policy.pickers.base import Candidate, Picker

__all__ = ["Candidate", "Picker", "make"]
