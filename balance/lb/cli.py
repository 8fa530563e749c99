"""The command `balance`. Exit codes: 0 fine, 2 wrong use or unreadable input."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

import balance
from balance.commandline import FINE, WRONG_USE, Parser, silence
from balance.errors import BalanceError

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
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except BalanceError as error:
        print(error, file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        return FINE
    except BrokenPipeError:  # whoever read our output has seen enough
        silence(sys.stdout)
        return FINE
    return code


def _parser() -> Parser:
    parser = Parser(
        prog="balance",
        description="A strict, observable HTTP/1.1 load balancer.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--version", action="version", version=f"balance {balance.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    serve = commands.add_parser("serve", help="serve requests until SIGTERM or SIGINT", description="Serve requests until SIGTERM or SIGINT.")
    serve.add_argument("-c", "--config", required=True, metavar="FILE", help="the configuration (balance schema describes it)")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check-config", help="show what a configuration means, or all that is wrong with it")
    check.add_argument("file", metavar="FILE")
    check.add_argument("--format", choices=("text", "json"), default="text", help="text: where requests go; json: everything, defaults included")
    check.set_defaults(run=_check_config)

    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration")
    schema.set_defaults(run=_schema)

    demo = commands.add_parser("demo", help="run the balancer with three demo backends and some traffic, to look at")
    demo.add_argument("--port", type=int, default=8080, help="port of the balancer (default %(default)s, 0: any free one)")
    demo.add_argument("--admin-port", type=int, default=9090, help="port of its admin server (default %(default)s, 0: any free one)")
    demo.add_argument("--duration", metavar="TIME", help="end by itself, after 10s or 1m for instance (default: at Ctrl-C)")
    demo.set_defaults(run=_demo)
    return parser


def _serve(options: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a reload that is asked for before the start is over waits for that
    from balance.lb import app  # loads the event loop and the servers, which the other commands do without
    from balance.lb.config import read

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
    from balance.demo.run import run  # not needed to serve

    return run(options.port, options.admin_port, options.duration)


if __name__ == "__main__":
    sys.exit(main())
