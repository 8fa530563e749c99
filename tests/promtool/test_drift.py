"""Names, values, units, thresholds and files cannot part ways unseen; `make mutants` tries every fault, these tests the first of each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutants.drift import RULES, main
from tools.mutants.faults import FAULTS, MADE, Fault


def test_faults_are_of_many_kinds() -> None:
    assert len({fault.kind for fault in FAULTS}) == len(FAULTS) > 60


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.kind for fault in FAULTS])
def test_fault_applies_to_its_file(fault: Fault, repository: Path) -> None:
    kind, path, old, new, plain = fault
    file = repository / path
    assert file.exists() == (old is not None or new is None), f"{kind}: {path}"
    assert old is None or (old != new and old in file.read_text(encoding="utf-8")), f"{kind}: {old!r} is not in {path}"
    assert plain is None or plain[0] in (repository / MADE).read_text(encoding="utf-8"), f"{kind}: {plain[0]!r} is not in {RULES}"


@pytest.mark.process
def test_fault_in_any_file_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    first = {fault.path: fault.kind for fault in reversed(FAULTS)}
    assert main(["--first", *first.values()]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"faults caught: {len(first)} / {len(first)}"
