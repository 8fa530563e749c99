"""Rules and dashboards in fast motion: by settings alone, as anybody could write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from balance.catalog import standard
from balance.generate import build, collect, store
from balance.generate import settings as reading
from balance.lb.catalog import thresholds as t
from balance.live.scrape import parse
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

WINDOW, WAIT = 8, 3
"""Seconds: the window of rates, and the longest ``for`` and ``keep_firing_for``."""
FEWEST = 50
"""Requests in that window, for a ratio to mean something."""
WEBHOOK = {"page": ("pagerduty", "slack"), "inform": ("slack", "email")}
"""The integrations of each receiver that give way to the demo's own webhook."""


@dataclass(frozen=True)
class Places:
    """Addresses: the admin port, the demo's page, Prometheus, Alertmanager."""

    admin: str
    page: str
    prometheus: str
    alertmanager: str


def settings(bundle: Bundle, places: Places, memory: float, folder: Path) -> dict[str, Any]:
    """What a settings file says about this bundle. `memory` is the alert's threshold in bytes, `folder` where Grafana finds the dashboards."""
    waits = {
        alert.name: {"for": f"{min(alert.wait, WAIT)}s", "keep_firing_for": f"{min(alert.keep_firing, WAIT)}s"}
        for alert in bundle.alerts
        if max(alert.wait, alert.keep_firing) > WAIT
    }
    return {
        "rate_window": f"{WINDOW}s",
        "thresholds": {t.MIN_REQUESTS.name: FEWEST, t.MEMORY.name: memory},
        "alerts": waits,
        "prometheus": {
            "scrape_interval": "1s", "evaluation_interval": "1s", "targets": [places.admin], "alertmanagers": [places.alertmanager],
        },
        "alertmanager": {
            "receivers": {
                name: {**dict.fromkeys(others, False), "webhook": {"url": f"http://{places.page}/told"}} for name, others in WEBHOOK.items()
            },
            "routes": {
                "critical": {"group_wait": "1s", "group_interval": "2s"},
                "warning": {"group_wait": f"{2 * WAIT}s", "group_interval": "2s"},  # longer than a page takes that may silence it
            },
        },
        "provisioning": {"path": str(folder.absolute() / "dashboards"), "url": f"http://{places.prometheus}"},
    }  # fmt: skip


def collected(tree: dict[str, Any], folder: Path) -> tuple[Bundle, Settings]:
    """The bundle by these settings, which are written into the folder."""
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return collect.collect(reading.load(str(file), []))


def write(bundle: Bundle, settings: Settings, folder: Path, *families: build.Family) -> None:
    """Write these families of files. Raises `StoreError`."""
    store.write(folder, [artifact for family in families for artifact in family(bundle, settings)])


def resident(scrape: str) -> float:
    """The memory that a scrape shows, in bytes; where the system tells none, what the threshold is by default."""
    found = parse(scrape).families.get(standard.PROCESS_RESIDENT.name) if scrape else None
    return found.samples[0].value if found else t.MEMORY.value
