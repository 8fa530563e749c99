"""A second, independent HTTP/1.1 parser: simple, for whole byte strings, without any code of the balancer.

As the oracle of the fuzz tests it is as strict as the balancer must be (RFC 9112); `forwarded` applies the balancer's documented policies.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Fields = tuple[tuple[bytes, bytes], ...]
Forwarded = tuple[bytes, bytes, Fields, bytes]


class MalformedError(Exception):
    """Not valid HTTP/1.1."""


class IncompleteError(Exception):
    """More bytes are needed."""


class Message(NamedTuple):
    """`start`: the three parts of the first line. `last`: nothing may follow the message on its connection."""

    start: tuple[bytes, bytes, bytes]
    fields: Fields
    body: bytes
    last: bool

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found.lower() == name]


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) (HTTP/1\.[01])")
_STATUS = re.compile(rb"(HTTP/1\.[01]) ([2-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")


def request(data: bytes) -> tuple[Message, bytes]:
    """The first request of some bytes, and the bytes after it."""
    line, rest = _line(data.removeprefix(b"\r\n"))
    if (match := _REQUEST.fullmatch(line)) is None:
        raise MalformedError(line)
    fields, rest = _fields(rest)
    message = Message((match[1], match[2], match[3]), fields, b"", False)
    hosts = message.values(b"host")
    if len(hosts) > 1 or (not hosts and match[3] == b"HTTP/1.1") or any(_HOST.fullmatch(host) is None for host in hosts):
        raise MalformedError(b"host")
    body, rest, trailers = _body(message, rest, match[3])
    return message._replace(body=body, last=trailers), rest


def response(data: bytes, *, head: bool, ended: bool) -> tuple[Message, bytes]:
    """The first final response; `head`: it answers a HEAD; `ended`: the connection was closed in an orderly way after these bytes."""
    line, rest = _line(data)
    if (match := _STATUS.fullmatch(line)) is None:
        raise MalformedError(line)
    fields, rest = _fields(rest)
    message = Message((match[1], match[2], match[3] or b""), fields, b"", False)
    if head or match[2] in (b"204", b"304"):
        _framing(message, match[1])
        return message, rest
    if not message.values(b"content-length") and not message.values(b"transfer-encoding"):
        if not ended:
            raise IncompleteError
        return message._replace(body=rest, last=True), b""
    body, rest, _trailers = _body(message, rest, match[1])
    return message._replace(body=body), rest


def requests(data: bytes) -> list[Message]:
    """All requests up to the first that is malformed, incomplete or the last of its connection."""
    found: list[Message] = []
    while data:
        try:
            message, data = request(data)
        except (MalformedError, IncompleteError):
            break
        found.append(message)
        if message.last:
            break
    return found


def _line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if not end:
        raise IncompleteError
    return line, rest


def _fields(data: bytes) -> tuple[Fields, bytes]:
    found: list[tuple[bytes, bytes]] = []
    line, data = _line(data)
    while line:
        if (match := _FIELD.fullmatch(line)) is None:
            raise MalformedError(line)
        found.append((match[1], match[2]))
        line, data = _line(data)
    return tuple(found), data


def _framing(message: Message, version: bytes) -> int | None:
    """The length of the body in bytes; None if it is chunked."""
    lengths, codings = message.values(b"content-length"), message.values(b"transfer-encoding")
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or version == b"HTTP/1.0":
            raise MalformedError(b"framing")
        return None
    if len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]{1,18}", length) for length in lengths):
        raise MalformedError(b"framing")
    return int(lengths[0]) if lengths else 0


def _body(message: Message, data: bytes, version: bytes) -> tuple[bytes, bytes, bool]:
    length = _framing(message, version)
    if length is not None:
        if len(data) < length:
            raise IncompleteError
        return data[:length], data[length:], False
    body = b""
    while True:
        line, data = _line(data)
        if (match := _CHUNK.fullmatch(line)) is None:
            raise MalformedError(line)
        size = int(match[1], 16)
        if not size:
            trailers, data = _fields(data)
            return body, data, bool(trailers)
        if len(data) < size + 2:
            raise IncompleteError
        body, end, data = body + data[:size], data[size : size + 2], data[size + 2 :]
        if end != b"\r\n":
            raise MalformedError(end)


_HOP = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"proxy-authenticate", b"proxy-authorization",
    b"http2-settings", b"transfer-encoding",
}  # fmt: skip


def end_to_end(message: Message) -> Fields:
    """The fields that are not hop-by-hop (RFC 9110, section 7.6.1)."""
    nominated = {option.strip().lower() for value in message.values(b"connection") for option in value.split(b",")}
    return tuple((name, value) for name, value in message.fields if name.lower() not in _HOP | nominated)


def forwarded(message: Message, local: bytes) -> Forwarded:
    """Method, target, fields and body that an origin must get, apart from chunk framing and the forwarding headers.

    `local`: the address that the client connected to, used as Host if an HTTP/1.0 request has none.
    """
    method, target, _version = message.start
    host = b""
    if absolute := re.fullmatch(rb"(?i:https?)://([^/?]+)(.*)", target):
        host, target = absolute[1], absolute[2]
        target = target if target.startswith(b"/") else b"/" + target if target or method != b"OPTIONS" else b"*"
    fields = tuple((name, host if host and name.lower() == b"host" else value) for name, value in end_to_end(message) if _accepted(name))
    if not message.values(b"host"):
        fields += ((b"Host", host or local),)
    return method, target, fields, message.body


def _accepted(name: bytes) -> bool:
    return b"_" not in name and not name.lower().startswith(b"x-forwarded-") and name.lower() not in (b"forwarded", b"x-real-ip")
