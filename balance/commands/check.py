"""`balance-gen check`: compare the generated files with what the sources make."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from pathlib import Path

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, paint, progress
from balance.commands.options import add_out
from balance.generate import build, deprecations, store
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_STYLES = {"-": "removed", "+": "added", "@": "place"}


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print a diff of missing, changed and orphaned files, and the command that fixes them; exit code 1 if there are any."""
    changes = plan(options.out, bundle, settings)
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
        return EXIT_OK
    for change in changes:
        for line in change.diff().splitlines(keepends=True):
            sys.stdout.write(paint(line, _STYLES[line[0]], sys.stdout) if line[0] in _STYLES else line)
    for change in changes:
        print(f"{change.kind}: {options.out / change.path}", file=sys.stderr)
    print(f"fix with: {_write_command(options)}", file=sys.stderr)
    return EXIT_FINDINGS


def plan(directory: Path, bundle: Bundle, settings: Settings) -> list[store.FileChange]:
    """The changes that bring the directory up to date.

    Raises `CatalogError` if a deprecated metric would be removed before its announced version.
    """
    deprecations.check_removed_metrics(directory, bundle.catalog)
    return store.plan(
        directory,
        build.everything(bundle, settings, lambda families: progress(families, lambda family: family.__name__.replace("_", " "), len(families))),
    )


def _write_command(options: Namespace) -> str:
    """The `balance-gen write` with the same sources and settings."""
    words = ["balance-gen", "write", "--out", str(options.out)]
    words += ["--settings", options.settings] if options.settings else []
    words += [word for name in ("set", "source") for value in getattr(options, name) for word in (f"--{name}", value)]
    return shlex.join(words)


COMMAND = Command(
    "check",
    "compare the generated files with the sources; print a diff and exit 1 if they differ",
    run,
    add_out,
    "balance-gen check\nbalance-gen check --out out --settings settings.yaml",
)
