"""Run a fuzzer guided by coverage over the harnesses: `python -m tools.fuzz [EXECUTIONS] [HARNESS...]`.

An input that breaks a claim is left in tests/lb/corpus, where the tests try it ever after; the inputs that reached something new are
kept in .fuzz for the next run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

NAMES = ["requests", "responses", "differential", "access_log"]


def main() -> None:
    """Fuzz all harnesses, or those named. Exit code 1 if a claim is broken."""
    if find_spec("atheris") is None:
        sys.exit("tools.fuzz: atheris has no wheel for this platform (choices: Linux on x86-64)")
    executions = sys.argv[1] if len(sys.argv) > 1 else "20000"
    broken = []
    for name in sys.argv[2:] or NAMES:
        begun = time.perf_counter()
        code = subprocess.run([sys.executable, "-m", "tools.fuzz.worker", name, executions], check=False).returncode
        kept = len(list((Path(".fuzz") / name).iterdir()))
        print(f"{name}: {executions} executions, {kept} inputs kept, {time.perf_counter() - begun:.0f} s, exit code {code}", flush=True)
        if code:
            broken.append(name)
    if broken:
        sys.exit(f"tools.fuzz: broken: {', '.join(broken)}; the inputs are in tests/lb/corpus")


if __name__ == "__main__":
    main()
