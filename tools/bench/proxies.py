"""`balance serve` beside a plain aiohttp proxy, HAProxy and Caddy: requests per second and processor time per request.

Every proxy has one core to itself (its own process tree is pinned to it); wrk and the origin, a HAProxy that answers by itself,
share the other. Where the load generator is the brake, the rate says little and the processor time per request says all.
The proxies take turns over several rounds; the table shows medians.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tools.bench.table import markdown

ROUNDS, SECONDS, CONNECTIONS = 3, 5, 64
PROXY_CORE, LOAD_CORE = 0, 1
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Cookie": "session=0123456789abcdef0123456789abcdef",
}
ORIGIN = """
global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout connect 5s
  timeout server 60s
frontend origin
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string "{body}"
"""
HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout connect 5s
  timeout server 60s
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  option forwardfor
  default_backend back
backend back
  server origin 127.0.0.1:{origin}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  reverse_proxy 127.0.0.1:{origin}
}}
"""
BALANCE = """
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}}}
backends:
  - {{name: origin, address: "127.0.0.1:{origin}"}}
health_check: {{type: tcp, interval: 10s}}
log: {{level: warning, access: {access}}}
"""


def run() -> str:
    """Measure all proxies in turn. Raises `RuntimeError` if one cannot be started or answers wrongly."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory, origin = Path(name), _free_port()
        (directory / "origin.cfg").write_text(ORIGIN.format(port=origin, body="x" * 100))
        stack.enter_context(_process([_program("haproxy"), "-db", "-f", str(directory / "origin.cfg")], LOAD_CORE, origin))
        processes = {}
        for name, (command, port, environment) in _proxies(directory, origin).items():
            processes[name] = (stack.enter_context(_process(command, PROXY_CORE, port, environment)), port)
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
        for number in range(ROUNDS + 1):
            for name, (pid, port) in processes.items():
                measured = _load(pid, port, 1 if number == 0 else SECONDS)
                if number:
                    results[name].append(measured)
    return _table(results)


def _proxies(directory: Path, origin: int) -> dict[str, tuple[list[str], int, dict[str, str]]]:
    ports = {name: _free_port() for name in ("balance", "logging", "plain", "haproxy", "caddy")}
    (directory / "haproxy.cfg").write_text(HAPROXY.format(port=ports["haproxy"], origin=origin))
    (directory / "Caddyfile").write_text(CADDY.format(port=ports["caddy"], origin=origin))
    for name, access in (("balance", "false"), ("logging", "true")):
        text = BALANCE.format(port=ports[name], admin=_free_port(), origin=origin, access=access)
        (directory / f"{name}.yaml").write_text(text)

    def balance(name: str) -> list[str]:
        return [sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(directory / f"{name}.yaml")]

    plain = [sys.executable, "-m", "tools.bench.plain_proxy", str(ports["plain"]), str(origin)]
    return {
        "balance, all metrics": (balance("balance"), ports["balance"], {}),
        "balance, all metrics and access log": (balance("logging"), ports["logging"], {}),
        "plain aiohttp proxy": (plain, ports["plain"], {}),
        "Caddy, GOMAXPROCS=1": (
            [_program("caddy"), "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")],
            ports["caddy"],
            {"GOMAXPROCS": "1", "HOME": str(directory)},
        ),
        "HAProxy, nbthread 1": ([_program("haproxy"), "-db", "-f", str(directory / "haproxy.cfg")], ports["haproxy"], {}),
    }


def _table(results: dict[str, list[tuple[float, float]]]) -> str:
    medians = {name: tuple(statistics.median(column) for column in zip(*taken, strict=True)) for name, taken in results.items()}
    base_rate, base_time = medians["plain aiohttp proxy"]
    rows = [
        (name, f"{rate / 1000:.1f}", f"{rate / base_rate:.2f}", f"{cost * 1e6:.1f}", f"{base_time / cost:.2f}")
        for name, (rate, cost) in medians.items()
    ]
    return markdown(("one core, 100-byte bodies, 64 connections", "1000 requests/s", "over plain", "CPU µs/request", "plain over it"), rows)


def _load(pid: int, port: int, seconds: int) -> tuple[float, float]:
    """Requests per second, and processor seconds per request of the process tree `pid`."""
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    command = [_program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *headers, f"http://127.0.0.1:{port}/index.html?page=1"]
    before = _processor_time(pid)
    run = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}))
    used = _processor_time(pid) - before
    requests, rate = re.search(r"(\d+) requests in", run.stdout), re.search(r"Requests/sec: +([\d.]+)", run.stdout)
    if not requests or not rate or "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        raise RuntimeError(f"wrk was not answered properly:\n{run.stdout}{run.stderr}")
    return float(rate[1]), used / int(requests[1])


def _processor_time(pid: int) -> float:
    """User and system seconds of a process and its living children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(_processor_time, map(int, children)))


@contextlib.contextmanager
def _process(command: list[str], core: int, port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A process pinned to a core, once its port answers; ended afterwards."""
    environment = {**os.environ, **(environment or {})}
    pin = lambda: os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})  # noqa: E731
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=pin) as process:
        try:
            _wait_for(process, command, port)
            yield process.pid
        finally:
            process.terminate()


def _wait_for(process: subprocess.Popen[bytes], command: list[str], port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"no answer on port {port} from {' '.join(command)}")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: run `make bench`, which fetches it")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
