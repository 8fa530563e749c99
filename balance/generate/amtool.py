"""What `balance-gen test` asks amtool: whether the configuration is right, and whether each alert reaches the receiver it should."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from balance.errors import Problem
from balance.generate import build
from balance.generate.tools import ask
from balance.monitoring.alerts import Alert
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import SYNTHETIC, Routing, applied
from balance.monitoring.settings import Settings


def labels(alert: Alert, settings: Settings, value: str) -> dict[str, str]:
    """Labels that the alert can have when it reaches Alertmanager; those that tell series apart have this value."""
    own = dict.fromkeys(sorted({*alert.condition.some_labels, *settings.keep_labels}), value)
    return {**own, "job": settings.job, "alertname": alert.name, "severity": alert.severity}


def checks(bundle: Bundle, settings: Settings) -> list[Problem]:
    """What is wrong with the generated configuration of Alertmanager; nothing if the bundle declares no routing.

    Raises `BalanceError` if there is no amtool.
    """
    if bundle.routing is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        for artifact in build.alertmanager(bundle, settings):
            path = Path(folder, artifact.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(artifact.text, encoding="utf-8")
        return check(Path(folder, "alertmanager", "alertmanager.yml"), bundle.alerts, applied(bundle.routing, settings), settings)


def check(file: Path, alerts: Sequence[Alert], routing: Routing, settings: Settings) -> list[Problem]:
    """What amtool finds in a configuration that should send these alerts, and a synthetic one of each severity, where the routing says."""
    folder = str(file.parent)
    code, words = ask("amtool", "check-config", file.name, folder=folder)
    if code:
        fault = next((line.partition("FAILED: ")[2] for line in words.splitlines() if "FAILED: " in line), "") or words.strip()
        return [Problem("alertmanager", f"is refused: {fault}", "mend the settings under alertmanager", file.name, check="amtool-config")]

    def routed(alert: Alert, synthetic: bool) -> list[Problem]:
        given = labels(alert, settings, "some") | ({SYNTHETIC: "true"} if synthetic else {})
        receiver = routing.route(given["severity"]).receiver
        pairs = [f"{name}={value}" for name, value in sorted(given.items())]
        code, words = ask("amtool", "config", "routes", "test", f"--config.file={file}", f"--verify.receivers={receiver}", *pairs, folder=folder)
        if not code:
            return []
        reached = next(line for line in words.splitlines() if not line.startswith("Warning: "))
        problem = f"goes to {reached}, not to {receiver} ({' '.join(pairs)})"
        return [Problem("alertmanager", problem, "mend the routes", alert.name, check="amtool-route")]

    one_of_each = {alert.severity: alert for alert in alerts}.values()
    asked = [*((alert, False) for alert in alerts), *((alert, True) for alert in one_of_each)]
    with ThreadPoolExecutor(4) as threads:
        return [finding for findings in threads.map(lambda pair: routed(*pair), asked) for finding in findings]
