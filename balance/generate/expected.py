"""What running systems should show of what is generated, and where to look for it."""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import Namespace
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from balance.config.units import length
from balance.errors import BalanceError
from balance.generate import build
from balance.live.facts import OFF, Addresses, ExpectedState, WantedSeries
from balance.live.series_index import MADE_BY_PROMETHEUS
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

TOKEN = "GRAFANA_TOKEN"  # noqa: S105 (the name of a variable)
_WINDOW = re.compile(r"\[(\w+)\]")


def expected(bundle: Bundle, settings: Settings) -> ExpectedState:
    """What is generated, as far as running systems can show it."""
    files = [yaml.safe_load(artifact.text) for artifact in build.rule_files(bundle, settings)]
    rules = tuple(rule for file in files for group in file["groups"] for rule in group["rules"])
    windows = [int(length(window) or 0) for rule in rules for window in _WINDOW.findall(rule["expr"])]
    selected = (selector for _, expr in bundle.expressions() for selector in expr.selectors() if selector.name not in MADE_BY_PROMETHEUS)
    manager = [yaml.safe_load(artifact.text) for artifact in build.alertmanager(bundle, settings) if artifact.path.endswith(".yml")]
    boards = [json.loads(artifact.text) for artifact in build.dashboards(bundle, settings)]
    return ExpectedState(
        bundle.catalog,
        settings.job,
        settings.matchers,
        settings.selector,
        min(windows, default=sys.maxsize),
        max(windows, default=0),
        rules,
        tuple(dict.fromkeys(WantedSeries(selector.metric, selector.name, selector.matchers) for selector in selected)),
        {board["uid"]: board for board in boards},
        manager[0] if manager else {},
    )


def addresses(options: Namespace, settings: Settings) -> Addresses:
    """Where to look: what the command line says, or else the settings."""
    metrics = options.balance or list(settings.prometheus.targets)
    managers = settings.prometheus.alertmanagers or (OFF,)
    return Addresses(
        () if metrics == [OFF] else tuple(_scraped(_whole(address)) for address in metrics),
        _whole(options.prometheus or settings.provisioning.url),
        _whole(options.alertmanager or managers[0]),
        _whole(options.grafana or settings.grafana_url),
    )


def _whole(address: str) -> str:
    return address if address == OFF or "://" in address else f"http://{address}"


def _scraped(address: str) -> str:
    """The address of the metrics where only that of the service is given."""
    return address if urlsplit(address).path.strip("/") else f"{address.rstrip('/')}/metrics"


def token(file: str | None) -> str:
    """Grafana's token, from a file or the environment; empty if there is none. Raises `BalanceError`, which does not show it."""
    try:
        found = (Path(file).read_text(encoding="utf-8") if file else os.environ.get(TOKEN, "")).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise BalanceError(f"cannot be read: {reason}", where=str(file), cure="name the file that holds Grafana's token") from None
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise BalanceError("holds no token", where=file or TOKEN, cure="it is one word, as Grafana shows it once")
    return found
