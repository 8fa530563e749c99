"""Which backend gets a request: all algorithms behind one interface, an order of candidates. Entry point: `make`."""

from __future__ import annotations

from balance.lb.policy.pickers.algorithms import make
from balance.lb.policy.pickers.base import Candidate, Picker

__all__ = ["Candidate", "Picker", "make"]
