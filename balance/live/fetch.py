"""Bytes from an address or a file that is not ours, bounded in size and time. Redirects are not followed: no credentials go elsewhere."""

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
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from balance.errors import BalanceError, LiveError

MAX_BYTES = 256 * 1024 * 1024
"""Limit of an unpacked answer: some 2 million series."""
TIMEOUT = 10.0
"""Seconds until an answer has arrived in full: Prometheus' default `scrape_timeout`."""
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,application/json;q=0.3,*/*;q=0.1"


def fetch(source: str, *, timeout: float = TIMEOUT, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of `source` (``http://...``, ``https://...``, a path, or ``-`` for standard input), unpacked if it is gzip.

    Raises `BalanceError` if it cannot be read, takes longer than `timeout` seconds or has more than `max_bytes` bytes.
    """
    if source.startswith(("http://", "https://")):
        return _get(source, timeout, max_bytes)
    if "://" in source:
        raise BalanceError("unsupported address", where=without_password(source), cure="write http://HOST:PORT/metrics, a path, or -")
    try:
        if source == "-":
            body = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with Path(source).open("rb") as file:
                body = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BalanceError(f"cannot be read: {reason}", where=source, cure="check the path") from None
    return _unpacked(body, source, max_bytes)


def without_password(source: str) -> str:
    """The address without user and password, for messages."""
    if "://" not in source:
        return source
    scheme, _, rest = source.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def checked_url(url: str, program: str, example: str) -> str:
    """The base URL of a program's API, without a slash at its end. Raises `LiveError` unless it is an http(s) URL with a host."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:  # such as an IPv6 address without its bracket
        valid = False
    if not valid:
        raise LiveError(f"invalid {program} address", where=without_password(url), cure=f"write it like {example}")
    return url.rstrip("/")


@dataclass(frozen=True)
class HttpReply:
    """The answer of a server."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def request(
    url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT, max_bytes: int = MAX_BYTES
) -> HttpReply:
    """Send one request (POST if there is a body) and return the answer, whatever its status. User and password in the address are sent as
    basic authentication; neither they nor the headers are in any message.

    Raises `LiveError` if there is no answer, `BalanceError` if it has more than `max_bytes` bytes; all of it must arrive within `timeout` seconds.
    """
    where = without_password(url)
    connection: http.client.HTTPConnection | None = None
    line: socket.socket | None = None
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    clock = threading.Timer(timeout, hang_up)  # a socket's timeout is not a limit: it starts again with every byte
    clock.daemon = True
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=timeout)
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
        got = HttpReply(answer.status, answer.reason, dict(answer.headers), _unpacked(answer.read(max_bytes + 1), where, max_bytes))
    except (OSError, http.client.HTTPException, ValueError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise _timed_out(where, timeout) from None
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LiveError(f"cannot be reached: {reason}", where=where, cure="check the address, and that the service is running") from None
    finally:
        clock.cancel()
        if connection is not None:
            connection.close()
    if late.is_set():
        raise _timed_out(where, timeout)
    return got


def _get(url: str, timeout: float, max_bytes: int) -> bytes:
    reply = request(url, headers={"Accept": ACCEPT}, timeout=timeout, max_bytes=max_bytes)
    if reply.status == http.client.OK:
        return reply.body
    moved = reply.headers.get("Location", "")
    cure = "check the address: metrics are usually at /metrics; for a whole Prometheus, audit has --prometheus"
    if moved and urlsplit(url).path.strip("/"):
        cure = f"it is now at {without_password(moved)}: give that address"
    raise LiveError(f"answered {reply.status} {reply.reason}", where=without_password(url), cure=cure)


def _timed_out(where: str, timeout: float) -> LiveError:
    return LiveError(f"did not answer in full within {timeout:g} s", where=where, cure="Prometheus gives up after the same time")


def _unpacked(body: bytes, where: str, max_bytes: int) -> bytes:
    """The content, unpacked if it is gzip; bounded before and after."""
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(body)).read(max_bytes + 1) if body.startswith(b"\x1f\x8b") and len(body) <= max_bytes else body
    except (OSError, EOFError, zlib.error) as error:
        raise BalanceError(f"damaged gzip: {error}", where=where, cure="fetch it again") from None
    if len(content) > max_bytes:
        raise BalanceError(f"has more than {max_bytes // 1024 // 1024} MiB", where=where, cure="use a part of it")
    return content
