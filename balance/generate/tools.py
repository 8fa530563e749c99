"""Prometheus' and Alertmanager's own judgement of what is generated: promtool and amtool."""

from __future__ import annotations

import os
import shutil
import subprocess

from balance.errors import BalanceError

_PACKAGES = {"promtool": "Prometheus (in Debian: prometheus)", "amtool": "Alertmanager (in Debian: prometheus-alertmanager)"}
_ENVIRONMENT = {"GOGC": "400", **os.environ}
"""They run for seconds only: collecting garbage less often saves a quarter of the time."""


def ask(program: str, *arguments: str, folder: str) -> tuple[int, str]:
    """Exit code and words of one of them, run in that folder. Raises `BalanceError` if it is not installed."""
    found = shutil.which(program)
    if found is None:
        raise BalanceError(f"{program} is not installed", cure=f"install {_PACKAGES[program]}, or put {program} on the PATH")
    command = [found, *arguments]
    run = subprocess.run(  # noqa: S603 (our own words)
        command, cwd=folder, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return run.returncode, run.stdout
