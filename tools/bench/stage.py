"""The origin and the proxies in front of it, started and checked before anything is measured."""

from __future__ import annotations

import contextlib
import http.client
import shlex
import ssl
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.machine import LOAD_CORE, PATIENCE, PROXY_CORE, free_port, process, program
from tools.bench.peers import BODY, FILES, ORIGIN, Peer


class _Text(string.Template):
    delimiter = "%"


@dataclass(frozen=True)
class Server:
    """What is measured: a running proxy, or the origin itself."""

    name: str
    pid: int
    port: int
    scheme: str

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def stage(peers: Sequence[Peer], *, tls: bool = False) -> Iterator[tuple[Server, list[Server]]]:
    """Run the origin on the load generator's core and the proxies on the other. Raises `RuntimeError` if one does not start or misbehaves."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        for size in FILES.values():
            (directory / str(size)).write_bytes(b"x" * size)
        if tls:
            _certify(directory)
        origin = stack.enter_context(_server(ORIGIN, LOAD_CORE, directory, 0, tls=False))
        proxies = []
        for peer in peers:
            server = stack.enter_context(_server(peer, PROXY_CORE, directory, origin.port, tls=tls))
            _try(server, peer)
            proxies.append(server)
        yield origin, proxies


@contextlib.contextmanager
def _server(peer: Peer, core: int, directory: Path, origin: int, *, tls: bool) -> Iterator[Server]:
    name = "".join(filter(str.isalnum, peer.name))
    words = {
        "directory": str(directory), "name": name, "config": str(directory / f"{name}.yaml"), "origin": str(origin),
        "port": str(free_port()), "tls_port": str(free_port()), "admin": str(free_port()),
        "certificate": str(directory / "certificate.pem"), "key": str(directory / "key.pem"), "both": str(directory / "both.pem"),
    }  # fmt: skip
    words |= {**peer.words, "tls": peer.tls if tls else ""}
    (directory / f"{name}.yaml").write_text(filled(peer.config, words))
    command = shlex.split(filled(peer.command, words))
    command[0] = sys.executable if command[0] == "python" else program(command[0])
    port = int(words["tls_port" if tls else "port"])
    with process(command, core, port, {key: filled(text, words) for key, text in peer.environment.items()}) as pid:
        yield Server(peer.name, pid, port, "https" if tls else "http")


def filled(text: str, words: Mapping[str, str]) -> str:
    """The text with every ``%word`` replaced, also those within words."""
    while "%" in text:
        text = _Text(text).substitute(words)
    return text


def _certify(directory: Path) -> None:
    """A self-signed certificate and its key, also in one file."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"openssl failed: {made.stderr.strip()}")
    (directory / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())


def answers(server: Server, *paths: str) -> list[str]:
    """The bodies of these targets, requested on one connection. Raises `RuntimeError` if one is not a success."""
    if server.scheme == "https":
        context = ssl._create_unverified_context()  # the certificate is its own authority
        connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=PATIENCE, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    bodies = []
    with contextlib.closing(connection):
        for path in paths:
            connection.request("GET", path)
            response = connection.getresponse()
            bodies.append(response.read().decode())
            if response.status != 200:
                raise RuntimeError(f"{server.name}: {response.status} for GET {path}")
    return bodies


def _try(server: Server, peer: Peer) -> None:
    """Check that the body is right, the connection to the origin is reused, and X-Forwarded-For is sent. Raises `RuntimeError`."""
    body, reused = answers(server, "/", "/reused")
    number, _, client = reused.partition(" ")
    if body != BODY:
        raise RuntimeError(f"{server.name}: the body is not the origin's")
    if peer.reuses and int(number) < 2:
        raise RuntimeError(f"{server.name}: a new connection to the origin for every request")
    if peer.forwards and not client:  # any address: for a client on the loopback, Envoy names the machine's own
        raise RuntimeError(f"{server.name}: no X-Forwarded-For")
