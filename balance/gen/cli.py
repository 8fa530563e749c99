"""`balance-gen`: from the catalog to dashboards, rules and all that goes with them."""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable, Sequence

from balance import __version__
from balance.commandline import FINDINGS, FINE, WRONG_USE, Parser, silence
from balance.errors import BalanceError
from balance.gen.settings import RUNTIMES
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import RULERS, Settings

Command = Callable[[argparse.Namespace, Bundle, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 fine, 1 findings or drift, 2 wrong use or unreadable input."""
    collecting = gc.isenabled()
    gc.disable()  # a short run: collecting costs a tenth of the time and frees nothing
    if sys.stdout is None:  # closed by whoever called
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    try:
        words = sys.argv[1:] if arguments is None else arguments
        return _run(_parser(words[0] if words else "").parse_args(words))
    except BalanceError as error:
        for problem in error.problems:
            print(f"balance-gen: {problem}", file=sys.stderr)
        return WRONG_USE
    except BrokenPipeError:  # whoever read our output has seen enough
        silence(sys.stdout)
        return FINE
    except OSError as error:
        silence(sys.stdout)
        print(f"balance-gen: standard output: {error.strerror} (free some space, or write elsewhere)", file=sys.stderr)
        return WRONG_USE
    finally:
        if arguments is None:  # the process ends: nothing needs to be looked through once more
            gc.freeze()
        if collecting:
            gc.enable()


def _run(options: argparse.Namespace) -> int:
    from balance.gen import collect, settings

    if getattr(options, "runtime", None):
        options.set.append(f"runtime={options.runtime}")
    if getattr(options, "ruler", None):
        options.set.append(f"ruler={options.ruler}")
    bundle, chosen = collect.collect(settings.load(options.settings, options.set), tuple(options.source))
    run: Command = options.run
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # the same bytes whatever the locale
    code = run(options, bundle, chosen)
    sys.stdout.flush()
    return code


def _dashboards(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    from balance.gen import collect
    from balance.render import grafana

    if options.list:
        for dashboard in bundle.dashboards:
            print(f"{dashboard.name}\t{dashboard.title}")
        return FINE
    sys.stdout.write(grafana.render(collect.choose(bundle, options.name), settings, grafana.Form(options.grafana, options.for_import)))
    return FINE


def _family(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    from balance.gen import build

    artifacts = build.FAMILIES[options.command](bundle, settings)
    if options.out is not None:
        from balance.gen import store

        store.apply(options.out, (store.Change(artifact.path, None, artifact.text) for artifact in artifacts))
        return FINE
    if not artifacts:
        raise BalanceError(f"the sources declare nothing for {options.command}", cure="declare it in the Bundle, or name another --source")
    if len(artifacts) > 1:
        raise BalanceError(f"{options.command} makes {len(artifacts)} files", cure="give a directory: --out DIR")
    sys.stdout.write(artifacts[0].text)
    return FINE


def _write(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    from balance.gen import build, store

    changes = store.plan(options.out, build.everything(bundle, settings))
    store.apply(options.out, changes)
    for change in changes:
        done = {"missing": "made", "changed": "changed", "orphaned": "removed"}[change.kind]
        print(f"{done} {options.out / change.path}", file=sys.stderr)
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
    return FINE


def _check(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    from balance.gen import build, store

    changes = store.plan(options.out, build.everything(bundle, settings))
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
        return FINE
    for change in changes:
        sys.stdout.write(change.diff())
    for change in changes:
        print(f"{change.kind}: {options.out / change.path}", file=sys.stderr)
    print(f"mend with: {_again(options)}", file=sys.stderr)
    return FINDINGS


def _later(module: str, name: str) -> Command:
    """A command in a module of its own, which is imported when the command is run."""

    def run(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
        from importlib import import_module

        command: Command = getattr(import_module(f"balance.gen.{module}"), name)
        return command(options, bundle, settings)

    return run


def _again(options: argparse.Namespace) -> str:
    """The `write` that makes what this `check` compared with."""
    import shlex

    words = ["balance-gen", "write", "--out", str(options.out)]
    words += ["--settings", options.settings] if options.settings else []
    words += [word for name in ("set", "source") for value in getattr(options, name) for word in (f"--{name}", value)]
    return shlex.join(words)


def _path(name: str) -> object:
    from pathlib import Path

    return Path(name)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) <= 86400:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 86400")


def _parser(asked: str = "") -> Parser:
    """The command line; where one command is asked for, with that one alone: each takes its time."""
    common = Parser(add_help=False)
    group = common.add_argument_group("common options")
    group.add_argument("--settings", metavar="FILE", help="YAML file with thresholds, names and addresses")
    group.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting, e.g. thresholds.error_ratio=0.02")
    group.add_argument("--source", metavar="MODULE:ATTRIBUTE", action="append", default=[], help="instead of all installed sources")

    parser = Parser(
        prog="balance-gen",
        description="Make Grafana dashboards and Prometheus rules from one typed metric catalog.",
        epilog="examples:\n"
        "  balance-gen dashboards > grafana-dashboard.json\n"
        "  balance-gen alerts --set thresholds.error_ratio=0.02 > prometheus-alerts.yaml\n"
        "  balance-gen write && balance-gen check\n"
        "exit codes: 0 fine, 1 findings or drift, 2 wrong use or unreadable input",
    )
    parser.add_argument("--version", action="version", version=f"balance-gen {__version__}")
    # With `prog` given, argparse need not format a usage line now, which would load shutil and the compression modules.
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="balance-gen")

    def command(name: str, run: Command, words: str) -> Parser:
        if asked not in ("", name):
            return Parser(add_help=False)
        added = commands.add_parser(name, parents=[common], help=words, description=words)
        added.set_defaults(run=run)
        return added

    from balance.render.versions import DEFAULT_VERSION, SCHEMA_VERSIONS

    dashboards = command("dashboards", _dashboards, "print the main dashboard, or the named one, as JSON")
    dashboards.add_argument("name", nargs="?", metavar="NAME", help="a dashboard of --list")
    dashboards.add_argument("--list", action="store_true", help="list names and titles")
    dashboards.add_argument("--for-import", action="store_true", help="the form with __inputs, which asks for the data source on import")
    dashboards.add_argument("--grafana", metavar="VERSION", choices=SCHEMA_VERSIONS, default=DEFAULT_VERSION, help="10, 11, 12 or 13")
    for name, words in _FAMILY_WORDS.items():
        family = command(name, _family, words)
        if name in ("alerts", "rules"):
            family.add_argument("--ruler", choices=RULERS, help="which program evaluates the rules")
        family.add_argument("--out", metavar="DIR", type=_path, help="write into this directory instead of printing")
    for name, run, words in (
        ("write", _write, "write every generated file, remove those no longer made"),
        ("check", _check, "show as a diff what is missing, changed or orphaned; exit 1 if anything is"),
    ):
        command(name, run, words).add_argument("--out", metavar="DIR", type=_path, default="generated", help="default: generated")
    lint = command("lint", _later("linting", "lint"), "show what is wrong with the sources; exit 1 if anything is")
    lint.add_argument("--reviews", action="store_true", help="instead: which runbooks nobody has reviewed for a quarter")
    lint.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    command("explain", _later("linting", "explain"), "say what a check of lint is about; without a name, list them").add_argument(
        "check", nargs="?", metavar="CHECK", help="the name in brackets behind a finding"
    )
    preview = command("preview", _later("preview", "run"), "draw every dashboard as an HTML page, without a Grafana")
    preview.add_argument("--out", metavar="DIR", type=_path, help="write the pages into this directory")
    preview.add_argument(
        "--serve", metavar="[HOST:]PORT", nargs="?", const="8300", help="serve them on this machine, and follow the sources; default: 8300"
    )
    preview.add_argument("--prometheus", metavar="URL", help="where the figures are from; default: made up")
    preview.add_argument("--since", metavar="DURATION", help="how far to look back there; default: 6h")
    preview.add_argument("--refresh", metavar="SECONDS", type=int, default=0, help=argparse.SUPPRESS)
    backtest = command("backtest", _later("backtest", "run"), "say how often the alerts would have fired, and which thresholds would have fitted")
    backtest.add_argument("alert", nargs="*", metavar="ALERT", help="which ones; default: all")
    backtest.add_argument("--prometheus", metavar="URL", required=True, help="where the history is, e.g. http://127.0.0.1:9090")
    backtest.add_argument("--since", metavar="DURATION", default="7d", help="how far to look back; default: 7d")
    backtest.add_argument("--until", metavar="TIME", help="from when, e.g. 2026-11-22T12:00:00Z; default: now")
    backtest.add_argument("--step", metavar="DURATION", help="between two evaluations; default: prometheus.evaluation_interval")
    backtest.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    test = command("test", _later("prove", "test"), "have promtool and amtool judge rules, generated tests of every alert, configurations and routes")
    test.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    alert = command("test-alert", _later("channel", "test_alert"), "send a synthetic alert through the real channel, see it sent, take it back")
    alert.add_argument("name", metavar="NAME", help="an alert, for example BalanceDown")
    alert.add_argument("--alertmanager", metavar="URL", required=True, help="for example http://127.0.0.1:9093")
    alert.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="how long to wait for the message; default: group_wait and 30 s")
    for added in commands.choices.values():
        added.add_argument("--runtime", choices=RUNTIMES, help="whose runtime metrics to use")
    return parser if commands.choices else _parser()


_FAMILY_WORDS = {
    "alerts": "print the alerts as a Prometheus rule file",
    "rules": "print recording rules and alerts as a Prometheus rule file",
    "ruletests": "write tests of every alert for promtool (needs --out)",
    "prometheus": "print Prometheus' configuration",
    "alertmanager": "write Alertmanager's configuration and templates (needs --out)",
    "mixin": "write the jsonnet mixin (needs --out)",
    "kubernetes": "write PrometheusRule, ServiceMonitor and dashboard ConfigMaps (needs --out)",
    "provisioning": "write Grafana's provisioning of dashboards and data source (needs --out)",
    "runbooks": "write a page for each alert and the metrics reference (needs --out)",
    "catalog": "print the catalog as JSON",
    "settings": "print every setting with its meaning and value, as Markdown",
}

if __name__ == "__main__":
    sys.exit(main())
