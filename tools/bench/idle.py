"""Memory of idle keep-alive connections: 10,000 of them, each of which has done one request.

Resident memory of the proxy's process; what the kernel holds for its sockets is not in it.
"""

from __future__ import annotations

import contextlib
import socket

from tools.bench.load import HEADERS
from tools.bench.machine import PATIENCE, allow_open_files, connected, resident
from tools.bench.peers import BALANCE, BODY, PEERS
from tools.bench.stage import Server, stage
from tools.bench.table import Goal, Result, markdown

COUNT = 10_000
EACH, WORKER = 12.0, 60.0
"""KiB per connection, and MB of a worker without connections."""


def run() -> Result:
    """Measure one proxy after the other."""
    allow_open_files(COUNT + 500)
    found = {}
    with stage(PEERS) as (_, proxies):
        for server in proxies:
            found[server.name] = _memory(server)
    rows = [(name, f"{before / 1e6:.1f}", f"{(after - before) / COUNT / 1024:.1f}") for name, (before, after) in found.items()]
    before, after = found[BALANCE.name]
    goals = [
        Goal("resident memory of an idle worker, MB", WORKER, before / 1e6),
        Goal("an idle keep-alive connection, KiB", EACH, (after - before) / COUNT / 1024),
    ]
    return Result(markdown((f"{COUNT} idle keep-alive connections", "without any, MB", "each, KiB"), rows), goals)


def _memory(server: Server) -> tuple[int, int]:
    """Resident bytes without and with the connections. The proxy is warm from the requests that checked it."""
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{head}\r\n".encode()
    before = resident(server.pid)
    with contextlib.ExitStack() as stack:
        for number in range(COUNT):
            source = (f"127.0.0.{2 + number % 8}", 0)  # a few client addresses, each with all the ports
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE, source))
            connection.sendall(request)
            _read(server, connection)
        if (left := connected(server.port)) < COUNT:
            raise RuntimeError(f"{server.name}: only {left} of {COUNT} connections are still open")
        return before, resident(server.pid)


def _read(server: Server, connection: socket.socket) -> None:
    answer = b""
    while not answer.endswith(BODY.encode()):
        data = connection.recv(65536)
        answer += data
        if not data or not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{server.name}: {answer[:80]!r} instead of the body")
