"""Check generated files with promtool: rules, their tests and the configuration of Prometheus; and with amtool: that of Alertmanager."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from textwrap import shorten

from balance.commandline import progress
from balance.errors import Problem
from balance.generate import amtool, build
from balance.generate.tools import run_tool
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_CURE = "fix the alert or, if it is right, the generator of its tests"


@dataclass(frozen=True)
class AlertResult:
    """The tests of one alert: the number of test files and cases, and the findings."""

    alert: str
    files: int
    cases: int
    findings: tuple[Problem, ...]


@dataclass(frozen=True)
class ToolReport:
    """What promtool and amtool found: a result for each alert, and findings about rules, configurations and routes."""

    results: tuple[AlertResult, ...]
    findings: tuple[Problem, ...]

    @property
    def all_findings(self) -> tuple[Problem, ...]:
        """Findings of both kinds."""
        return (*self.findings, *(finding for result in self.results for finding in result.findings))

    @property
    def tested(self) -> int:
        """The number of alerts with tests in which they fire."""
        return sum(1 for result in self.results if result.files)


def check_bundle(bundle: Bundle, settings: Settings) -> ToolReport:
    """Generate everything that promtool and amtool can check, and run them on it. Raises `BalanceError` if one is not installed."""
    from balance.render import ruletests

    rules = (*build.rule_files(bundle, settings), *build.prometheus(bundle, settings))
    files = ((artifact.path, artifact.text) for artifact in chain(rules, ruletests.artifacts(bundle, settings)))
    with ThreadPoolExecutor(1) as pool:
        routing = pool.submit(amtool.check_bundle, bundle, settings)
        report = check_files(files, [alert.name for alert in bundle.alerts])
        return replace(report, findings=(*report.findings, *routing.result()))


def check_files(texts: Iterable[tuple[str, str]], alerts: Iterable[str]) -> ToolReport:
    """Run promtool on files (path and text): on rules and configuration, and on tests, each of which runs while the next is being made.

    Raises `BalanceError` if promtool is not installed.
    """
    files: dict[str, str] = {}
    running: dict[str, Future[str]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for path, text in texts:
            files[path] = text
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            if path.startswith("prometheus/tests/"):
                running[path] = pool.submit(_tested, folder, path)
        rules = sorted(path for path in files if path.startswith("prometheus/rules/"))
        found = [
            *_checked(folder, "rules", "--lint=all", "--lint-fatal", *rules),
            *_checked(folder, "config", "--syntax-only", "prometheus/prometheus.yml"),  # its rule files may be on another machine
        ]
        outcomes = {path: running[path].result() for path in progress(running, lambda path: Path(path).stem, len(running))}
    known = {name for path in rules for name in re.findall(r"^  - alert: (\S+)$", files[path], re.MULTILINE)}
    return ToolReport(tuple(_result(name, files, outcomes, known) for name in alerts), tuple(found))


def _result(alert: str, files: Mapping[str, str], outcomes: Mapping[str, str], known: set[str]) -> AlertResult:
    mine = [path for path in outcomes if re.fullmatch(rf"{alert}(-\d+)?", Path(path).stem)]
    findings = [] if alert in known else [_finding("test-unknown-alert", "rules", alert, "is in no rule file: its tests always pass")]
    firing = any(re.search(r"^    exp_alerts:$", files[path], re.MULTILINE) for path in mine)
    if not firing:
        findings.append(_finding("test-vacuous", "tests", alert, "never fires in its tests"))
    for path in mine:
        if strange := set(re.findall(r"^    alertname: (\S+)$", files[path], re.MULTILINE)) - {alert}:
            findings.append(_finding("test-unknown-alert", path, alert, f"is tested as {', '.join(sorted(strange))}"))
        if fault := outcomes[path]:
            findings.append(_finding("test-failed", path, alert, f"test failed: {fault}"))
    cases = sum(len(re.findall(r"^- name: ", files[path], re.MULTILINE)) for path in mine)
    return AlertResult(alert, len(mine) if firing else 0, cases, tuple(findings))


def _finding(check: str, where: str, subject: str, problem: str) -> Problem:
    return Problem(where, problem, _CURE, subject, check=check)


def _checked(folder: str, kind: str, *arguments: str) -> Iterator[Problem]:
    """Run ``promtool check``."""
    code, output = run_tool("promtool", "check", kind, *arguments, folder=folder)
    if code:
        message = " ".join(line.strip() for line in output.splitlines() if line.strip() and "SUCCESS" not in line)
        paths = ", ".join(argument for argument in arguments if not argument.startswith("--"))
        yield Problem(paths, f"rejects it: {message}", "fix the sources or the settings", "promtool", check=f"promtool-{kind}")


def _tested(folder: str, path: str) -> str:
    """Run a test file; returns why it failed, or nothing."""
    code, output = run_tool("promtool", "test", "rules", path, folder=folder)
    return shorten(" ".join(output.split()), 500) if code else ""
