"""promtool over the generated rules, their tests and Prometheus' configuration, amtool over Alertmanager's."""

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
from balance.generate.tools import ask
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_MEND = "mend the alert or, if it is right, the generator of its tests"


@dataclass(frozen=True)
class Verdict:
    """What became of the tests of one alert: how many test files and cases there are, and what is wrong."""

    alert: str
    files: int
    cases: int
    findings: tuple[Problem, ...]


@dataclass(frozen=True)
class Proof:
    """What promtool and amtool say: a verdict on each alert, and findings about rules, configurations and routes."""

    verdicts: tuple[Verdict, ...]
    findings: tuple[Problem, ...]

    @property
    def all_findings(self) -> tuple[Problem, ...]:
        """All that is wrong."""
        return (*self.findings, *(finding for verdict in self.verdicts for finding in verdict.findings))

    @property
    def tested(self) -> int:
        """How many alerts have tests in which they fire."""
        return sum(1 for verdict in self.verdicts if verdict.files)


def prove(bundle: Bundle, settings: Settings) -> Proof:
    """Generate everything that promtool and amtool can judge, and have it judged. Raises `BalanceError` if one of them is not there."""
    from balance.render import ruletests

    rules = (*build.rule_files(bundle, settings), *build.prometheus(bundle, settings))
    made = ((artifact.path, artifact.text) for artifact in chain(rules, ruletests.artifacts(bundle, settings)))
    with ThreadPoolExecutor(1) as pool:
        routed = pool.submit(amtool.checks, bundle, settings)
        proof = judge(made, [alert.name for alert in bundle.alerts])
        return replace(proof, findings=(*proof.findings, *routed.result()))


def judge(made: Iterable[tuple[str, str]], alerts: Iterable[str]) -> Proof:
    """promtool's verdict on files, by path: rules and configuration, then the tests, each of which runs while the next is being made.

    Raises `BalanceError` if promtool is not there.
    """
    files: dict[str, str] = {}
    running: dict[str, Future[str]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for path, text in made:
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
    return Proof(tuple(_verdict(name, files, outcomes, known) for name in alerts), tuple(found))


def _verdict(alert: str, files: Mapping[str, str], outcomes: Mapping[str, str], known: set[str]) -> Verdict:
    mine = [path for path in outcomes if re.fullmatch(rf"{alert}(-\d+)?", Path(path).stem)]
    findings = [] if alert in known else [_finding("test-unknown-alert", "rules", alert, "is in no rule file: what tests it passes always")]
    firing = any(re.search(r"^    exp_alerts:$", files[path], re.MULTILINE) for path in mine)
    if not firing:
        findings.append(_finding("test-vacuous", "tests", alert, "fires in no test"))
    for path in mine:
        if strange := set(re.findall(r"^    alertname: (\S+)$", files[path], re.MULTILINE)) - {alert}:
            findings.append(_finding("test-unknown-alert", path, alert, f"is tested under the name {', '.join(sorted(strange))}"))
        if fault := outcomes[path]:
            findings.append(_finding("test-failed", path, alert, f"fails its test: {fault}"))
    cases = sum(len(re.findall(r"^- name: ", files[path], re.MULTILINE)) for path in mine)
    return Verdict(alert, len(mine) if firing else 0, cases, tuple(findings))


def _finding(check: str, where: str, subject: str, problem: str) -> Problem:
    return Problem(where, problem, _MEND, subject, check=check)


def _checked(folder: str, kind: str, *arguments: str) -> Iterator[Problem]:
    """What ``promtool check`` finds."""
    code, words = ask("promtool", "check", kind, *arguments, folder=folder)
    if code:
        told = " ".join(line.strip() for line in words.splitlines() if line.strip() and "SUCCESS" not in line)
        paths = ", ".join(argument for argument in arguments if not argument.startswith("--"))
        yield Problem(paths, f"refuses it: {told}", "mend the sources or the settings", "promtool", check=f"promtool-{kind}")


def _tested(folder: str, path: str) -> str:
    """The fault of a test file, empty if there is none."""
    code, words = ask("promtool", "test", "rules", path, folder=folder)
    return shorten(" ".join(words.split()), 500) if code else ""
