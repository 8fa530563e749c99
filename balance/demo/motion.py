"""Settings with which rules and dashboards react within seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from balance.catalog import standard
from balance.generate import build, collect, store
from balance.generate.settings import load
from balance.lb.catalog import thresholds as t
from balance.live.scrape import parse
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

WINDOW, WAIT = 8, 3
"""Seconds: the window of rates, and the longest ``for`` and ``keep_firing_for``."""
MIN_REQUESTS = 50
"""Minimum number of requests in that window for a ratio."""
WEBHOOK = {"page": ("pagerduty", "slack"), "inform": ("slack", "email")}
"""The integrations of each receiver that the webhook of the demo replaces."""


@dataclass(frozen=True)
class Places:
    """Addresses: the admin port, the demo's page, Prometheus, Alertmanager."""

    admin: str
    page: str
    prometheus: str
    alertmanager: str


def settings(bundle: Bundle, places: Places, memory: float, folder: Path) -> dict[str, Any]:
    """The content of the settings file. `memory` is the threshold of the alert in bytes, `folder` is where Grafana finds the dashboards."""
    waits = {
        alert.name: {"for": f"{min(alert.wait, WAIT)}s", "keep_firing_for": f"{min(alert.keep_firing, WAIT)}s"}
        for alert in bundle.alerts
        if max(alert.wait, alert.keep_firing) > WAIT
    }
    return {
        "rate_window": f"{WINDOW}s",
        "thresholds": {t.MIN_REQUESTS.name: MIN_REQUESTS, t.MEMORY.name: memory},
        "alerts": waits,
        "prometheus": {
            "scrape_interval": "1s", "evaluation_interval": "1s", "targets": [places.admin], "alertmanagers": [places.alertmanager],
        },
        "alertmanager": {
            "receivers": {
                name: {**dict.fromkeys(others, False), "webhook": {"url": f"http://{places.page}/notifications"}} for name, others in WEBHOOK.items()
            },
            "routes": {
                "critical": {"group_wait": "1s", "group_interval": "2s"},
                "warning": {"group_wait": f"{2 * WAIT}s", "group_interval": "2s"},  # longer than that of a critical alert that may inhibit it
            },
        },
        "provisioning": {"path": str(folder.absolute() / "dashboards"), "url": f"http://{places.prometheus}"},
    }  # fmt: skip


def collected(tree: dict[str, Any], folder: Path) -> tuple[Bundle, Settings]:
    """Write the settings into the folder, and load the bundle with them."""
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return collect.collect(load(str(file), []))


def write(bundle: Bundle, settings: Settings, folder: Path, *families: build.Family) -> None:
    """Write these families of files. Raises `StoreError`."""
    store.write(folder, [artifact for family in families for artifact in family(bundle, settings)])


def resident(scrape: str) -> float:
    """The resident memory in a scrape, in bytes; without it, the default of the threshold."""
    found = parse(scrape).families.get(standard.PROCESS_RESIDENT.name) if scrape else None
    return found.samples[0].value if found else t.MEMORY.value
