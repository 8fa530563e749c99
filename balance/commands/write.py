"""`balance-gen write`: every generated file."""

from __future__ import annotations

import sys
from argparse import Namespace

from balance.commandline import EXIT_OK, Command
from balance.commands.check import arguments, plan
from balance.generate import store
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

DONE = {"missing": "made", "changed": "changed", "orphaned": "removed"}


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Bring the directory up to date; say what was made, changed and removed."""
    changes = plan(options.out, bundle, settings)
    store.apply(options.out, changes)
    for change in changes:
        print(f"{DONE[change.kind]} {options.out / change.path}", file=sys.stderr)
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
    return EXIT_OK


COMMAND = Command(
    "write",
    "write every generated file, remove those no longer made",
    run,
    arguments,
    "balance-gen write\nbalance-gen write --out out --settings settings.yaml",
)
