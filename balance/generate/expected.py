"""What running systems should have if everything that is generated was deployed, and their addresses."""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import Namespace
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from balance.config.units import parse_duration
from balance.errors import BalanceError
from balance.generate import build
from balance.live.facts import OFF, Addresses, ExpectedState, WantedSeries
from balance.live.series_index import MADE_BY_PROMETHEUS
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

TOKEN = "GRAFANA_TOKEN"  # noqa: S105 (the name of a variable)
_WINDOW = re.compile(r"\[(\w+)\]")


def expected(bundle: Bundle, settings: Settings) -> ExpectedState:
    """The generated rules, dashboards and configuration in the form in which running systems show them."""
    files = [yaml.safe_load(artifact.text) for artifact in build.rule_files(bundle, settings)]
    rules = tuple(rule for file in files for group in file["groups"] for rule in group["rules"])
    windows = [int(parse_duration(window) or 0) for rule in rules for window in _WINDOW.findall(rule["expr"])]
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
    """Addresses of the running systems, from the options of `doctor` or else from the settings."""
    metrics = options.balance or list(settings.prometheus.targets)
    managers = settings.prometheus.alertmanagers or (OFF,)
    return Addresses(
        () if metrics == [OFF] else tuple(_metrics_url(_url(address)) for address in metrics),
        _url(options.prometheus or settings.provisioning.url),
        _url(options.alertmanager or managers[0]),
        _url(options.grafana or settings.grafana_url),
    )


def _url(address: str) -> str:
    return address if address == OFF or "://" in address else f"http://{address}"


def _metrics_url(address: str) -> str:
    """The address of the metrics: without a path, ``/metrics`` is meant."""
    return address if urlsplit(address).path.strip("/") else f"{address.rstrip('/')}/metrics"


def grafana_token(file: str | None) -> str:
    """The token for Grafana from a file or the environment; empty if there is none. Raises `BalanceError`, which never contains the token."""
    try:
        found = (Path(file).read_text(encoding="utf-8") if file else os.environ.get(TOKEN, "")).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise BalanceError(f"cannot be read: {reason}", where=str(file), cure="give the file that holds the token for Grafana") from None
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise BalanceError("invalid token", where=file or TOKEN, cure="must be a single word, as Grafana shows it once")
    return found
