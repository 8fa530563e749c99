"""Check the generated Alertmanager configuration with amtool: its syntax, and the receiver that each alert is routed to."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from balance.errors import Problem
from balance.generate import build
from balance.generate.tools import run_tool
from balance.monitoring.alerts import Alert
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import SYNTHETIC, Routing, apply_settings
from balance.monitoring.settings import Settings


def labels(alert: Alert, settings: Settings, value: str) -> dict[str, str]:
    """Labels that the alert can have when it reaches Alertmanager; labels that vary between series get this value."""
    own = dict.fromkeys(sorted({*alert.condition.some_labels, *settings.keep_labels}), value)
    return {**own, "job": settings.job, "alertname": alert.name, "severity": alert.severity}


def check_bundle(bundle: Bundle, settings: Settings) -> list[Problem]:
    """Check the generated configuration of Alertmanager; returns no findings if the bundle declares no routing.

    Raises `BalanceError` if amtool is not installed.
    """
    if bundle.routing is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        for artifact in build.alertmanager(bundle, settings):
            path = Path(folder, artifact.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(artifact.text, encoding="utf-8")
        return check_file(Path(folder, "alertmanager", "alertmanager.yml"), bundle.alerts, apply_settings(bundle.routing, settings), settings)


def check_file(file: Path, alerts: Sequence[Alert], routing: Routing, settings: Settings) -> list[Problem]:
    """Check a configuration file, and that it routes these alerts and a synthetic one of each severity as `routing` says."""
    folder = str(file.parent)
    code, output = run_tool("amtool", "check-config", file.name, folder=folder)
    if code:
        fault = next((line.partition("FAILED: ")[2] for line in output.splitlines() if "FAILED: " in line), "") or output.strip()
        return [Problem("alertmanager", f"is rejected: {fault}", "fix the settings under alertmanager", file.name, check="amtool-config")]

    def routed(alert: Alert, synthetic: bool) -> list[Problem]:
        given = labels(alert, settings, "some") | ({SYNTHETIC: "true"} if synthetic else {})
        receiver = routing.route(given["severity"]).receiver
        pairs = [f"{name}={value}" for name, value in sorted(given.items())]
        code, output = run_tool(
            "amtool", "config", "routes", "test", f"--config.file={file}", f"--verify.receivers={receiver}", *pairs, folder=folder
        )
        if not code:
            return []
        reached = next(line for line in output.splitlines() if not line.startswith("Warning: "))
        problem = f"is routed to {reached} instead of {receiver} ({' '.join(pairs)})"
        return [Problem("alertmanager", problem, "fix the routes", alert.name, check="amtool-route")]

    one_of_each = {alert.severity: alert for alert in alerts}.values()
    asked = [*((alert, False) for alert in alerts), *((alert, True) for alert in one_of_each)]
    with ThreadPoolExecutor(4) as threads:
        return [finding for findings in threads.map(lambda pair: routed(*pair), asked) for finding in findings]
