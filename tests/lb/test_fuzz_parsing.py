"""The harnesses of `tools.fuzz`: regressions, the tables of bad messages, and a short run of the fuzzer itself."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools.fuzz.harness import HARNESSES

from .bad_requests import AFTER_CLOSE, CHUNKS, REFUSED
from .bad_responses import BODIES, HEADS

CORPUS = Path(__file__).with_name("corpus")
ROWS = {name: raw for name, (raw, _status) in (REFUSED | CHUNKS | AFTER_CLOSE).items()} | HEADS | BODIES
CUTS = [b"\x00", b"\x00\x00", b"\x03\x05\x10\x20", b"\x00\x02\x0a\x16", b"\x02\x04\x00", b"\x07\x01\x02\x03\x04\x05\x06\x07"]


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: str(path.name))
def test_fuzz_regressions(path: Path) -> None:
    HARNESSES[path.name.partition("-")[0]](path.read_bytes())


@pytest.mark.parametrize("name", HARNESSES)
def test_harnesses_hold_for_table_rows(name: str) -> None:
    """Every row of the tables, cut into reads in several ways."""
    for raw in ROWS.values():
        for cut in CUTS:
            HARNESSES[name](cut + raw)


@pytest.mark.process
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this platform")
def test_short_fuzzer_run(repository: Path) -> None:
    run = subprocess.run([sys.executable, "-m", "tools.fuzz", "20000"], cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count(" 20000 executions") == len(HARNESSES)
