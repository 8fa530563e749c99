"""Prometheus' own judgement of what is generated: promtool, if it is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from balance.errors import BalanceError
from balance.lint.finding import Finding
from balance.monitoring.settings import Settings
from balance.render.prometheus import configuration


def promtool(files: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of promtool, run where these files (name -> text) are. Raises `BalanceError` if it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        raise BalanceError("promtool is not installed", cure="apt install prometheus, or put promtool on the PATH")
    with tempfile.TemporaryDirectory(prefix="balance-gen-") as directory:
        for name, text in files.items():
            Path(directory, name).write_text(text, encoding="utf-8")
        done = subprocess.run([program, *arguments], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
        return done.returncode, done.stdout


def check_configuration(settings: Settings) -> list[Finding]:
    """What Prometheus would refuse in its configuration. Rule files are not looked for: they need not be on this machine."""
    code, output = promtool({"prometheus.yml": configuration(settings)}, "check", "config", "--syntax-only", "prometheus.yml")
    if code == 0:
        return []
    told = " ".join(line.strip() for line in output.splitlines() if "FAILED" in line or "rror" in line) or output.strip()
    return [
        Finding("promtool-config", "error", "prometheus", "prometheus.yml", f"is refused by promtool: {told}", "mend the settings under prometheus")
    ]
