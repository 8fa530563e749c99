"""The command `balance`. Exit codes: 0 success, 2 usage error or invalid input."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

import balance
from balance.commandline import EXIT_OK, Command, Parser, run_command

EXAMPLE = """\
a minimal configuration (balance.yaml):
  listen: 127.0.0.1:8080
  backends:
    - {name: a, address: 127.0.0.1:9001}
    - {name: b, address: 127.0.0.1:9002}

then:
  balance check-config balance.yaml
  balance serve -c balance.yaml
  curl http://127.0.0.1:8080/             # the load balancer
  curl http://127.0.0.1:9090/metrics      # its metrics; also /status, /ready, /health, /version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(command_line(), arguments, lambda options: options.chosen.run(options))


def command_line() -> Parser:
    """The parser with all commands."""
    parser = Parser(prog="balance", description="A strict, observable HTTP/1.1 load balancer.", epilog=EXAMPLE)
    parser.add_argument("--version", action="version", version=f"balance {balance.__version__}")
    parser.add_commands(COMMANDS)
    return parser


def _serve_arguments(parser: Parser) -> None:
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="configuration file (see balance schema)")


def _check_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text: where requests go; json: everything, with defaults")


def _demo_arguments(parser: Parser) -> None:
    parser.add_argument("--port", type=int, default=8080, help="port of the load balancer (default %(default)s, 0: any free port)")
    parser.add_argument("--admin-port", type=int, default=9090, help="port of its admin server (default %(default)s, 0: any free port)")
    parser.add_argument("--page-port", type=int, default=9091, help="port of the demo page (default %(default)s, 0: any free port)")
    parser.add_argument("--duration", metavar="TIME", help="stop after this time, e.g. 10s or 1m (default: on Ctrl-C)")
    parser.add_argument("--embedded", action="store_true", help="evaluate the rules in the demo, even with Prometheus and Alertmanager on the PATH")
    parser.add_argument("--grafana-provisioning", metavar="DIR", help="write the dashboards and their Grafana provisioning files to DIR")


def _serve(options: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a reload requested during the start waits until it is over
    from balance.lb import app  # loads the event loop and the servers, which other commands do not need
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
        "check a configuration and show what it means",
        _check_config,
        _check_arguments,
        "balance check-config balance.yaml\nbalance check-config balance.yaml --format json",
    ),
    Command("schema", "print the JSON Schema of the configuration", _schema, None, "balance schema > balance.schema.json"),
    Command(
        "demo",
        "run the load balancer with breakable backends, traffic, and a page to watch them",
        _demo,
        _demo_arguments,
        "balance demo\nbalance demo --port 0 --admin-port 0 --duration 30s",
        "Run the load balancer with three backends, traffic, and a page with its dashboard, alerts, and buttons that break things.",
    ),
)

if __name__ == "__main__":
    sys.exit(main())
