"""Trace context of W3C (www.w3.org/TR/trace-context-2): whose trace a request is part of, and a new one for those that have none.

The balancer keeps what it gets, for it is no span of its own: a valid ``traceparent`` goes through byte for byte, and so does
``tracestate``. What is not valid goes through too, unless a new trace is begun, which then takes the place of both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_ID = rb"(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_VALID = re.compile(rb"00-" + _ID + rb"|(?!00|ff)[0-9a-f]{2}-" + _ID + rb"(?:-[!-~]*)?")


def trace_id(values: Sequence[bytes]) -> str:
    """The id in the values of all ``traceparent`` fields of a request, 32 hexadecimal digits; empty if they are not one valid value
    (version 0 exactly, later ones as far as they are to be understood)."""
    match = _VALID.fullmatch(values[0]) if len(values) == 1 else None
    return (match[1] or match[2]).decode() if match else ""


def begin() -> tuple[str, bytes]:
    """The id of a new trace, and the value of ``traceparent`` that begins it, as one that is not sampled."""
    trace = f"{random.getrandbits(128) or 1:032x}"
    return trace, f"00-{trace}-{random.getrandbits(64) or 1:016x}-00".encode()
