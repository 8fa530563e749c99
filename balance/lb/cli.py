"""The command `balance`. Exit codes: 0 fine, 2 wrong use or unreadable input."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

import balance
from balance.commandline import FINE, Parser, perform

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
EXAMPLES = {
    "serve": "balance serve -c balance.yaml\nBALANCE_WORKERS=auto balance serve -c balance.yaml",
    "check-config": "balance check-config balance.yaml\nbalance check-config balance.yaml --format json",
    "schema": "balance schema > balance.schema.json",
    "demo": "balance demo\nbalance demo --port 0 --admin-port 0 --duration 30s",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return perform(_parser(), arguments, lambda options: options.run(options))


def _parser() -> Parser:
    parser = Parser(
        prog="balance",
        description="A strict, observable HTTP/1.1 load balancer.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--version", action="version", version=f"balance {balance.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    serve = commands.add_parser("serve", help="serve requests until SIGTERM or SIGINT")
    serve.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration (balance schema describes it)")
    serve.set_defaults(run=_serve, logs=True)

    check = commands.add_parser("check-config", help="show what a configuration means, or all that is wrong with it")
    check.add_argument("file", metavar="FILE")
    check.add_argument("--format", choices=("text", "json"), default="text", help="text: where requests go; json: everything, defaults included")
    check.set_defaults(run=_check_config)

    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration")
    schema.set_defaults(run=_schema)

    demo = commands.add_parser(
        "demo",
        help="run the balancer with backends that can be broken, traffic, and a page to watch it all",
        description="Run the balancer with three backends, traffic, and a page with its dashboard, its alerts, and buttons that break things.",
    )
    demo.add_argument("--port", type=int, default=8080, help="port of the balancer (default %(default)s, 0: any free one)")
    demo.add_argument("--admin-port", type=int, default=9090, help="port of its admin server (default %(default)s, 0: any free one)")
    demo.add_argument("--page-port", type=int, default=9091, help="port of the page (default %(default)s, 0: any free one)")
    demo.add_argument("--duration", metavar="TIME", help="end by itself, after 10s or 1m for instance (default: at Ctrl-C)")
    demo.add_argument("--embedded", action="store_true", help="evaluate the rules here, even if Prometheus and Alertmanager are on the PATH")
    demo.add_argument("--grafana-provisioning", metavar="DIR", help="write the dashboards and what makes a Grafana show them into DIR")
    demo.set_defaults(run=_demo)
    return parser.finish(EXAMPLES)


def _serve(options: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a reload that is asked for before the start is over waits for that
    from balance.lb import app  # loads the event loop and the servers, which the other commands do without
    from balance.lb.config import read

    if options.quiet or options.verbose:
        os.environ["BALANCE_LOG_LEVEL"] = "warning" if options.quiet else "debug"
    app.serve(read(options.config), options.config)
    return FINE


def _check_config(options: argparse.Namespace) -> int:
    from balance.lb.config import load, report

    config = load(options.file, os.environ)
    if options.format == "json":
        print(json.dumps(report.plain(config), indent=2))
    else:
        print(f"{options.file}: correct\n\n{report.text(config)}")
    return FINE


def _schema(_options: argparse.Namespace) -> int:
    from balance.lb.config import json_schema

    print(json.dumps(json_schema(), indent=2))
    return FINE


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


if __name__ == "__main__":
    sys.exit(main())
