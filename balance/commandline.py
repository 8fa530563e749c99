"""What both command lines share: exit codes, errors in one line, readers that go away."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn, TextIO

FINE, FINDINGS, WRONG_USE = 0, 1, 2


class _Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse makes one for each argument that is declared, and would load shutil and the compression modules."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    try:
        return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(1).columns or 80
    except OSError:  # no terminal
        return 80


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and end with exit code 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message} (see: {self.prog} --help)\n")


def silence(stream: TextIO) -> None:
    """Let a stream whose reader has gone write to nowhere: what its buffer still holds would fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
