"""`balance-gen`: from the catalog to dashboards, rules and all that goes with them."""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from balance import __version__
from balance.commandline import CODES, FINDINGS, FINE, Parser, paint, perform, progress
from balance.errors import BalanceError, SettingsError
from balance.generate.settings import RUNTIMES
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import RULERS, Settings

if TYPE_CHECKING:
    from balance.gen import build

Command = Callable[[argparse.Namespace, Bundle, Settings], int]


_FOREIGN = {"adopt": ("source_of_metrics",), "audit": ("metrics", "prometheus"), "diff": ("new",)}
"""The options with which a command looks only at what is given to it, and needs no source."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 fine, 1 findings or drift, 2 wrong use or unreadable input; more in `balance.commandline`."""
    collecting = gc.isenabled()
    gc.disable()  # a short run: collecting costs a tenth of the time and frees nothing
    try:
        words = sys.argv[1:] if arguments is None else arguments
        return perform(_parser(words[0] if words else ""), words, _run, "balance-gen: ")
    finally:
        if arguments is None:  # the process ends: nothing needs to be looked through once more
            gc.freeze()
        if collecting:
            gc.enable()


def _run(options: argparse.Namespace) -> int:
    import os

    from balance.gen import collect
    from balance.generate import settings

    if getattr(options, "runtime", None):
        options.set.append(f"runtime={options.runtime}")
    if getattr(options, "ruler", None):
        options.set.append(f"ruler={options.ruler}")
    loaded, problems = settings.read(options.settings, options.set, os.environ)
    foreign = any(getattr(options, name) for name in _FOREIGN.get(options.command, ()))
    bundle, chosen = (collect.NOTHING, loaded) if foreign else collect.collect(loaded, tuple(options.source), problems)
    problems.end(SettingsError)
    if options.verbose:
        print(
            f"balance-gen: catalog {bundle.catalog.name}: {sum(1 for _ in bundle.catalog)} metrics, {len(bundle.alerts)} alerts, "
            f"{len(bundle.dashboards)} dashboards; job {chosen.job}, settings of {options.settings or 'no file'}",
            file=sys.stderr,
        )
    command: Command = options.run
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # the same bytes whatever the locale
    return command(options, bundle, chosen)


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
    from balance.gen import build, promises, store

    promises.keep(options.out, bundle.catalog)
    changes = store.plan(options.out, build.everything(bundle, settings, _shown))
    store.apply(options.out, changes)
    for change in changes:
        done = {"missing": "made", "changed": "changed", "orphaned": "removed"}[change.kind]
        print(f"{done} {options.out / change.path}", file=sys.stderr)
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
    return FINE


def _check(options: argparse.Namespace, bundle: Bundle, settings: Settings) -> int:
    from balance.gen import build, promises, store

    promises.keep(options.out, bundle.catalog)
    changes = store.plan(options.out, build.everything(bundle, settings, _shown))
    if not changes:
        print(f"{options.out} is up to date", file=sys.stderr)
        return FINE
    for change in changes:
        for line in change.diff().splitlines(keepends=True):
            sys.stdout.write(paint(line, _DIFF[line[0]], sys.stdout) if line[0] in _DIFF else line)
    for change in changes:
        print(f"{change.kind}: {options.out / change.path}", file=sys.stderr)
    print(f"mend with: {_again(options)}", file=sys.stderr)
    return FINDINGS


def _shown(families: Sequence[build.Family]) -> Iterator[build.Family]:
    return progress(families, lambda family: family.__name__.replace("_", " "), len(families))


_DIFF = {"-": "removed", "+": "added", "@": "place"}


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


class _Unasked:
    """Takes the place of a command's parser that nobody asked for, and does nothing."""

    def add_argument(self, *_: object, **__: object) -> None:
        """Nothing to add to."""

    def add_mutually_exclusive_group(self) -> _Unasked:
        """Nor a group."""
        return self


_UNASKED = _Unasked()


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
        f"{CODES}",
    )
    parser.add_argument("--version", action="version", version=f"balance-gen {__version__}")
    # With `prog` given, argparse need not format a usage line now, which would load shutil and the compression modules.
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="balance-gen")

    def command(name: str, run: Command, words: str) -> Parser:
        if asked not in ("", name):
            return cast("Parser", _UNASKED)
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
    lint.add_argument("--format", choices=("text", "json", "github"), default="text", help="for people, for programs, or beside a change on GitHub")
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
    doctor = command("doctor", _later("doctoring", "doctor"), "say why there is no data and why no alert fires; exit 1 if anything is wrong")
    doctor.add_argument("--balance", metavar="URL", action="append", help="where the service shows its metrics; default: prometheus.targets")
    doctor.add_argument("--prometheus", metavar="URL", help="default: provisioning.url of the settings")
    doctor.add_argument("--alertmanager", metavar="URL", help="default: the first of prometheus.alertmanagers")
    doctor.add_argument("--grafana", metavar="URL", help="default: grafana_url; like the others also: off")
    doctor.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    apply = command("apply", _later("applying", "apply"), "bring generated rules, configuration and dashboards into running systems")
    apply.add_argument("--rules", metavar="DIR", type=_path, help="write the rule files there, among the rule_files of Prometheus")
    apply.add_argument("--prometheus", metavar="URL", help="have it load the rules; needs its --web.enable-lifecycle")
    apply.add_argument("--alertmanager-files", metavar="DIR", type=_path, help="write Alertmanager's configuration and templates there")
    apply.add_argument("--alertmanager", metavar="URL", help="have it load its configuration")
    apply.add_argument("--grafana", metavar="URL", help="upload the dashboards that it lacks or has otherwise")
    apply.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing; exit 1 if something would")
    for added in (doctor, apply):
        added.add_argument("--grafana-token-file", metavar="FILE", help="holds the token of a service account; default: GRAFANA_TOKEN")
    test = command("test", _later("prove", "test"), "have promtool and amtool judge rules, generated tests of every alert, configurations and routes")
    test.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    alert = command("test-alert", _later("channel", "test_alert"), "send a synthetic alert through the real channel, see it sent, take it back")
    alert.add_argument("name", metavar="NAME", help="an alert, for example BalanceDown")
    alert.add_argument("--alertmanager", metavar="URL", required=True, help="for example http://127.0.0.1:9093")
    alert.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="how long to wait for the message; default: group_wait and 30 s")
    verify = command("verify", _later("looking", "verify"), "hold a scrape against the catalog; exit 1 if they differ")
    verify.add_argument("source_of_metrics", metavar="URL|FILE", help="what Prometheus scrapes, a file of it, or - for standard input")
    verify.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    audit = command("audit", _later("looking", "audit"), "tell which panels and alerts of hand-written files can never show or fire; exit 1 if any")
    known = audit.add_mutually_exclusive_group()
    known.add_argument("--metrics", metavar="URL|FILE", nargs="+", help="scrapes of the services; without, the catalog is asked")
    known.add_argument("--prometheus", metavar="URL", help="instead: a Prometheus that scrapes them")
    audit.add_argument("--dashboards", metavar="FILE", nargs="+", default=[], help="Grafana's JSON, or directories of it")
    audit.add_argument("--rules", metavar="FILE", nargs="+", default=[], help="rule files or PrometheusRule objects, or directories of them")
    audit.add_argument("--elsewhere", metavar="PATTERN", nargs="+", default=[], help="names that others expose, e.g. node_.*")
    audit.add_argument("--unused", action="store_true", help="also list the metrics that nothing asks for")
    audit.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    adopt = command("adopt", _later("looking", "adopt"), "print a Python module with the catalog, a dashboard and alerts for an existing /metrics")
    adopt.add_argument("source_of_metrics", metavar="URL|FILE", help="what Prometheus scrapes, a file of it, or - for standard input")
    adopt.add_argument("--name", default="", help="name of the service; else the word with which most metrics begin")
    diff = command("diff", _later("diff", "diff"), "say in words of meaning what has changed between two states, and whether it breaks anything")
    diff.add_argument("old", metavar="A", help="a directory of `write`, a file of it, or a git revision: v1.2, or v1.2:PATH")
    diff.add_argument("new", metavar="B", nargs="?", help="the same; without, what the sources make now")
    diff.add_argument("--out", metavar="DIR", type=_path, default="generated", help="where revisions have the files; default: generated")
    diff.add_argument("--fail-on", choices=("breaking", "notable", "harmless"), help="exit 1 if there is a change so grave, or graver")
    diff.add_argument("--format", choices=("text", "markdown", "json"), default="text", help="for people, for a pull request, or for programs")
    for added in commands.choices.values():
        added.add_argument("--runtime", choices=RUNTIMES, help="whose runtime metrics to use")
    return parser.finish(EXAMPLES) if commands.choices else _parser()


_FAMILY_WORDS = {
    "alerts": "print the alerts as a Prometheus rule file",
    "rules": "print recording rules and alerts as a Prometheus rule file",
    "ruletests": "write tests of every alert for promtool (needs --out)",
    "prometheus": "print Prometheus' configuration",
    "alertmanager": "write Alertmanager's configuration and templates (needs --out)",
    "mixin": "write the jsonnet mixin (needs --out)",
    "kubernetes": "write PrometheusRule, ServiceMonitor, dashboard ConfigMaps and what runs (needs --out)",
    "provisioning": "write Grafana's provisioning of dashboards and data source (needs --out)",
    "runbooks": "write a page for each alert and the metrics reference (needs --out)",
    "catalog": "print the catalog as JSON",
    "settings": "print every setting with its meaning and value, as Markdown",
}

EXAMPLES = {
    "dashboards": "balance-gen dashboards > grafana-dashboard.json\nbalance-gen dashboards backend --grafana 11 --for-import",
    "alerts": "balance-gen alerts > prometheus-alerts.yaml\nbalance-gen alerts --set thresholds.error_ratio=0.02 --set job=edge",
    "rules": "balance-gen rules --settings settings.yaml > rules.yaml\nbalance-gen rules --ruler mimir > rules.yaml",
    "ruletests": "balance-gen ruletests --out .",
    "prometheus": "balance-gen prometheus --set 'prometheus.targets=[10.0.0.5:9090]' > prometheus.yml",
    "alertmanager": "balance-gen alertmanager --out .",
    "mixin": "balance-gen mixin --out vendor/balance",
    "kubernetes": "balance-gen kubernetes --out . --set kubernetes.namespace=edge",
    "provisioning": "balance-gen provisioning --out . --set provisioning.url=http://prometheus:9090",
    "runbooks": "balance-gen runbooks --out .",
    "catalog": "balance-gen catalog",
    "settings": "balance-gen settings --settings settings.yaml > settings.md",
    "write": "balance-gen write\nbalance-gen write --out out --settings settings.yaml",
    "check": "balance-gen check\nbalance-gen check --out out --settings settings.yaml",
    "lint": "balance-gen lint\nbalance-gen lint --format json",
    "explain": "balance-gen explain\nbalance-gen explain window-sparse",
    "backtest": "balance-gen backtest --prometheus http://127.0.0.1:9090\n"
    "balance-gen backtest BalanceHighErrorRate --prometheus http://127.0.0.1:9090 --since 30d",
    "preview": "balance-gen preview --out pages\nbalance-gen preview --serve\nbalance-gen preview --out pages --prometheus http://127.0.0.1:9090",
    "verify": "balance-gen verify http://127.0.0.1:9090/metrics\nbalance-gen verify metrics.txt --format json",
    "audit": "balance-gen audit --metrics http://127.0.0.1:9090/metrics --dashboards dashboards/ --rules rules/*.yaml\n"
    "balance-gen audit --prometheus http://127.0.0.1:9090 --rules rules/ --unused",
    "adopt": "balance-gen adopt http://127.0.0.1:8000/metrics --name shop > shop.py",
    "diff": "balance-gen diff HEAD\nbalance-gen diff v1.2 v1.3 --format markdown\nbalance-gen diff old/ new/ --fail-on breaking",
    "doctor": "balance-gen doctor\nbalance-gen doctor --prometheus http://127.0.0.1:9090 --grafana off",
    "apply": "balance-gen apply --rules /etc/prometheus/rules --prometheus http://127.0.0.1:9090 --dry-run",
    "test": "balance-gen test\nbalance-gen test --settings settings.yaml --format json",
    "test-alert": "balance-gen test-alert BalanceDown --alertmanager http://127.0.0.1:9093",
}

if __name__ == "__main__":
    sys.exit(main())
