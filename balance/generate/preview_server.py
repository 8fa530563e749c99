"""`balance-gen preview --serve`: the pages over HTTP, rendered again when the sources change, or when Prometheus may have new data.

The pages are rendered by `balance-gen preview --out` in a process of its own, which sees the current sources. If it fails, its errors are shown
as a page.
"""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
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

from balance.config.address import Address, Endpoint
from balance.config.kinds import KindError
from balance.errors import BalanceError
from balance.generate import collect
from balance.preview.page import error_page

REFRESH = 5
"""Seconds after which a page reloads itself."""
AGE = 15
"""Seconds for which the data of a Prometheus is shown without querying it again."""
HOST = "127.0.0.1"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'"


def serve(options: Namespace) -> None:
    """Serve until SIGTERM or SIGINT. Raises `BalanceError` if the address is invalid or in use."""
    address = listen_address(options.serve)
    pages = Pages(lambda: render(options), lambda: fingerprint(options), AGE if options.prometheus else None)
    try:
        server = _Server((address.host, address.port), pages)
    except OSError as error:
        raise BalanceError(
            f"cannot listen: {error.strerror or error}", where=str(address), cure="choose another address: --serve [HOST:]PORT"
        ) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"http://{Address(address.host, server.server_address[1])}/ shows the dashboards. Press Ctrl-C to stop.", flush=True)
    with server:
        server.serve_forever(poll_interval=0.1)


def listen_address(text: str) -> Address:
    """The address of ``[HOST:]PORT``; the default host is reachable from this machine only. Raises `BalanceError` if it is invalid."""
    try:
        address = Endpoint(listening=True, unix=False).parse(text if ":" in text else f":{text}")
    except KindError as error:
        raise BalanceError(error.what, where="--serve", cure=error.cure) from None
    return Address(address.host or HOST, address.port)


def render(options: Namespace) -> dict[str, str]:
    """Render the pages from the current sources, by path; if that fails, one page with the errors, under the empty path."""
    with tempfile.TemporaryDirectory(prefix="balance-preview-") as directory:
        arguments = [sys.executable, "-P", "-m", "balance.commands.cli", "preview", "--out", directory, "--refresh", str(REFRESH)]
        arguments += [
            word for name in ("settings", "prometheus", "since") if getattr(options, name) for word in (f"--{name}", getattr(options, name))
        ]
        arguments += [word for name in ("set", "source") for value in getattr(options, name) for word in (f"--{name}", value)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 (ourselves)
        pages = {file.name: file.read_text(encoding="utf-8") for file in Path(directory).glob("*.html")}
    return pages if done.returncode == 0 else {"": error_page("Preview", done.stderr.splitlines(), REFRESH)}


def fingerprint(options: Namespace) -> tuple[tuple[Path, float], ...]:
    """The files of the sources and of the settings, each with the time of its last change."""
    tops = {name.partition(":")[0].partition(".")[0] for name in collect.select(options.source)} | _local_packages()
    places = [Path(place) for top in sorted(tops) for place in _places(top)] + ([Path(options.settings)] if options.settings else [])
    return tuple((file, _modified(file)) for place in places for file in _files(place))


def _local_packages() -> set[str]:
    """The top-level names of loaded modules that are not installed: what a source imports, and balance itself in a checkout."""
    installed = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    files = ((name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items()) if name != "__main__")
    return {name.partition(".")[0] for name, file in files if file and not file.startswith(installed)}


def _places(top: str) -> Iterator[str]:
    module = sys.modules.get(top)
    yield from getattr(module, "__path__", None) or filter(None, [getattr(module, "__file__", None)])


def _files(place: Path) -> Iterator[Path]:
    return (file for file in sorted(place.rglob("*")) if "__pycache__" not in file.parts) if place.is_dir() else iter([place])


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # removed in the meantime
        return 0.0


class Pages:
    """The latest pages. They are rendered again when their fingerprint has changed, or when they are older than `age` seconds."""

    def __init__(self, render: Callable[[], Mapping[str, str]], fingerprint: Callable[[], object], age: float | None) -> None:
        self._render, self._fingerprint, self._age = render, fingerprint, age
        self._lock = threading.Lock()
        self._pages: Mapping[str, str] = {}
        self._rendered_from: object = None
        self._until = 0.0

    def get(self, name: str) -> str | None:
        """A page, or the page with the errors; None if there is no page of that name. Concurrent readers wait for one rendering."""
        with self._lock:
            now, current = time.monotonic(), self._fingerprint()
            if not self._pages or current != self._rendered_from or (self._age is not None and now > self._until):
                self._pages, self._rendered_from = self._render(), current
                self._until = time.monotonic() + (self._age or 0)
            return self._pages.get(name, self._pages.get(""))


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # finish rendering, and remove temporary files, before the process ends

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
        if not self._host_allowed():
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, b"")
        elif (text := self.server.pages.get(path or "index.html")) is None:
            self._answer(HTTPStatus.NOT_FOUND, b"no such page\n")
        else:
            body = text.encode()
            tag = f'"{sha256(body).hexdigest()[:16]}"'
            same = self.headers.get("If-None-Match") == tag
            self._answer(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK, b"" if same else body, ETag=tag)

    def _host_allowed(self) -> bool:
        """Whether the Host header names this server. Foreign names that resolve to this machine are refused (DNS rebinding)."""
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
        """Log nothing."""
