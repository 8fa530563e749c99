"""`balance-gen audit`: find panels and alerts in hand-written files that can never show data or fire."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balance.commandline import Command, Parser, add_format, print_findings
from balance.errors import BalanceError, Problem, choices
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

if TYPE_CHECKING:
    from balance.live.audited_query import AuditedQuery

Read = tuple[list["AuditedQuery"], list[Problem]]


def arguments(parser: Parser) -> None:
    """Declare the options."""
    metrics = parser.add_mutually_exclusive_group()
    metrics.add_argument("--metrics", metavar="URL|FILE", nargs="+", help="scrapes of the services; default: the catalog")
    metrics.add_argument("--prometheus", metavar="URL", help="a Prometheus that scrapes the services, instead")
    parser.add_argument("--dashboards", metavar="FILE", nargs="+", default=[], help="dashboards as JSON, or directories of them")
    parser.add_argument("--rules", metavar="FILE", nargs="+", default=[], help="rule files or PrometheusRule objects, or directories of them")
    parser.add_argument("--elsewhere", metavar="PATTERN", nargs="+", default=[], help="metric names that other services expose, e.g. node_.*")
    parser.add_argument("--unused", action="store_true", help="also list the metrics that nothing uses")
    add_format(parser)


def run(options: Namespace, bundle: Bundle, _settings: Settings) -> int:
    """Print panels and alerts that can never show data or fire; exit code 1 if there are any, or if a file cannot be read."""
    from balance.live import audit, dashboards, index_sources, rulefiles, scrape
    from balance.live.liveness import Liveness

    if not (options.dashboards or options.rules):
        raise BalanceError("nothing to audit", cure="give --dashboards FILE... or --rules FILE...")
    queries, problems = _read(options.dashboards, (".json",), dashboards.read)
    asked, wrong = _read(options.rules, (".yaml", ".yml", ".rules"), rulefiles.read)
    queries, problems = queries + asked, problems + wrong
    if not queries and problems:
        raise BalanceError(problems=problems)
    if options.prometheus:
        index = index_sources.from_prometheus(options.prometheus, audit.selected_names(queries), options.elsewhere)
    elif options.metrics:
        scrapes = [scrape.read(source) for source in options.metrics]
        problems += [problem for scraped in scrapes for problem in scraped.problems]
        index = index_sources.from_scrapes(scrapes, options.elsewhere)
    else:
        index = index_sources.from_catalog(bundle.catalog, options.elsewhere)
    result = audit.audit(queries, index, problems)
    if options.format == "json":
        return print_findings(
            options.format, result.findings, result.summary(), verdicts=[item.row() for item in result.assessed], unused=result.unused
        )
    notes = [str(item) for item in result.assessed if item.assessment.liveness == Liveness.CANNOT_TELL]
    notes += [f"unused: {name}" for name in result.unused if options.unused]
    return print_findings(options.format, result.findings, {words: _tally(value) for words, value in result.summary().items()}, notes)


def _tally(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['all']}" + (f" ({value['dead']} dead, {value['cannot-tell']} cannot tell)" if value["dead"] or value["cannot-tell"] else "")
    return str(value)


def _read(paths: Sequence[str], endings: tuple[str, ...], read: Callable[[str, str, bool], Read]) -> Read:
    """The queries of the files, and what is wrong with them. Files of other kinds in a directory are ignored."""
    from balance.live.fetch import fetch, without_password

    queries: list[AuditedQuery] = []
    problems: list[Problem] = []
    for path in paths:
        if not os.path.isdir(path):
            asked, wrong = read(fetch(path).decode("utf-8-sig", "replace"), without_password(path), True)
        else:
            asked, wrong = [], []
            for file in sorted(str(file) for file in Path(path).rglob("*") if file.suffix in endings and file.is_file()):
                more, also_wrong = read(fetch(file).decode("utf-8-sig", "replace"), file, False)
                asked += more
                wrong += also_wrong
            if not asked and not wrong:
                wrong = [Problem(path, f"no {choices(endings)} file in it queries a metric", "give another directory")]
        queries += asked
        problems += wrong
    return queries, problems


COMMAND = Command(
    "audit",
    "find panels and alerts in hand-written files that can never show data or fire; exit 1 if there are any",
    run,
    arguments,
    "balance-gen audit --metrics http://127.0.0.1:9090/metrics --dashboards dashboards/ --rules rules/*.yaml\n"
    "balance-gen audit --prometheus http://127.0.0.1:9090 --rules rules/ --unused",
    foreign=("metrics", "prometheus"),
)
