"""`balance-gen preview --serve`: the pages over HTTP, made anew when the sources change, or when a Prometheus has more to tell.

The pages are made by `balance-gen preview --out`, in a process of its own: it sees the sources as they are now, and whatever is wrong with them
is a page that says so.
"""

from __future__ import annotations

import ipaddress
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from balance.errors import BalanceError
from balance.generate import collect
from balance.preview.page import error_page

REFRESH = 5
"""Seconds after which a page asks for itself anew."""
AGE = 15
"""Seconds for which what a Prometheus told is shown without asking it again."""
HOST, PORT = "127.0.0.1", 8300
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'"


def serve(options: Namespace) -> None:
    """Serve until SIGTERM or SIGINT. Raises `BalanceError` if the address cannot be had."""
    host, port = address(options.serve)
    pages = Pages(lambda: made(options), lambda: stamp(options), AGE if options.prometheus else None)
    try:
        server = _Server((host, port), pages)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BalanceError(f"cannot be served: {reason}", where=f"{host}:{port}", cure="choose another address: --serve [HOST:]PORT") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"http://{_shown(host)}:{server.server_address[1]}/ shows the dashboards. Ctrl-C ends it.", flush=True)
    with server:
        server.serve_forever(poll_interval=0.1)


def address(given: str) -> tuple[str, int]:
    """Host and port out of ``[HOST:]PORT``: without a host this machine alone is served."""
    host, _, port = given.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise BalanceError(f"{given!r} is no address", where="--serve", cure="write PORT or HOST:PORT, for example 8300 or 0.0.0.0:8300")
    return host.strip("[]") or HOST, int(port)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def made(options: Namespace) -> dict[str, str]:
    """The pages by their path, as the sources and the figures are now; one that says what is wrong if there are none to be had."""
    with tempfile.TemporaryDirectory(prefix="balance-preview-") as directory:
        words = [sys.executable, "-P", "-m", "balance.commands.cli", "preview", "--out", directory, "--refresh", str(REFRESH)]
        words += [word for name in ("settings", "prometheus", "since") if getattr(options, name) for word in (f"--{name}", getattr(options, name))]
        words += [word for name in ("set", "source") for value in getattr(options, name) for word in (f"--{name}", value)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 (ourselves)
        pages = {file.name: file.read_text(encoding="utf-8") for file in Path(directory).glob("*.html")}
    return pages if ended.returncode == 0 else {"": error_page("Preview", ended.stderr.splitlines(), REFRESH)}


def stamp(options: Namespace) -> object:
    """What changes when a source, or the settings, do."""
    tops = {name.partition(":")[0].partition(".")[0] for name in ("balance", *collect.select(options.source))}
    places = [Path(place) for top in sorted(tops) for place in _places(top)] + ([Path(options.settings)] if options.settings else [])
    return tuple((file, _changed(file)) for place in places for file in _files(place))


def _places(top: str) -> Iterator[str]:
    module = sys.modules.get(top)
    yield from getattr(module, "__path__", None) or filter(None, [getattr(module, "__file__", None)])


def _files(place: Path) -> Iterator[Path]:
    return (file for file in sorted(place.rglob("*")) if "__pycache__" not in file.parts) if place.is_dir() else iter([place])


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # gone in the meantime
        return 0.0


class Pages:
    """The pages as they were made last; made anew when `stamp` has changed or they are older than `age` seconds."""

    def __init__(self, make: Callable[[], Mapping[str, str]], stamp: Callable[[], object], age: float | None) -> None:
        self._make, self._stamp, self._age = make, stamp, age
        self._lock = threading.Lock()
        self._made: Mapping[str, str] = {}
        self._seen: object = None
        self._until = 0.0

    def get(self, name: str) -> str | None:
        """A page, or what is wrong with all of them; None if there is none of the name. Several readers wait for one making."""
        with self._lock:
            now, seen = time.monotonic(), self._stamp()
            if not self._made or seen != self._seen or (self._age is not None and now > self._until):
                self._made, self._seen = self._make(), seen
                self._until = time.monotonic() + (self._age or 0)
            return self._made.get(name, self._made.get(""))


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # what is being made is made, and cleared away, before the process ends

    def __init__(self, address: tuple[str, int], pages: Pages) -> None:
        self.pages, self.host = pages, address[0]
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "balance-gen", ""
    timeout = 5

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.lstrip("/")
        if not self._addressed():
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, b"")
        elif (text := self.server.pages.get(path or "index.html")) is None:
            self._answer(HTTPStatus.NOT_FOUND, b"no such page\n")
        else:
            body = text.encode()
            tag = f'"{sha256(body).hexdigest()[:16]}"'
            same = self.headers.get("If-None-Match") == tag
            self._answer(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK, b"" if same else body, ETag=tag)

    def _addressed(self) -> bool:
        """Whether the browser meant this server: a name of somebody else's that leads here (DNS rebinding) is refused."""
        host = re.sub(r":\d*$", "", self.headers.get("Host", "")).strip("[]")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host in ("localhost", self.server.host)
        return True

    def _answer(self, status: HTTPStatus, body: bytes, **headers: str) -> None:
        self.send_response(status)
        fixed = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        for name, value in {**fixed, "Content-Security-Policy": _POLICY, **headers}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: who looks at pictures is nobody's business."""
