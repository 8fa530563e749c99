"""``python -m tools.mutants.drift [--first] [--table] [KIND...]``: single faults on a copy of the project, and which command catches each.

Theory. Each fault of `faults.py` is applied to a copy, checked by the commands that a change has to pass, and taken back. `constructor` means that
a declaration was refused (exit code 2 with one line, or on import), the other names that the command found something. Cheap checks are all run; the
slower tests run if none of these found anything, or only `check`, after everything was written again: a fault that then passes is a change of
meaning, which only a reviewer can catch. With ``--first`` the checks of a fault stop at the first that catches it. Beside it stands whether
``promtool check rules`` complains about the rules with the fault: those that the sources make, the committed ones, or, if the sources are
refused, the same fault in a hand-written file. Exit code 1 if a fault is not caught, or if the copy without a fault is not clean.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tools.mutants.faults import FAULTS, Fault

TOP = Path(__file__).resolve().parents[2]
PARTS = ("balance", "dashboards_py", "rules_src", "generated", "tools", "tests", "pyproject.toml", "README.md")
RULES = "generated/prometheus/rules"
_GEN = ("-m", "balance.commands.cli")
CHEAP: dict[str, tuple[str, ...]] = {
    "lint": (*_GEN, "lint"),
    "check": (*_GEN, "check"),
    "mypy": ("-m", "mypy", "balance", "dashboards_py", "rules_src"),
}
TESTS: dict[str, tuple[str, ...]] = {
    "balance-gen test": (*_GEN, "test"),
    "pytest": (
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "tests/lb/test_metrics.py",
        "tests/test_instruments.py",
        "tests/test_exposition.py",
    ),
}
_MOMENTS = count(1_000_000_000)


class FaultResult(NamedTuple):
    """The commands that caught a fault, whether promtool alone found it in the rules, and whether it is a change of meaning: only `check`
    caught it, and nothing does after everything was written again.
    """

    fault: Fault
    caught: list[str]
    promtool: bool
    meaning: bool = False


class Copy:
    """A copy of the project in which one fault at a time is tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            if (TOP / part).is_dir():
                shutil.copytree(TOP / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(TOP / part, folder / part)

    def python(self, *arguments: str, keep: bool = False) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy. With `keep` its compiled modules are kept for later commands."""
        found = f"{Path(sys.executable).parent}{os.pathsep}{TOP / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": found, "PYTHONPATH": str(self.folder), **({} if keep else {"PYTHONDONTWRITEBYTECODE": "1"})}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def findings(self, checks: Sequence[str]) -> list[str]:
        """The output of those commands that find something without any fault."""
        runs = {name: self.python(*{**CHEAP, **TESTS}[name], keep=True) for name in checks}
        return [f"{name}: {run.stdout}{run.stderr}" for name, run in runs.items() if run.returncode]

    def try_fault(self, fault: Fault, *, first: bool) -> FaultResult:
        """Apply the fault, run the checks, take it back. With `first`, stop at the first check that catches it."""
        file = self.folder / fault.path
        before = file.read_bytes() if file.exists() else None
        times = file.stat() if before is not None else None
        _apply(fault, file)
        try:
            caught = list(self._caught(first))
            if first:
                return FaultResult(fault, caught, promtool=False)
            in_sources = not fault.path.startswith("generated/")
            return FaultResult(
                fault, caught, self._promtool(fault, "constructor" in caught), caught == ["check"] and in_sources and not self._caught_after_write()
            )
        finally:
            if before is None:
                file.unlink()
            else:
                file.write_bytes(before)
            if times:
                os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _caught(self, first: bool) -> Iterator[str]:
        refused = found = False
        for name, command in CHEAP.items():
            if refused and name == "check":
                continue
            run = self.python(*command)
            if name != "mypy" and (run.returncode == 2 or "\nbalance.errors." in run.stderr):
                refused = found = True
                yield "constructor"
            elif run.returncode:
                found = True
                yield name
            if first and found:
                return
        for name, command in TESTS.items():
            if not found and self.python(*command).returncode:
                found = True
                yield name

    def _caught_after_write(self) -> bool:
        """True if the tests catch the fault after `balance-gen write`, so that `check` finds no difference."""
        self.python(*_GEN, "write")
        try:
            return any(self.python(*command).returncode for command in TESTS.values())
        finally:
            shutil.rmtree(self.folder / "generated")
            shutil.copytree(TOP / "generated", self.folder / "generated")

    def _promtool(self, fault: Fault, refused: bool) -> bool:
        """True if `promtool check rules` complains about the rules with the fault."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if refused or fault.path.startswith(RULES):
                for rules in (self.folder / RULES).glob("*.yaml"):
                    shutil.copy(rules, folder)
                if refused and fault.plain:
                    rules = folder / "alerts.yaml"
                    rules.write_text(_replaced(fault.kind, rules.read_text(encoding="utf-8"), *fault.plain), encoding="utf-8")
            else:
                (folder / "rules.yaml").write_text(self.python(*_GEN, "rules").stdout, encoding="utf-8")
            promtool = shutil.which("promtool", path=f"{TOP / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}") or "promtool"
            command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", *map(str, sorted(folder.iterdir()))]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode not in (0, 1, 3):  # 1: no rules, 3: a finding of --lint-fatal
                raise RuntimeError(f"promtool failed: {run.stderr}")
            return run.returncode != 0


def _apply(fault: Fault, file: Path) -> None:
    if fault.new is None:
        file.unlink()
        return
    text = fault.new if fault.old is None else _replaced(fault.kind, file.read_text(encoding="utf-8"), fault.old, fault.new)
    file.write_text(text, encoding="utf-8")
    moment = next(_MOMENTS)  # a time stamp that no compiled module has, so that Python reads the changed file
    os.utime(file, (moment, moment))


def _replaced(kind: str, text: str, old: str, new: str) -> str:
    if old not in text:
        raise SystemExit(f"tools.mutants.drift: {kind}: text not found: {old}")
    return text.replace(old, new, 1)


def results(faults: Sequence[Fault], *, first: bool) -> Iterator[FaultResult]:
    """The result for each fault, in order. Raises `SystemExit` if the project without a fault is not clean."""
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(workers) as pool:
        copies: SimpleQueue[Copy] = SimpleQueue()
        made = list(pool.map(lambda number: _clean(Path(name, str(number)), first=first), range(workers)))
        for copy in made:
            copies.put(copy)

        def try_fault(fault: Fault) -> FaultResult:
            copy = copies.get()
            try:
                return copy.try_fault(fault, first=first)
            finally:
                copies.put(copy)

        yield from pool.map(try_fault, faults)


def _clean(folder: Path, *, first: bool) -> Copy:
    folder.mkdir()
    copy = Copy(folder)
    if faults := copy.findings(["lint", "check"] if first else [*CHEAP, *TESTS]):
        raise SystemExit("tools.mutants.drift: the project is not clean even without a fault: " + "\n".join(faults))
    return copy


def table(found: Sequence[FaultResult]) -> str:
    """The results as Markdown."""
    lines = ["| fault | file | caught by | `promtool check rules` |", "| --- | --- | --- | --- |"]
    for one in found:
        caught = f"{', '.join(one.caught) or '**nothing**'}{'; a change of meaning' if one.meaning else ''}"
        lines.append(f"| {one.fault.kind} | `{one.fault.path}` | {caught} | {'yes' if one.promtool else '-'} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Try the faults; report each on standard error, print the table with ``--table``, then how many were caught."""
    first = "--first" in arguments
    chosen = [argument for argument in arguments if not argument.startswith("--")]
    faults = [fault for fault in FAULTS if not chosen or fault.kind in chosen]
    found = []
    for result in results(faults, first=first):
        found.append(result)
        print(f"{', '.join(result.caught) or 'NOT CAUGHT'}\t{result.fault.kind}", file=sys.stderr, flush=True)
    if "--table" in arguments:
        print(table(found))
    caught = sum(bool(result.caught) for result in found)
    print(f"faults caught: {caught} / {len(found)}" + ("" if first else f"; by promtool check rules alone: {sum(o.promtool for o in found)}"))
    return 0 if caught == len(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
