"""Failures of the operating system at start: one line, exit 2, and nothing is left listening."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

pytestmark = pytest.mark.process

if TYPE_CHECKING:
    from pathlib import Path


def serve(directory: Path, **settings: object) -> tuple[int, list[str]]:
    """Exit code and error lines of a start that must fail."""
    file = directory / "balance.yaml"
    base = {"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}, "backends": [{"name": "a", "address": "127.0.0.1:1"}]}
    file.write_text(yaml.safe_dump({**base, **settings}))
    done = subprocess.run([sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(file)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("where", ["listen", "admin"])
def test_address_in_use_names_setting(tmp_path: Path, where: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, lines = serve(tmp_path, **({"listen": address} if where == "listen" else {"admin": {"listen": address}}))
    key = "listen, or BALANCE_LISTEN" if where == "listen" else "admin.listen, or BALANCE_ADMIN_LISTEN"
    assert (code, lines) == (2, [f"{address}: cannot listen: address already in use (choose another address: {key})"])


IMPOSSIBLE_ADDRESSES = {
    "address of another machine": ("192.0.2.1:8080", "cannot assign requested address"),
    "missing directory": ("unix:/does/not/exist.sock", "no such file or directory"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE_ADDRESSES)
def test_impossible_address_is_one_line(tmp_path: Path, case: str) -> None:
    address, reason = IMPOSSIBLE_ADDRESSES[case]
    code, lines = serve(tmp_path, listen=address)
    assert (code, lines) == (2, [f"{address}: cannot listen: {reason} (choose another address: listen, or BALANCE_LISTEN)"])


def test_live_socket_is_left_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(path))
        owner.listen()
        code, lines = serve(tmp_path, listen=f"unix:{path}")
    assert (code, lines) == (2, [f"unix:{path}: cannot listen: address already in use (choose another address: listen, or BALANCE_LISTEN)"])
    assert path.exists()


def test_unresolvable_name_is_one_line(tmp_path: Path) -> None:
    code, lines = serve(tmp_path, listen="does-not-exist.invalid:80")
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("does-not-exist.invalid:80: cannot listen: ")
