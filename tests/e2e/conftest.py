"""Real processes for the end-to-end tests: origins, the load balancer and Prometheus, all on loopback, all ended afterwards."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 60.0


class Answer(BaseHTTPRequestHandler):
    """Answers every method with the status that the path names: /status/404; /last with its last answer, /slow after a while, /slow/1.5
    after so many seconds."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 200
        first, _, seconds = self.path[1:].partition("/")
        time.sleep(float(seconds or 0.05) if first == "slow" else 0)
        self.close_connection = self.path == "/last"
        self.send_response(status)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"# ok\n")  # as an answer to a scrape it is right, and empty

    do_GET = do_POST = answer  # noqa: N815 (the names that http.server calls)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    """An HTTP server that can close the connections it has, as a process that dies does."""

    block_on_close = False

    def __init__(self, port: int) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Answer)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that ends is no error here."""

    def die(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Origin:
    """An origin that can be stopped, and started again on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        self.server = Server(self.port)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.server.die()


class Inbox:
    """A server that takes whatever is posted to it as JSON, and keeps it with the path."""

    def __init__(self) -> None:
        inbox = self
        self.posts: list[tuple[str, dict[str, Any]]] = []

        class Post(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.posts.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(inbox.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.status = 200
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Post)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def alerts(self, status: str) -> list[tuple[str, dict[str, str]]]:
        """Path and labels of every alert that Alertmanager told in this state, in the order of arrival."""
        return [(path, alert["labels"]) for path, post in self.posts for alert in post.get("alerts", ()) if alert["status"] == status]


@contextlib.contextmanager
def alerting(program: str, config: Path, port: int = 0) -> Iterator[int]:
    """A running Alertmanager with this configuration: its port."""
    port = port or free_port()
    command = [
        program, f"--config.file={config}", f"--storage.path={config.parent / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]  # fmt: skip
    with running(command, config.with_suffix(".log")):
        eventually("Alertmanager is ready", lambda: fetch(port, "/-/ready")[0] == 200)
        yield port


def fetch(port: int, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def eventually(claim: str, holds: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """The first true value of `holds`, asked for again and again; a failure that names the claim if there is none in time."""
    end = time.monotonic() + deadline
    last: Any = None
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError, TimeoutError, HTTPException):
            last = holds()
            if last:
                return last
        time.sleep(0.1)
    pytest.fail(f"not within {deadline} s: {claim}; last seen: {last!r}")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file, ended with SIGTERM. What it said is added to a failure in the block."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        except BaseException as failure:
            failure.add_note(f"{command[0]} said:\n{log.read_text(errors='replace')}")
            raise
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def balancing(config: Path) -> Iterator[tuple[int, int]]:
    """`balance serve` with a configuration that asks for port 0 twice: the ports of its listener and of its admin API."""
    log = config.with_suffix(".log")
    command = [sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(config)]

    def started() -> dict[str, Any] | None:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        return next((line for line in lines if line.get("event") == "started"), None)

    with running(command, log) as process:
        event = eventually("the balancer starts", lambda: started() or process.poll() is not None)
        assert isinstance(event, dict), "the balancer did not start"
        yield _port(event["listen"]), _port(event["admin"])


def _port(address: Any) -> int:
    return int((address[0] if isinstance(address, list) else address).rpartition(":")[2])
