"""`balance-gen test`: promtool over the generated rules, their tests and Prometheus' configuration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import shorten

from balance.errors import BalanceError
from balance.gen import build
from balance.lint.finding import Finding
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.record import Record

_MEND = "mend the alert or, if it is right, the generator of its tests"

_ENVIRONMENT = {"GOGC": "400", **os.environ}
"""promtool runs for seconds only: collecting garbage less often saves it a quarter of the time."""


class Verdict(Record):
    """What became of the tests of one alert: how many test files and cases there are, and what is wrong."""

    alert: str
    files: int
    cases: int
    findings: tuple[Finding, ...]


class Proof(Record):
    """What promtool says: a verdict on each alert, and findings about the rules and the configuration as a whole."""

    verdicts: tuple[Verdict, ...]
    findings: tuple[Finding, ...]

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """All that is wrong."""
        return (*self.findings, *(finding for verdict in self.verdicts for finding in verdict.findings))

    @property
    def tested(self) -> int:
        """How many alerts have tests in which they fire."""
        return sum(1 for verdict in self.verdicts if verdict.files)


def prove(bundle: Bundle, settings: Settings) -> Proof:
    """Generate everything that promtool can judge, and have it judged. Raises `BalanceError` if promtool is not there."""
    made = [*build.rule_files(bundle, settings), *build.ruletests(bundle, settings), *build.prometheus(bundle, settings)]
    return judge({artifact.path: artifact.text for artifact in made}, [alert.name for alert in bundle.alerts])


def judge(files: Mapping[str, str], alerts: Iterable[str]) -> Proof:
    """promtool's verdict on rule files, test files and configuration, by path. Raises `BalanceError` if promtool is not there."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        tests = sorted(path for path in files if path.startswith("prometheus/tests/"))
        rules = sorted(path for path in files if path.startswith("prometheus/rules/"))
        shares = [share for number in range(_processors()) if (share := tests[number :: _processors()])]
        with ThreadPoolExecutor(_processors() + 1) as pool:
            whole = pool.submit(lambda: [*_checked(folder, "rules", *rules), *_checked(folder, "config", "prometheus/prometheus.yml")])
            outcomes = dict(pair for run in pool.map(lambda share: list(_tested(folder, share)), shares) for pair in run)
            found = whole.result()
    known = {name for path in rules for name in re.findall(r"^  - alert: (\S+)$", files[path], re.MULTILINE)}
    return Proof(tuple(_verdict(name, files, tests, outcomes, known) for name in alerts), tuple(found))


def _verdict(alert: str, files: Mapping[str, str], tests: list[str], outcomes: Mapping[str, str], known: set[str]) -> Verdict:
    mine = [path for path in tests if re.fullmatch(rf"{alert}(-\d+)?", Path(path).stem)]
    findings = [] if alert in known else [_finding("test-unknown-alert", "rules", alert, "is in no rule file: what tests it passes always")]
    firing = any(re.search(r"^    exp_alerts:$", files[path], re.MULTILINE) for path in mine)
    if not firing:
        findings.append(_finding("test-vacuous", "tests", alert, "fires in no test"))
    for path in mine:
        if strange := set(re.findall(r"^    alertname: (\S+)$", files[path], re.MULTILINE)) - {alert}:
            findings.append(_finding("test-unknown-alert", path, alert, f"is tested under the name {', '.join(sorted(strange))}"))
        if fault := outcomes.get(path, "was not run"):
            findings.append(_finding("test-failed", path, alert, f"fails its test: {fault}"))
    cases = sum(len(re.findall(r"^- name: ", files[path], re.MULTILINE)) for path in mine)
    return Verdict(alert, len(mine) if firing else 0, cases, tuple(findings))


def _finding(check: str, where: str, subject: str, problem: str) -> Finding:
    return Finding(check, "error", where, subject, problem, _MEND)


def _checked(folder: str, kind: str, *paths: str) -> Iterator[Finding]:
    """What ``promtool check`` finds."""
    run = _promtool(folder, "check", kind, *(["--lint=all", "--lint-fatal"] if kind == "rules" else []), *paths)
    if run.returncode:
        told = " ".join(line.strip() for line in run.stdout.splitlines() if line.strip() and "SUCCESS" not in line)
        yield Finding(f"promtool-{kind}", "error", ", ".join(paths), "promtool", f"refuses it: {told}", "mend the sources or the settings")


def _tested(folder: str, paths: list[str]) -> Iterator[tuple[str, str]]:
    """The fault of each test file, empty if there is none."""
    pieces = re.split(r"^Unit Testing:  (.*)$", _promtool(folder, "test", "rules", *paths).stdout, flags=re.MULTILINE)
    for path, told in zip(pieces[1::2], pieces[2::2], strict=True):
        yield path, "" if told.strip() == "SUCCESS" else shorten(" ".join(told.split()), 500)


def _promtool(folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        raise BalanceError("promtool is not installed", cure="install Prometheus (in Debian: prometheus), or put promtool on the PATH")
    return subprocess.run(  # noqa: S603 (promtool, and paths of ours)
        [program, *arguments], cwd=folder, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def _processors() -> int:
    return len(os.sched_getaffinity(0))
