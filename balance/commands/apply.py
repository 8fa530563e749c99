"""`balance-gen apply`: what is generated, into running systems."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, Parser
from balance.errors import BalanceError, Problem
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("--rules", metavar="DIR", type=Path, help="write the rule files there, among the rule_files of Prometheus")
    parser.add_argument("--prometheus", metavar="URL", help="have it load the rules; needs its --web.enable-lifecycle")
    parser.add_argument("--alertmanager-files", metavar="DIR", type=Path, help="write Alertmanager's configuration and templates there")
    parser.add_argument("--alertmanager", metavar="URL", help="have it load its configuration")
    parser.add_argument("--grafana", metavar="URL", help="upload the dashboards that it lacks or has otherwise")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing; exit 1 if something would")
    add_grafana_token(parser)


def add_grafana_token(parser: Parser) -> None:
    """The option that names the file with Grafana's token."""
    parser.add_argument("--grafana-token-file", metavar="FILE", help="holds the token of a service account; default: GRAFANA_TOKEN")


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Do it, or with `--dry-run` say what would be done: exit code 1 if there is something to do, or if it does not have the wanted effect."""
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
            wrong = step.run()
        except BalanceError as error:
            before, after = steps[:index], steps[index:]
            told = f"{'; '.join(one.done for one in before) or 'nothing'} before that; not done: {'; '.join(one.plan for one in after)}"
            raise BalanceError(
                problems=[*error.problems, Problem("apply", f"stopped: {told}", "mend it and run apply again: it does the rest")]
            ) from None
        print(wrong or step.done, file=sys.stderr, flush=True)
        code = EXIT_FINDINGS if wrong else code
    if not steps:
        print("everything is up to date", file=sys.stderr)
    return code


COMMAND = Command(
    "apply",
    "bring generated rules, configuration and dashboards into running systems",
    run,
    arguments,
    "balance-gen apply --rules /etc/prometheus/rules --prometheus http://127.0.0.1:9090 --dry-run",
)
