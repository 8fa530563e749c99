"""`balance-gen check`: whether the generated files are what the sources make."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from pathlib import Path

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, Parser, paint, progress
from balance.generate import build, deprecations, store
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_STYLES = {"-": "removed", "+": "added", "@": "place"}


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("--out", metavar="DIR", type=Path, default="generated", help="default: generated")


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print a diff of what is missing, changed or orphaned, and the command that mends it; exit code 1 if anything is."""
    changes = plan(options.out, bundle, settings)
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
        return EXIT_OK
    for change in changes:
        for line in change.diff().splitlines(keepends=True):
            sys.stdout.write(paint(line, _STYLES[line[0]], sys.stdout) if line[0] in _STYLES else line)
    for change in changes:
        print(f"{change.kind}: {options.out / change.path}", file=sys.stderr)
    print(f"mend with: {_write(options)}", file=sys.stderr)
    return EXIT_FINDINGS


def plan(directory: Path, bundle: Bundle, settings: Settings) -> list[store.Change]:
    """What has to change in the directory. Raises `CatalogError` if a deprecated metric would go before its announced version."""
    deprecations.check_removed_metrics(directory, bundle.catalog)
    return store.plan(
        directory,
        build.everything(bundle, settings, lambda families: progress(families, lambda family: family.__name__.replace("_", " "), len(families))),
    )


def _write(options: Namespace) -> str:
    """The `write` that makes what this `check` compared with."""
    words = ["balance-gen", "write", "--out", str(options.out)]
    words += ["--settings", options.settings] if options.settings else []
    words += [word for name in ("set", "source") for value in getattr(options, name) for word in (f"--{name}", value)]
    return shlex.join(words)


COMMAND = Command(
    "check",
    "show as a diff what is missing, changed or orphaned; exit 1 if anything is",
    run,
    arguments,
    "balance-gen check\nbalance-gen check --out out --settings settings.yaml",
)
