"""The load balancer's own responses: fixed texts; nothing of the request is echoed."""

from __future__ import annotations

from balance.lb.policy.faults import Fault

_PHRASES = {
    400: "Bad Request", 404: "Not Found", 408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long", 417: "Expectation Failed",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip
_REPLIES = {
    Fault.BAD_REQUEST: (400, "the request is malformed"),
    Fault.BAD_TARGET: (400, "the request target is invalid"),
    Fault.BAD_HOST: (400, "the Host header is repeated or invalid"),
    Fault.BAD_FRAMING: (400, "the body length is ambiguous or its chunked coding is invalid"),
    Fault.NO_ROUTE: (404, "no route matches the request"),
    Fault.HEADER_TIMEOUT: (408, "the head of the request did not arrive in time"),
    Fault.BODY_TIMEOUT: (408, "the body of the request did not arrive in time"),
    Fault.BODY_TOO_LARGE: (413, "the body of the request is too large"),
    Fault.TARGET_TOO_LONG: (414, "the request target is too long"),
    Fault.BAD_EXPECTATION: (417, "the only supported expectation is 100-continue"),
    Fault.CLIENT_LIMIT: (429, "too many concurrent requests from this client"),
    Fault.RATE_LIMITED: (429, "too many requests"),
    Fault.HEADER_TOO_LARGE: (431, "the head of the request is too large"),
    Fault.NOT_IMPLEMENTED: (501, "this method or transfer coding is not supported"),
    Fault.CONNECT_REFUSED: (502, "connection to the backend was refused"),
    Fault.CONNECT_FAILED: (502, "connection to the backend failed"),
    Fault.TLS_FAILED: (502, "TLS with the backend failed"),
    Fault.CLOSED_EARLY: (502, "the backend closed the connection before it responded"),
    Fault.INVALID_RESPONSE: (502, "the backend's response was invalid"),
    Fault.NO_BACKEND: (503, "no backend is available"),
    Fault.QUEUE_TIMEOUT: (503, "all backends are at their connection limit"),
    Fault.QUEUE_FULL: (503, "all backends are at their connection limit, and the queue is full"),
    Fault.OUT_OF_RESOURCES: (503, "the load balancer is out of sockets"),
    Fault.TOO_MANY_CONNECTIONS: (503, "too many connections"),
    Fault.CONNECT_TIMEOUT: (504, "connection to the backend timed out"),
    Fault.FIRST_BYTE_TIMEOUT: (504, "the backend did not respond in time"),
    Fault.BAD_VERSION: (505, "only HTTP/1.0 and HTTP/1.1 are supported"),
}


def status_of(fault: Fault) -> int:
    """The status of the response for this fault."""
    return _REPLIES[fault][0]


def reply(fault: Fault, *, close: bool, http10: bool = False, retry_after: int = 1) -> tuple[bytes, bytes]:
    """Head and body of the response for a fault. `close`: the connection is closed after it. `retry_after`: seconds, with 429 and 503."""
    status, reason = _REPLIES[fault]
    phrase = _PHRASES[status]
    body = f"{status} {phrase}: {reason}\n"
    lines = [f"HTTP/1.1 {status} {phrase}", "Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}"]
    if status in (429, 503):
        lines.append(f"Retry-After: {retry_after}")
    if close:
        lines.append("Connection: close")
    elif http10:
        lines.append("Connection: keep-alive")
    return "\r\n".join([*lines, "", ""]).encode(), body.encode()
