"""Bytes from an address or a file, bounded in size and time: what they come from is somebody else's."""

from __future__ import annotations

import gzip
import http.client
import io
import socket
import sys
import threading
import zlib
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from balance.errors import BalanceError, LiveError

MOST_BYTES = 256 * 1024 * 1024
"""No scrape is larger once it is unpacked: some 2 million series."""
PATIENCE = 10.0
"""Seconds until an answer has arrived in full: Prometheus' own default (`scrape_timeout`)."""
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,application/json;q=0.3,*/*;q=0.1"


def fetch(source: str, *, patience: float = PATIENCE, most: int = MOST_BYTES) -> bytes:
    """What `source` (``http://...``, ``https://...``, a path, or ``-`` for standard input) holds, unpacked if it is gzip.

    Raises `BalanceError` if it cannot be read, is not there within `patience` seconds or has more than `most` bytes.
    """
    if source.startswith(("http://", "https://")):
        return _get(source, patience, most)
    if "://" in source:
        raise BalanceError("is neither a file nor an address of HTTP", where=shown(source), cure="write http://HOST:PORT/metrics, a path, or -")
    try:
        if source == "-":
            body = sys.stdin.buffer.read(most + 1)
        else:
            with Path(source).open("rb") as file:
                body = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BalanceError(f"cannot be read: {reason}", where=source, cure="check the path") from None
    return _unpacked(_bounded(body, source, most), source, most)


def shown(source: str) -> str:
    """The address without a password in it."""
    if "://" not in source:
        return source
    scheme, _, rest = source.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def exchange(
    url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None, patience: float = PATIENCE, most: int = MOST_BYTES
) -> Reply:
    """One request (POST if there is a body) and its answer, whatever its status. A name and password in the address are sent as basic
    authentication; neither they nor the headers are in any message.

    Raises `LiveError` if the answer is not there within `patience` seconds or has more than `most` bytes.
    """
    where = shown(url)
    connection: http.client.HTTPConnection | None = None
    line: socket.socket | None = None
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    clock = threading.Timer(patience, hang_up)  # a timeout of the socket is no bound: whoever sends a byte now and then never meets it
    clock.daemon = True
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=patience)
        sent = {"Accept-Encoding": "gzip", **(headers or {})}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            sent["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        clock.start()
        connection.connect()
        line = connection.sock  # which the answer takes over
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET" if body is None else "POST", target, body, sent)
        answer = connection.getresponse()
        got = Reply(answer.status, answer.reason, dict(answer.headers), _unpacked(_bounded(answer.read(most + 1), where, most), where, most))
    except (OSError, http.client.HTTPException, ValueError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise _late(where, patience) from None
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LiveError(f"cannot be reached: {reason}", where=where, cure="check the address, and whether the service runs") from None
    finally:
        clock.cancel()
        if connection is not None:
            connection.close()
    if late.is_set():
        raise _late(where, patience)
    return got


def _get(url: str, patience: float, most: int) -> bytes:
    reply = exchange(url, headers={"Accept": ACCEPT}, patience=patience, most=most)
    if reply.status == http.client.OK:
        return reply.body
    moved = reply.headers.get("Location", "")
    cure = "check the address: metrics are usually at /metrics, and audit asks a whole Prometheus with --prometheus"
    if moved and urlsplit(url).path.strip("/"):
        cure = f"it is now at {shown(moved)}: give that address"
    raise LiveError(f"answered {reply.status} {reply.reason}", where=shown(url), cure=cure)


def _late(where: str, patience: float) -> LiveError:
    return LiveError(f"did not answer in full within {patience:g} s", where=where, cure="Prometheus would not wait longer either")


def _bounded(body: bytes, where: str, most: int) -> bytes:
    if len(body) > most:
        raise BalanceError(f"has more than {most // 1024 // 1024} MiB", where=where, cure="look at a part of it")
    return body


def _unpacked(body: bytes, where: str, most: int) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return _bounded(gzip.GzipFile(fileobj=io.BytesIO(body)).read(most + 1), where, most)
    except (OSError, EOFError, zlib.error) as error:
        raise BalanceError(f"is damaged gzip: {error}", where=where, cure="fetch it again") from None
