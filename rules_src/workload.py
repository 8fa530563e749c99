"""The balancer in a container: as `deploy/Containerfile` starts it, with the ports of `deploy/balance.yaml`."""

from __future__ import annotations

from balance.api import Workload
from balance.lb.catalog import thresholds

WORKLOAD = Workload(
    image="balance",
    arguments=("serve", "-c", "/etc/balance/balance.yaml"),
    ports={"http": 8080, "metrics": 9090},
    alive="/health",
    ready="/ready",
    configuration="/etc/balance",
    stopping=35,  # timeouts.shutdown and 5 s for the process itself
    memory=thresholds.MEMORY,
)
