"""Run one harness under atheris, in its own process: `python -m tools.fuzz.worker HARNESS EXECUTIONS`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

from tests.lb.bad_requests import AFTER_CLOSE, CHUNKS, GET, POST, REFUSED
from tests.lb.bad_responses import BODIES, HEADS, OK

with atheris.instrument_imports(include=["balance.lb", "tools.fuzz.harness"]):
    from tools.fuzz.harness import HARNESSES

REGRESSIONS = Path("tests/lb/corpus")
KEPT = Path(".fuzz")
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n"
GOOD = [
    GET + b"\r\n", b"\r\n" + GET + b"X: a\r\n\r\n" + GET + b"\r\n", b"HEAD http://a/b?c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    POST + b"Content-Length: 3\r\n\r\nabc" + GET + b"Connection: close\r\n\r\n", CHUNKED, CHUNKED + GET + b"\r\n",
    OK, b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK, b"HTTP/1.1 200 OK\r\n\r\nabc", b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: a\r\n\r\n",
]  # fmt: skip
PREFIXES = [b"\x00", b"\x00\x00", b"\x03\x05\x10\x20", b"\x00\x02\x0a\x16", b"\x02\x04\x00"]
"""Ways to cut a message (see `tools.fuzz.harness.cut`)."""


def corpus(directory: Path) -> None:
    """Write the seed corpus: the rows of the tests' tables."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [raw for raw, _status in (REFUSED | CHUNKS | AFTER_CLOSE).values()] + [*HEADS.values(), *BODIES.values(), *GOOD]
    for data in (prefix + raw for raw in rows if len(raw) < 400 for prefix in PREFIXES):
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def main() -> None:
    """Fuzz until the executions are done or a claim is broken."""
    name, executions = sys.argv[1], int(sys.argv[2])
    corpus(KEPT / name)
    options = [f"-runs={executions}", "-max_len=1024", "-timeout=10", "-verbosity=0", f"-artifact_prefix={REGRESSIONS}/{name}-"]
    atheris.Setup([sys.argv[0], *options, str(KEPT / name)], HARNESSES[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
