"""A demo that runs, and what it leaves behind."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FREE = ("--port", "0", "--admin-port", "0", "--page-port", "0")


def demo(*options: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "balance.lb.cli", "demo", *options]


@contextlib.contextmanager
def running(folder: Path, *options: str, path: str = "") -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A demo on free ports, with its temporary files in the folder, and the addresses that it says."""
    environment = {"TMPDIR": str(folder), "PATH": f"{path}:/usr/bin:/bin"}
    with subprocess.Popen([*demo(*FREE), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            assert process.stderr
            said = "".join(itertools.takewhile(lambda line: line != "Ctrl-C ends it.\n", process.stdout))
            page = re.search(r"^Open +(\S+)", said, re.MULTILINE)
            assert page, f"the demo did not start (exit code {process.wait(30)}):\n{said}{process.stderr.read()}"
            places = dict(re.findall(r"^ {8}(\S+(?: \S+)?) {2,}(\S.*)$", said, re.MULTILINE))
            yield (
                process,
                {
                    "page": page[1],
                    **{name: place.split()[0] if place.startswith("http:") else place for name, place in places.items()},
                },
            )
        finally:
            process.terminate()  # does no harm to one that has ended


def fetched(url: str) -> str:
    """The text at an address."""
    with urllib.request.urlopen(url, timeout=15) as response:
        text: str = response.read().decode()
        return text


def processes_of(directory: str) -> list[str]:
    """Command lines of running processes that mention the directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if directory in line:
            found.append(line)
    return found


def eventually(claim: str, holds: Callable[[], Any], deadline: float = 60) -> Any:
    """The first true value of `holds`, asked for again and again; a failure that names the claim if there is none in time."""
    end, last = time.monotonic() + deadline, None
    while time.monotonic() < end:
        last = holds()
        if last:
            return last
        time.sleep(0.1)
    pytest.fail(f"not within {deadline} s: {claim}; last seen: {last!r}")
