"""`balance-gen write`: write every generated file."""

from __future__ import annotations

import sys
from argparse import Namespace

from balance.commandline import EXIT_OK, Command
from balance.commands.check import plan
from balance.commands.options import add_out
from balance.generate import store
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

DONE = {"missing": "created", "changed": "changed", "orphaned": "removed"}


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Bring the directory up to date; print what was created, changed and removed to stderr."""
    changes = plan(options.out, bundle, settings)
    store.apply(options.out, changes)
    for change in changes:
        print(f"{DONE[change.kind]} {options.out / change.path}", file=sys.stderr)
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
    return EXIT_OK


COMMAND = Command(
    "write",
    "write every generated file, and remove orphaned ones",
    run,
    add_out,
    "balance-gen write\nbalance-gen write --out out --settings settings.yaml",
)
