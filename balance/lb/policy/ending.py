"""Which side ended a request and in which phase: the closed set of values of `termination` in the access log.

Theory. A reason (`Fault`) says what went wrong, but not when: a client may leave while it sends, waits or reads, and each points to
another cause. So every line of the access log also has the side and the phase, like HAProxy's two-letter termination state.
"""

from __future__ import annotations

from enum import Enum

from balance.lb.catalog.metrics import FAILURE_REASONS
from balance.lb.policy.faults import Fault

COMPLETE = "complete"
"""The request ended normally."""


class RequestPhase(Enum):
    """The phase that a request is in."""

    REQUEST = "request"
    """the request is being received"""
    QUEUE = "queue"
    """a backend is being chosen or waited for, also after a failed attempt"""
    CONNECT = "connect"
    """a connection to the backend is being opened"""
    RESPONSE = "response"
    """the backend has the request and has not responded yet"""
    BODY = "body"
    """the response is being passed on"""
    TUNNEL = "tunnel"
    """the connection has switched to another protocol"""


_SOURCE = {Fault(reason): source for source, reasons in FAILURE_REASONS.items() for reason in reasons}
_ANY_TIME = (Fault.CLIENT_ABORT, Fault.CLIENT_STALLED)
"""Faults of a client that can occur in any phase; its other faults are in the request, even if part of it was already passed on."""
_WORDS = {
    (fault, phase): f"{who}_{phase.value if who != 'client' or fault in _ANY_TIME else RequestPhase.REQUEST.value}"
    for fault, who in _SOURCE.items()
    for phase in RequestPhase
}


def termination(fault: Fault, phase: RequestPhase) -> str:
    """The `termination` of a request that ended with `fault` in `phase`, for example ``client_response``; `COMPLETE` for `Fault.OK`."""
    return _WORDS.get((fault, phase), COMPLETE)
