"""The demo runs for real, on free ports, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest


def demo(*options: str) -> list[str]:
    return [sys.executable, "-m", "balance.lb.cli", "demo", *options]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_shows_traffic_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        demo("--port", "0", "--admin-port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        assert process.stderr
        said = "".join(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
        front, admin = re.findall(r"^The balancer answers at (\S+)", said, re.M)[0], re.findall(r"^  curl (\S+)/metrics", said, re.M)[0]
        with urllib.request.urlopen(f"{front}/", timeout=15) as response:
            assert response.read().startswith((b"hello from ", b"faulty: "))
        while True:
            with urllib.request.urlopen(f"{admin}/metrics", timeout=15) as response:
                if 'balance_http_requests_total{method="GET",status="404"} 0.0' not in response.read().decode():
                    break
        assert processes_of(str(tmp_path))
        process.send_signal(number)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_the_demo_can_end_by_itself() -> None:
    done = subprocess.run(demo("--port", "0", "--admin-port", "0", "--duration", "200ms"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "Ends after 0.2 s." in done.stdout


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
def test_a_port_in_use_is_one_line_that_names_the_options(option: str) -> None:
    other = "--admin-port" if option == "--port" else "--port"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(demo(option, str(port), other, "0"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"127.0.0.1:{port}: cannot listen: address already in use (choose other ports: --port, --admin-port)\n"


def test_a_wrong_duration_is_one_line() -> None:
    done = subprocess.run(demo("--duration", "soon"), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, "--duration: 'soon' is no duration (write it as 100ms, 10s, 1m or 1h)\n")
