"""Requests on a schedule, however slow the answers are: `python -m tools.bench.openloop PORT RATE SECONDS` prints p50 and p99 in seconds.

A generator that waits for an answer before it sends again sends less just when the server is slow, and misses what users would have waited
(coordinated omission). Here request n is due at n / rate; where all connections are busy it waits, and its latency still counts from when it
was due. wrk has no such mode, Debian has no wrk2, and h2load and hey count from the moment of sending.
"""

from __future__ import annotations

import contextlib
import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from typing import NamedTuple

from tools.bench.load import CONNECTIONS, HEADERS, wrk
from tools.bench.machine import LOAD_CORE, pinned
from tools.bench.peers import BODY
from tools.bench.stage import Server

END = BODY.encode()


class Latency(NamedTuple):
    """Median and 99th percentile, in seconds from when a request was due to the end of its answer."""

    p50: float
    p99: float


def half_of_saturation(server: Server) -> int:
    """Half of the requests per second that wrk gets from it."""
    wrk(server, "/", 1)
    return int(wrk(server, "/", 3).rate / 2)


def latency(server: Server, rate: int, seconds: int) -> Latency:
    """What requests at this rate waited. Raises `RuntimeError` if the server does not keep up, or answers wrongly."""
    command = [sys.executable, "-m", "tools.bench.openloop", str(server.port), str(rate), str(seconds)]
    run = subprocess.run(pinned(command, LOAD_CORE), capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{server.name}: {run.stderr.strip().splitlines()[-1]}")
    return Latency(**json.loads(run.stdout))


def main(port: int, rate: int, seconds: float) -> Latency:
    """Send and measure. The first tenth of the answers warms up and is not counted."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CONNECTIONS)]
        waits = _waits(connections, rate, seconds)
    counted = sorted(waits[len(waits) // 10 :])
    return Latency(counted[len(counted) // 2], counted[len(counted) * 99 // 100])


def _waits(connections: list[socket.socket], rate: int, seconds: float) -> list[float]:
    """Seconds from when each request was due to the end of its answer, in the order of the answers."""
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode()
    by_number = {connection.fileno(): connection for connection in connections}
    received = dict.fromkeys(by_number, b"")
    due: dict[int, float] = {}
    waits: list[float] = []
    idle, sent, total = deque(by_number), 0, int(rate * seconds)
    clock = time.perf_counter
    with select.epoll() as poller:
        for number, connection in by_number.items():
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poller.register(number, select.EPOLLIN)
        begin = clock() + 0.01
        while len(waits) < total:
            while sent < total and idle and (moment := begin + sent / rate) <= clock():
                number = idle.popleft()
                due[number] = moment
                by_number[number].send(request)
                sent += 1
            pause = begin + sent / rate - clock() if idle and sent < total else 1.0
            if pause > 0:
                select.select([poller], [], [], pause)  # to the microsecond, where epoll counts milliseconds
            if clock() > begin + 2 * seconds + 1:
                raise RuntimeError(f"{len(waits)} of {total} requests answered in {2 * seconds + 1:.0f} s at {rate} requests/s")
            for number, _ in poller.poll(0):
                data = by_number[number].recv(65536)
                received[number] += data
                if received[number].endswith(END):
                    waits.append(clock() - due[number])
                    idle.append(number)
                    if not received[number].startswith(b"HTTP/1.1 200 "):
                        raise RuntimeError(f"not a success: {received[number][:80]!r}")
                    received[number] = b""
                elif not data:
                    raise RuntimeError(f"a connection was closed after {received[number][:80]!r}")
    return waits


if __name__ == "__main__":
    gc.disable()
    with contextlib.suppress(OSError), open("/proc/self/timerslack_ns", "w") as slack:
        slack.write("1")
    try:
        found = main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
    print(json.dumps(found._asdict()))
