"""`balance-gen apply`: bring generated files and dashboards into running systems."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, Parser
from balance.commands.options import add_grafana_token
from balance.errors import BalanceError, Problem
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rules", metavar="DIR", type=Path, help="write the rule files into this directory, which rule_files of Prometheus must include"
    )
    parser.add_argument("--prometheus", metavar="URL", help="reload the rules of this Prometheus (started with --web.enable-lifecycle)")
    parser.add_argument(
        "--alertmanager-files", metavar="DIR", type=Path, help="write the configuration and templates of Alertmanager into this directory"
    )
    parser.add_argument("--alertmanager", metavar="URL", help="reload the configuration of this Alertmanager")
    parser.add_argument("--grafana", metavar="URL", help="upload the dashboards that are missing or differ in this Grafana")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, without changing it; exit 1 if anything would")
    add_grafana_token(parser)


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Take every step, or print them with `--dry-run`; exit code 1 if a step has no effect, or if a dry run has steps."""
    from balance.generate import deploy

    wanted = ("rules", "alertmanager_files", "prometheus", "alertmanager", "grafana")
    if not any(getattr(options, name) for name in wanted):
        raise BalanceError(
            "nothing to apply", cure="give --rules DIR, --prometheus URL, --alertmanager-files DIR, --alertmanager URL or --grafana URL"
        )
    steps = list(deploy.steps(options, bundle, settings))
    if options.dry_run:
        for step in steps:
            sys.stdout.write(step.diff)
        for step in steps:
            print(f"would {step.plan}")
    code = EXIT_FINDINGS if steps and options.dry_run else EXIT_OK
    for index, step in enumerate(() if options.dry_run else steps):
        try:
            failure = step.run()
        except BalanceError as error:
            done = "; ".join(step.done for step in steps[:index]) or "nothing"
            remaining = "; ".join(step.plan for step in steps[index:])
            stopped = Problem("apply", f"stopped: done: {done}; not done: {remaining}", "fix the problem and run apply again to continue")
            raise BalanceError(problems=[*error.problems, stopped]) from None
        print(failure or step.done, file=sys.stderr, flush=True)
        code = EXIT_FINDINGS if failure else code
    if not steps:
        print("everything is up to date", file=sys.stderr)
    return code


COMMAND = Command(
    "apply",
    "bring the generated rules, configuration and dashboards into running systems",
    run,
    arguments,
    "balance-gen apply --rules /etc/prometheus/rules --prometheus http://127.0.0.1:9090 --dry-run",
)
