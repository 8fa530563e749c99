"""Run promtool and amtool, which come with Prometheus and Alertmanager."""

from __future__ import annotations

import os
import shutil
import subprocess

from balance.errors import BalanceError

_PACKAGES = {"promtool": "Prometheus (in Debian: prometheus)", "amtool": "Alertmanager (in Debian: prometheus-alertmanager)"}
_ENVIRONMENT = {"GOGC": "400", **os.environ}
"""Less garbage collection saves a quarter of the time of these short runs."""


def run_tool(program: str, *arguments: str, folder: str) -> tuple[int, str]:
    """Run a program in a folder; returns its exit code and its output. Raises `BalanceError` if it is not installed."""
    found = shutil.which(program)
    if found is None:
        raise BalanceError(f"{program} is not installed", cure=f"install {_PACKAGES[program]}, or put {program} on the PATH")
    command = [found, *arguments]
    run = subprocess.run(  # noqa: S603 (our own arguments)
        command, cwd=folder, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return run.returncode, run.stdout
