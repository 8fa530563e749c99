"""Who ended a request, and how far it had come: a closed set of words for the access log.

Theory. A reason says what went wrong (`Fault`), but not when: a client may leave while it sends, while it waits or while it reads, and
each points at somebody else. So every line also has who and where, as HAProxy's two letters do.
"""

from __future__ import annotations

from enum import Enum

from balance.lb.catalog.metrics import FAILURE_REASONS
from balance.lb.policy.faults import Fault

COMPLETE = "complete"
"""Nobody ended it before its time."""


class RequestPhase(Enum):
    """How far a request had come."""

    REQUEST = "request"
    """it was being received"""
    QUEUE = "queue"
    """a backend was being looked for, or waited for, be it after an attempt that failed"""
    CONNECT = "connect"
    """a connection to the backend was being opened"""
    RESPONSE = "response"
    """the backend had the request, and not answered"""
    BODY = "body"
    """the response was being passed on"""
    TUNNEL = "tunnel"


_SOURCE = {Fault(reason): source for source, reasons in FAILURE_REASONS.items() for reason in reasons}
_ANY_TIME = (Fault.CLIENT_ABORT, Fault.CLIENT_STALLED)
"""What a client can do at any time; its other faults are in the request itself, however far that had been passed on."""
_WORDS = {
    (fault, phase): f"{who}_{phase.value if who != 'client' or fault in _ANY_TIME else RequestPhase.REQUEST.value}"
    for fault, who in _SOURCE.items()
    for phase in RequestPhase
}


def termination(fault: Fault, phase: RequestPhase) -> str:
    """The word for a request that ended by `fault` in `phase`."""
    return _WORDS.get((fault, phase), COMPLETE)
