"""The command `balance`. Exit codes: 0 fine, 2 wrong use or unreadable input."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

import balance
from balance.commandline import EXIT_OK, Command, Parser, perform

EXAMPLE = """\
a configuration that is enough to begin with (balance.yaml):
  listen: 127.0.0.1:8080
  backends:
    - {name: a, address: 127.0.0.1:9001}
    - {name: b, address: 127.0.0.1:9002}

then:
  balance check-config balance.yaml
  balance serve -c balance.yaml
  curl http://127.0.0.1:8080/             # the balancer
  curl http://127.0.0.1:9090/metrics      # its metrics; also /status, /ready, /health, /version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return perform(command_line(), arguments, lambda options: options.chosen.run(options))


def command_line() -> Parser:
    """The parser with all commands."""
    parser = Parser(prog="balance", description="A strict, observable HTTP/1.1 load balancer.", epilog=EXAMPLE)
    parser.add_argument("--version", action="version", version=f"balance {balance.__version__}")
    parser.add_commands(COMMANDS)
    return parser


def _serve_arguments(parser: Parser) -> None:
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration (balance schema describes it)")


def _check_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text: where requests go; json: everything, defaults included")


def _demo_arguments(parser: Parser) -> None:
    parser.add_argument("--port", type=int, default=8080, help="port of the balancer (default %(default)s, 0: any free one)")
    parser.add_argument("--admin-port", type=int, default=9090, help="port of its admin server (default %(default)s, 0: any free one)")
    parser.add_argument("--page-port", type=int, default=9091, help="port of the page (default %(default)s, 0: any free one)")
    parser.add_argument("--duration", metavar="TIME", help="end by itself, after 10s or 1m for instance (default: at Ctrl-C)")
    parser.add_argument("--embedded", action="store_true", help="evaluate the rules here, even if Prometheus and Alertmanager are on the PATH")
    parser.add_argument("--grafana-provisioning", metavar="DIR", help="write the dashboards and what makes a Grafana show them into DIR")


def _serve(options: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a reload that is asked for before the start is over waits for that
    from balance.lb import app  # loads the event loop and the servers, which the other commands do without
    from balance.lb.config import read

    if options.quiet or options.verbose:
        os.environ["BALANCE_LOG_LEVEL"] = "warning" if options.quiet else "debug"
    app.serve(read(options.config), options.config)
    return EXIT_OK


def _check_config(options: argparse.Namespace) -> int:
    from balance.lb.config import load, report

    config = load(options.file, os.environ)
    if options.format == "json":
        print(json.dumps(report.as_data(config), indent=2))
    else:
        print(f"{options.file}: correct\n\n{report.text(config)}")
    return EXIT_OK


def _schema(_options: argparse.Namespace) -> int:
    from balance.lb.config import json_schema

    print(json.dumps(json_schema(), indent=2))
    return EXIT_OK


def _demo(options: argparse.Namespace) -> int:
    from balance.demo.run import Options, run  # not needed to serve

    return run(
        Options(
            port=options.port,
            admin_port=options.admin_port,
            page_port=options.page_port,
            duration=options.duration,
            embedded=options.embedded,
            grafana=options.grafana_provisioning,
        )
    )


COMMANDS = (
    Command(
        "serve",
        "serve requests until SIGTERM or SIGINT",
        _serve,
        _serve_arguments,
        "balance serve -c balance.yaml\nBALANCE_WORKERS=auto balance serve -c balance.yaml",
        logs=True,
    ),
    Command(
        "check-config",
        "show what a configuration means, or all that is wrong with it",
        _check_config,
        _check_arguments,
        "balance check-config balance.yaml\nbalance check-config balance.yaml --format json",
    ),
    Command("schema", "print the JSON Schema of the configuration", _schema, None, "balance schema > balance.schema.json"),
    Command(
        "demo",
        "run the balancer with backends that can be broken, traffic, and a page to watch it all",
        _demo,
        _demo_arguments,
        "balance demo\nbalance demo --port 0 --admin-port 0 --duration 30s",
        "Run the balancer with three backends, traffic, and a page with its dashboard, its alerts, and buttons that break things.",
    ),
)

if __name__ == "__main__":
    sys.exit(main())
