"""What both command lines share: exit codes, errors in one line, readers that go away."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn, TextIO

FINE, FINDINGS, WRONG_USE = 0, 1, 2


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and end with exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message} (see: {self.prog} --help)\n")


def silence(stream: TextIO) -> None:
    """Let a stream whose reader has gone write to nowhere: what its buffer still holds would fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
