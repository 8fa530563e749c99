"""Fixtures for tests of the load balancer: scripted origins, the balancer as a process, and sockets to talk to both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PATIENCE = 15.0
"""Seconds to wait for anything on a busy machine before a test fails."""

TRUNCATED = b"[cut off]"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Stream:
    """A socket with a buffer that reads up to a mark, a length or the end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        sock.settimeout(PATIENCE)

    def send(self, data: bytes) -> Stream:
        self.sock.sendall(data)
        return self

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Everything up to and including the mark, or up to the end if the peer closes before."""
        while mark not in self.buffer:
            if not self._more():
                found, self.buffer = self.buffer, b""
                return found
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count and self._more():
            pass
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def skip(self, count: int) -> int:
        """Read and drop up to `count` bytes, without keeping them in memory; the number of bytes read."""
        left = count - len(self.exactly(min(count, len(self.buffer))))
        while left and (data := self.sock.recv(min(left, 2**20))):
            left -= len(data)
        return count - left

    def head(self) -> bytes:
        return self.until(b"\r\n\r\n")

    def message(self, *, bodiless: bool = False) -> tuple[bytes, bytes]:
        """Head and body, delimited by Content-Length or chunked coding; a response with neither ends with the connection."""
        head = self.head()
        lower = head.lower()
        if bodiless or not head:
            return head, b""
        if b"transfer-encoding: chunked" in lower:
            return head, self.chunks()
        if match := re.search(rb"content-length: (\d+)", lower):
            return head, self.exactly(int(match[1]))
        return head, self.rest() if lower.startswith(b"http/") else b""

    def chunks(self) -> bytes:
        """A chunked body; if the peer closes before its end, the part that arrived plus `TRUNCATED`."""
        body = b""
        while size := int(self.until(b"\r\n").partition(b";")[0] or b"-1", 16):
            if size < 0:
                return body + TRUNCATED
            body += self.exactly(size)
            self.exactly(2)
        while self.until(b"\r\n") not in (b"\r\n", b""):
            pass
        return body

    def rest(self) -> bytes:
        """Everything up to the end; a reset also counts as the end."""
        with contextlib.suppress(ConnectionResetError):
            while self._more():
                pass
        found, self.buffer = self.buffer, b""
        return found

    def closed(self) -> bool:
        """True if the peer closes the connection without sending more; waits for it."""
        return self.rest() == b""

    def reset(self) -> None:
        """Close with a reset, without a shutdown before, which would be an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


Script = Callable[[Stream], None]


def answering(response: bytes) -> Script:
    """A script that answers every request of a connection with this response."""

    def script(stream: Stream) -> None:
        while True:
            head, _body = stream.message()
            if not head:
                return
            stream.send(response)

    return script


class Origin:
    """A backend on a free loopback port; each connection runs the script in a thread. `heads` and `bodies` are the
    requests that it read, in order; `taken` counts all bytes read."""

    def __init__(self, script: Script, secure: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.secure = secure
        self.connections = 0
        self.taken = 0
        self.streams: list[Stream] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            stream = _Recorder(sock, self)
            self.connections += 1
            self.streams.append(stream)
            thread = threading.Thread(target=self._serve, args=(stream,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, stream: Stream) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.secure:
                stream.sock = self.secure.wrap_socket(stream.sock, server_side=True, suppress_ragged_eofs=False)
            self.script(stream)
        stream.close()

    def requests(self) -> list[tuple[bytes, bytes]]:
        """Heads and bodies of the requests so far."""
        return list(zip(self.heads, self.bodies, strict=False))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(PATIENCE)
        for stream in self.streams:
            stream.close()
        for thread in self._threads:
            thread.join(PATIENCE)


class _Recorder(Stream):
    """The origin's end of a connection; records every request that a script reads with `message`."""

    def __init__(self, sock: socket.socket, origin: Origin) -> None:
        super().__init__(sock)
        self._origin = origin

    def _more(self) -> bool:
        before = len(self.buffer)
        found = super()._more()
        self._origin.taken += len(self.buffer) - before
        return found

    def message(self, *, bodiless: bool = False) -> tuple[bytes, bytes]:
        head, body = super().message(bodiless=bodiless)
        if head:
            self._origin.heads.append(head)
            self._origin.bodies.append(body)
        return head, body


class Balancer:
    """`balance serve` as a process. An error in its log that is not passed to `allow` fails the test."""

    def __init__(self, directory: Path, settings: dict[str, Any], environment: dict[str, str], stdout: int = subprocess.PIPE) -> None:
        self.config = config = directory / "balance.yaml"
        self._allowed: set[str] = set()
        config.write_text(yaml.safe_dump(settings))
        self.exit_code = 0
        """Exit code that `stop` expects."""
        self.events: list[dict[str, Any]] = []
        self.output: list[str] = []
        self._streams: list[Stream] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(config)],
            stdout=stdout, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        self._readers = [threading.Thread(target=self._read_events), threading.Thread(target=self._read_output)]
        for reader in self._readers:
            reader.start()
        started = self.event("started")
        self.listen: list[str] = started["listen"]
        self.port, self.tls_port = (
            int(where[0].rpartition(":")[2]) if where and not where[0].startswith("unix:") else 0 for where in (self.listen, started.get("tls"))
        )
        self.admin_path = started["admin"].removeprefix("unix:")
        self.admin_port = 0 if started["admin"].startswith("unix:") else int(started["admin"].rpartition(":")[2])

    def _read_events(self) -> None:
        assert self.process.stderr
        with self.process.stderr as lines:
            for line in lines:
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    self.events.append({"level": "error", "event": "no JSON", "line": line})

    def _read_output(self) -> None:
        if self.process.stdout:
            with self.process.stdout as lines:
                self.output.extend(lines)

    def allow(self, event: str) -> None:
        """Accept this error event, which the test causes."""
        self._allowed.add(event)

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        """Wait for an event with these fields and return it."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if event["event"] == name and fields.items() <= event.items()]

        first: dict[str, Any] = until(found, f"event {name} {fields} in {self.events}")[0]
        return first

    def access(self) -> list[dict[str, Any]]:
        """The access log so far."""
        return [json.loads(line) for line in self.output]

    def connect(self) -> Stream:
        """A client's connection; closed at the end of the test at the latest."""
        self._streams.append(Stream(socket.create_connection(("127.0.0.1", self.port))))
        return self._streams[-1]

    def connect_tls(self, context: ssl.SSLContext, name: str | None = "site.test") -> Stream:
        """A client's connection with TLS and this SNI; reading raises `ssl.SSLError` if the stream ends without close_notify."""
        plain = socket.create_connection(("127.0.0.1", self.tls_port), PATIENCE)
        self._streams.append(Stream(context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)))
        return self._streams[-1]

    def connect_plain_to_tls(self) -> Stream:
        """A connection to the TLS port, without TLS."""
        self._streams.append(Stream(socket.create_connection(("127.0.0.1", self.tls_port))))
        return self._streams[-1]

    def get(self, target: str = "/", *headers: str) -> tuple[bytes, bytes]:
        """Head and body of the response to a GET on a connection of its own."""
        return self.ask("\r\n".join([f"GET {target} HTTP/1.1", "Host: test", *headers, "", ""]).encode())

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the response to these bytes on a connection of their own."""
        stream = self.connect().send(request)
        try:
            return stream.message(bodiless=request.startswith(b"HEAD"))
        finally:
            stream.close()

    def admin(self, path: str, *headers: str) -> tuple[int, str]:
        """Status and body of a GET at the admin server."""
        stream = Stream(socket.create_connection(("127.0.0.1", self.admin_port)))
        stream.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: test", "Connection: close", *headers, "", ""]).encode())
        head, body = stream.message()
        stream.close()
        return int(head.split(b" ")[1]), body.decode()

    def metric(self, series: str) -> float:
        """The value of a series, written as in the scrape; 0 if it is absent."""
        for line in self.admin("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return 0.0

    def sum(self, name: str, label: str) -> float:
        """The sum of the series of this name that have this label."""
        lines = self.admin("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{") and label in line)

    def becomes(self, series: str, value: float) -> None:
        """Wait until a series has this value."""
        until(lambda: self.metric(series) == value, f"{series} == {value}, is {self.metric(series)}")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.admin("/status")[1])
        return found

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end of the process; its exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def stop(self) -> None:
        """Close the clients, stop the process, and check its exit code and its log for errors."""
        for stream in self._streams:
            stream.close()
        if self.process.poll() is None:
            self.signal()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise
        assert code == self.exit_code, self.events
        wrong = [event for event in self.events if event["level"] == "error" or event["event"] == "library"]
        assert not [event for event in wrong if event["event"] not in self._allowed]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until the condition is true and return its value."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)
    return found


def unread(port: int) -> bool:
    """True if unread bytes wait at a connection of this local port (/proc/net/tcp: local address, state, tx_queue:rx_queue)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" and int(row[4].partition(":")[2], 16) for row in rows)


class World:
    """Starts origins and balancers, and stops all of them at the end."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._directory = directory
        self._origins: list[Origin] = []
        self._balancers: list[Balancer] = []

    def origin(self, script: Script | bytes = OK, secure: ssl.SSLContext | None = None) -> Origin:
        origin = Origin(answering(script) if isinstance(script, bytes) else script, secure)
        self._origins.append(origin)
        return origin

    def balancer(self, *origins: Origin | int, environment: dict[str, str] | None = None, stdout: int = subprocess.PIPE, **settings: Any) -> Balancer:
        """A balancer in front of these origins (or ports), named a, b, c...; without active health checks unless `health_check` is given."""
        ports = [origin if isinstance(origin, int) else origin.port for origin in origins]
        base: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0"},
            "backends": [{"name": "abcdef"[index], "address": f"127.0.0.1:{port}"} for index, port in enumerate(ports)],
            "health_check": False,
            "retry": {"backoff_base": "1ms"},
            "timeouts": {"shutdown": "500ms"},
        }
        for key, value in settings.items():
            base[key] = {**base[key], **value} if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        base = {key: value for key, value in base.items() if value is not None}
        balancer = Balancer(self._directory(), base, environment or {}, stdout)
        self._balancers.append(balancer)
        return balancer

    @staticmethod
    def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
        return until(condition, what)

    @staticmethod
    def free_port() -> int:
        """A loopback port without a listener."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
            return port

    def close(self) -> None:
        try:
            for balancer in self._balancers:
                balancer.stop()
        finally:
            for origin in self._origins:
                origin.close()


@pytest.fixture
def world(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(lambda: tmp_path_factory.mktemp("balancer"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Like `world`, shared by the tests of a module."""
    made = World(lambda: tmp_path_factory.mktemp("balancer"))
    yield made
    made.close()
