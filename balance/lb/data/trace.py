"""W3C Trace Context (www.w3.org/TR/trace-context-2): reads trace ids, and starts a trace for requests without one.

The load balancer is not a span of its own, so it passes on ``traceparent`` and ``tracestate`` unchanged. Invalid fields are passed on
too, unless a new trace is started, which replaces both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_ID = rb"(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_VALID = re.compile(rb"00-" + _ID + rb"|(?!00|ff)[0-9a-f]{2}-" + _ID + rb"(?:-[!-~]*)?")


def trace_id(values: Sequence[bytes]) -> str:
    """The trace id (32 hex digits) in the values of a request's ``traceparent`` fields; empty unless there is exactly one valid value
    (version 0 exactly, later versions as far as version 0 goes)."""
    match = _VALID.fullmatch(values[0]) if len(values) == 1 else None
    return (match[1] or match[2]).decode() if match else ""


def begin() -> tuple[str, bytes]:
    """The id of a new trace, and its ``traceparent`` value, not sampled."""
    trace = f"{random.getrandbits(128) or 1:032x}"
    return trace, f"00-{trace}-{random.getrandbits(64) or 1:016x}-00".encode()
