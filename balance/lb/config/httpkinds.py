"""Kinds of values from HTTP: status codes, paths, header fields, and request rates."""

from __future__ import annotations

import re
from typing import Any

from balance.config.kinds import MASK, Kind, Text

DOTTED = re.compile(r"(?:[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=[/\\;?]|%2f|%5c|%3b|$)", re.IGNORECASE)
"""A dot segment of a path (RFC 3986 section 5.2.4), in all spellings that servers decode: percent-encoded, after a backslash, or with a
parameter (``..;``), which some servers remove first."""
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}"  # noqa: S105 -- a token of RFC 9110 section 5.6.2
_MANAGED = frozenset({
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
    "proxy-authenticate", "proxy-authorization", "content-length", "expect", "host",
})  # fmt: skip
_FORWARDING = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"})
_PERIODS = {"s": 1, "m": 60, "h": 3600}


class Statuses(Kind):
    """``204`` or ``200-399``: an inclusive range of status codes, as a pair."""

    noun = "status"
    words = "204 or 200-399"

    def parse(self, text: str) -> tuple[int, int]:
        match = re.fullmatch(r"([2-5]\d\d)(?:-([2-5]\d\d))?", text)
        if not match or int(match[1]) > int(match[2] or match[1]):
            raise self.invalid(text, "write it like 204 or 200-399, from 200 to 599")
        return int(match[1]), int(match[2] or match[1])

    def written(self, value: tuple[int, int]) -> Any:
        first, last = value
        return first if first == last else f"{first}-{last}"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 200, "maximum": 599}, {"type": "string", "pattern": "^[2-5][0-9]{2}(-[2-5][0-9]{2})?$"}]}


class RequestTarget(Text):
    """The target of a request; its query is masked, since it may hold a key."""

    def shown(self, value: str) -> Any:
        path, mark, _query = value.partition("?")
        return path + mark + MASK * bool(mark)


class Prefix(Kind):
    """A path prefix of whole segments: ``/api`` and ``/api/`` are the same. An empty text means no prefix."""

    noun = "path"
    words = "a path prefix: /api"

    def parse(self, text: str) -> str:
        if text and (not re.fullmatch(r"/[!-~]*", text) or set("?#*") & set(text)):
            raise self.invalid(text, "write it like /api: printable ASCII without spaces, ?, # and *")
        if DOTTED.search(text):
            raise self.invalid(text, "it has a dot segment: requests with dot segments are rejected")
        return text.rstrip("/") or text[:1]

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(/[!-~]*)?$"}


class FieldName(Kind):
    """The name of a header field that a route may match or edit: not hop-by-hop, not for framing, and not managed by `forwarding`.

    `matched`: also refuse fields that are removed before matching, and convert the name to lower case.
    """

    noun = "header name"
    words = "a header name"

    def __init__(self, *, matched: bool = False) -> None:
        self.matched = matched

    def parse(self, text: str) -> str:
        name = text.lower()
        if not re.fullmatch(TOKEN, text):
            raise self.invalid(text, "letters, digits and dashes")
        if name == "host" and self.matched:
            raise self.invalid(text, "write it as match.host")
        if name in _MANAGED:
            raise self.invalid(text, "the load balancer manages this field")
        if name in _FORWARDING or (self.matched and name.startswith("x-forwarded-")):
            raise self.invalid(text, "use the section forwarding")
        if self.matched and "_" in name:
            raise self.invalid(text, "names with an underscore are dropped from requests: use dashes")
        return name if self.matched else text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{TOKEN}$"}


class FieldValue(Kind):
    """The value of a header field: no control characters, no surrounding spaces."""

    noun = "header value"

    def parse(self, text: str) -> str:
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text) or text != text.strip() or len(text) > 4096:
            raise self.invalid(text[:40], "at most 4096 characters, no control characters, no surrounding spaces")
        return text

    def shown(self, value: str) -> Any:
        """The value, masked: any header field may hold credentials."""
        return MASK if value else ""

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean", "null"]}


class Rate(Kind):
    """``100/s``, ``10/m`` or ``1000/h``, as events per second."""

    noun = "rate"
    words = "100/s, 10/m or 1000/h"

    def parse(self, text: str) -> float:
        match = re.fullmatch(r"([1-9]\d{0,6})/(s|m|h)", text)
        if not match:
            raise self.invalid(text, f"write it like {self.words}")
        return int(match[1]) / _PERIODS[match[2]]

    def written(self, value: float) -> Any:
        return next(f"{events:.0f}/{unit}" for unit, seconds in _PERIODS.items() if round(events := value * seconds) / seconds == value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[1-9][0-9]{0,6}/(s|m|h)$"}
