"""Processes pinned to cores, and what the kernel reports about them."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROXY_CORE, LOAD_CORE = 0, 1
PATIENCE = 20.0
"""Seconds that a program may take to start or to exit."""


def program(name: str) -> str:
    """The path of an installed program, of the virtual environment first; raises `RuntimeError`."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin")))
    if found is None:
        raise RuntimeError(f"{name} is not installed: run `make bench`, which fetches it")
    return found


def pinned(command: Sequence[str], core: int) -> list[str]:
    """The command, pinned to one core together with its children."""
    return [program("taskset"), "-c", str(core % (os.cpu_count() or 1)), *command]


@contextlib.contextmanager
def process(command: Sequence[str], core: int, port: int | None = None, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """A process pinned to a core, once its port answers (if it has one); ended afterwards. Raises `RuntimeError` with what it said."""
    with (
        tempfile.TemporaryFile("w+") as words,
        subprocess.Popen(pinned(command, core), env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=words) as started,
    ):
        try:
            if port is not None and not _answers(started, port):
                words.seek(0)
                raise RuntimeError(f"{' '.join(command)}: no answer on port {port}:\n{words.read().strip() or 'no output'}")
            yield started.pid
        finally:
            started.terminate()
            try:
                started.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                started.kill()


def _answers(started: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and started.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return True
        time.sleep(0.05)
    return False


def tree(pid: int) -> list[int]:
    """Process ids of a process and its living descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in tree(int(child)))]


def processor_time(pid: int) -> float:
    """User plus system time of a process tree, in seconds."""
    ticks = 0
    for member in tree(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Resident bytes of the largest process of a tree: the worker, not its supervisor."""
    pages = (int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in tree(pid))
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def connected(port: int) -> int:
    """Number of established connections from this machine to this port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(fields[2].endswith(f":{port:04X}") and fields[3] == "01" for fields in map(str.split, lines))


def allow_open_files(count: int) -> None:
    """Raise the limit of open files as far as it goes, for this process and what it starts; raises `RuntimeError` if that is too little."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count:
        raise RuntimeError(f"{count} open files are needed and {hard} allowed: raise the limit (ulimit -Hn {count})")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_PORTS = iter(random.sample(range(20_000, 30_000), 10_000))
"""Below the kernel's ephemeral ports: an outgoing connection could take one of those before it is used."""


def free_port() -> int:
    """A free port, a different one each time. Raises `RuntimeError` if there is none."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise RuntimeError("no free port from 20000 to 29999")
