"""How an orchestrator starts, probes and stops a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from balance.catalog.model import Threshold
from balance.errors import MonitoringError


@dataclass(frozen=True)
class Workload:
    """A service in a container. `ports`: by name, including `metrics`. `alive`, `ready`: paths of the liveness and readiness probes on that port.
    `configuration`: folder where its configuration is mounted. `stopping`: seconds that it needs at most to stop. `memory`: the threshold, in
    bytes, from which its memory limit follows.
    """

    image: str
    arguments: tuple[str, ...]
    ports: Mapping[str, int]
    alive: str
    ready: str
    configuration: str
    stopping: int
    memory: Threshold

    def __post_init__(self) -> None:
        if "metrics" not in self.ports:
            raise MonitoringError("has no port named metrics", where=f"workload {self.image}", cure="name the port that answers /metrics")
