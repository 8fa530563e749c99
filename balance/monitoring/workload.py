"""What runs in containers: how a service is started and asked, as far as an orchestrator must know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from balance.catalog.model import Threshold
from balance.errors import MonitoringError


@dataclass(frozen=True)
class Workload:
    """A service in a container: the image and its arguments, its ports by name, one of which is `metrics`; the paths on that port that tell
    whether it lives and whether it takes requests; the folder that its configuration is mounted in; the seconds that it takes at most to
    stop; and the threshold of its memory, in bytes, from which its limit follows.
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
            raise MonitoringError("has no port called metrics", where=f"workload {self.image}", cure="name the port that answers /metrics")
