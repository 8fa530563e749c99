"""`balance-gen verify`, `audit` and `adopt`: the commands that look at what others run and wrote."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from balance.commandline import FINDINGS, FINE
from balance.errors import BalanceError, Problem, choices
from balance.finding import Finding, report
from balance.live import scrape
from balance.live.fetch import fetch, shown
from balance.live.question import Question
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

Read = tuple[list[Question], list[Problem]]


def verify(options: Namespace, bundle: Bundle, _settings: Settings) -> int:
    """Print in what a scrape differs from the catalog; exit code 1 if in anything."""
    from balance.live.verify import verify

    result = verify(scrape.read(options.source_of_metrics), bundle.catalog)
    return _print(options, result.findings, result.summary())


def audit(options: Namespace, bundle: Bundle, _settings: Settings) -> int:
    """Print which panels and alerts of hand-written files can never show or fire; exit code 1 if any, or if a file cannot be read."""
    from balance.live import audit, dashboards, rulefiles, world

    if not (options.dashboards or options.rules):
        raise BalanceError("nothing to audit", cure="give --dashboards FILE... or --rules FILE...")
    questions, problems = _asked(options.dashboards, (".json",), dashboards.read)
    asked, wrong = _asked(options.rules, (".yaml", ".yml", ".rules"), rulefiles.read)
    questions, problems = questions + asked, problems + wrong
    if not questions and problems:
        raise BalanceError(problems=problems)
    if options.prometheus:
        found = world.of_prometheus(options.prometheus, audit.names(questions), options.elsewhere)
    elif options.metrics:
        scrapes = [scrape.read(source) for source in options.metrics]
        problems += [problem for scraped in scrapes for problem in scraped.problems]
        found = world.of_scrapes(scrapes, options.elsewhere)
    else:
        found = world.of_catalog(bundle.catalog, options.elsewhere)
    result = audit.audit(questions, found, problems)
    if options.format == "json":
        return _print(options, result.findings, result.summary(), verdicts=[item.row() for item in result.judged], unused=result.unused)
    notes = [str(item) for item in result.judged if item.answer.verdict == world.Verdict.CANNOT_TELL]
    notes += [f"unused: {name}" for name in result.unused if options.unused]
    return _print(options, result.findings, {words: _tally(value) for words, value in result.summary().items()}, notes)


def adopt(options: Namespace, _bundle: Bundle, _settings: Settings) -> int:
    """Print a Python module that declares what a scrape shows."""
    from balance.live.adopt import adopt
    from balance.live.starter import module

    adopted = adopt(scrape.read(options.source_of_metrics), options.name)
    sys.stdout.write(module(adopted))
    for family, reason in adopted.ignored.items():
        print(f"left alone: {family} {reason}", file=sys.stderr)
    print(f"{len(adopted.metrics)} families adopted, {len(adopted.ignored)} left alone", file=sys.stderr)
    return FINE


def _tally(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['all']}" + (f" ({value['dead']} dead, {value['cannot-tell']} cannot tell)" if value["dead"] or value["cannot-tell"] else "")
    return str(value)


def _asked(paths: Sequence[str], endings: tuple[str, ...], read: Callable[[str, str, bool], Read]) -> Read:
    """What the files ask for and what is wrong with them. Beside the files that are meant a directory may hold others."""
    questions: list[Question] = []
    problems: list[Problem] = []
    for path in paths:
        if not os.path.isdir(path):
            asked, wrong = read(fetch(path).decode("utf-8-sig", "replace"), shown(path), True)
        else:
            asked, wrong = [], []
            for file in sorted(str(file) for file in Path(path).rglob("*") if file.suffix in endings and file.is_file()):
                more, faults = read(fetch(file).decode("utf-8-sig", "replace"), file, False)
                asked += more
                wrong += faults
            if not asked and not wrong:
                wrong = [Problem(path, f"asks for no metric: no {choices(endings)} file in it does", "give another directory")]
        questions += asked
        problems += wrong
    return questions, problems


def _print(options: Namespace, findings: Sequence[Finding], summary: Mapping[str, Any], notes: Sequence[str] = (), **more: Any) -> int:
    if options.format == "json":
        sys.stdout.write(report(findings, summary, **more))
    else:
        for line in (*findings, *notes):
            print(line)
        print(", ".join(f"{value} {name.replace('_', ' ')}" for name, value in summary.items()), file=sys.stderr)
    return FINDINGS if findings else FINE
