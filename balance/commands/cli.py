"""The command line `balance-gen`. Each command has its own file in this package."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from balance import __version__
from balance.catalog.standard import RUNTIMES
from balance.commandline import EXIT_CODES, Command, Parser, run_command
from balance.commands import (
    adopt,
    apply,
    audit,
    backtest,
    check,
    dashboards,
    diff,
    doctor,
    explain,
    families,
    lint,
    preview,
    schema,
    test,
    test_alert,
    verify,
    write,
)
from balance.errors import SettingsError
from balance.generate import collect, settings

COMMANDS: tuple[Command, ...] = (
    dashboards.COMMAND,
    *families.COMMANDS,
    schema.COMMAND,
    write.COMMAND,
    check.COMMAND,
    lint.COMMAND,
    explain.COMMAND,
    preview.COMMAND,
    backtest.COMMAND,
    doctor.COMMAND,
    apply.COMMAND,
    test.COMMAND,
    test_alert.COMMAND,
    verify.COMMAND,
    audit.COMMAND,
    adopt.COMMAND,
    diff.COMMAND,
)
EXAMPLES = """\
examples:
  balance-gen dashboards > grafana-dashboard.json
  balance-gen alerts --set thresholds.error_ratio=0.02 > prometheus-alerts.yaml
  balance-gen write && balance-gen check
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code (see `balance.commandline.EXIT_CODES`)."""
    return run_command(command_line(), arguments, _run, "balance-gen: ")


def command_line() -> Parser:
    """The parser with all commands."""
    common = Parser(add_help=False)
    group = common.add_argument_group("common options")
    group.add_argument("--settings", metavar="FILE", help="YAML file with thresholds, names and addresses")
    group.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting, e.g. thresholds.error_ratio=0.02")
    group.add_argument(
        "--source", metavar="NAME|MODULE:ATTRIBUTE", action="append", default=[], help="an installed source, or the module that declares one"
    )
    group.add_argument("--runtime", choices=RUNTIMES, help="language runtime whose metrics to use")
    parser = Parser(
        prog="balance-gen",
        description="Make Grafana dashboards and Prometheus rules from one typed metric catalog.",
        epilog=f"{EXAMPLES}{EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"balance-gen {__version__}")
    parser.add_commands(COMMANDS, common)
    return parser


def _run(options: argparse.Namespace) -> int:
    options.set += [f"{name}={value}" for name in ("runtime", "ruler") if (value := getattr(options, name, None))]
    loaded, problems = settings.read(options.settings, options.set, os.environ)
    command: Command = options.chosen
    if any(getattr(options, name) for name in command.foreign):
        bundle, effective = collect.EMPTY, loaded
    else:
        bundle, effective = collect.collect(loaded, tuple(options.source), problems)
    problems.raise_if_any(SettingsError)
    if options.verbose:
        print(
            f"balance-gen: catalog {bundle.catalog.name}: {len(bundle.catalog.metrics)} metrics, {len(bundle.alerts)} alerts, "
            f"{len(bundle.dashboards)} dashboards; job {effective.job}, settings of {options.settings or 'no file'}",
            file=sys.stderr,
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # the same bytes whatever the locale
    return command.run(options, bundle, effective)


if __name__ == "__main__":
    sys.exit(main())
