"""Everything that can go wrong with a request: a closed set, whose values are those of the access log and of the metrics.

The response to the client (status and text) is in `balance.lb.data.replies`. The side that a fault counts against is in the catalog
(`balance.lb.catalog.metrics.FAILURE_REASONS`); a test keeps both sets the same.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from enum import Enum


class Fault(Enum):
    """Why a request failed; `OK` if it did not fail."""

    OK = "ok"
    # caused by the client
    BAD_REQUEST = "bad_request"
    BAD_TARGET = "bad_target"
    BAD_HOST = "bad_host"
    BAD_FRAMING = "bad_framing"
    BAD_VERSION = "bad_version"
    HEADER_TIMEOUT = "header_timeout"
    BODY_TIMEOUT = "body_timeout"
    BODY_TOO_LARGE = "body_too_large"
    TARGET_TOO_LONG = "target_too_long"
    BAD_EXPECTATION = "bad_expectation"
    HEADER_TOO_LARGE = "header_too_large"
    NOT_IMPLEMENTED = "not_implemented"
    NO_ROUTE = "no_route"
    CLIENT_ABORT = "client_abort"
    CLIENT_STALLED = "client_stalled"
    # caused by the load balancer
    NO_BACKEND = "no_backend"
    QUEUE_TIMEOUT = "queue_timeout"
    QUEUE_FULL = "queue_full"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    CLIENT_LIMIT = "client_limit"
    RATE_LIMITED = "rate_limited"
    SHUTDOWN = "shutdown"
    OUT_OF_RESOURCES = "out_of_resources"
    TUNNEL_TIMEOUT = "tunnel_timeout"
    # caused by the backend
    CONNECT_REFUSED = "connect_refused"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_FAILED = "tls_failed"
    CLOSED_EARLY = "closed_early"
    INVALID_RESPONSE = "invalid_response"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    RESPONSE_TIMEOUT = "response_timeout"
    RESPONSE_TRUNCATED = "response_truncated"
    # a reason to retry, never to fail: without a further attempt, the response is passed on
    BAD_STATUS = "bad_status"


UNSENT = frozenset({Fault.CONNECT_REFUSED, Fault.CONNECT_FAILED, Fault.CONNECT_TIMEOUT, Fault.TLS_FAILED})
"""Faults after which the backend cannot have seen any of the request."""
LOCAL_FAULTS = frozenset({Fault.OUT_OF_RESOURCES})
"""Faults of an attempt that say nothing about the backend."""
ABORT_STATUSES = {Fault.CLIENT_ABORT: 499, Fault.CLIENT_STALLED: 499, Fault.SHUTDOWN: 503}
"""Status counted for a request that ended before there was a response; 499 is nginx's code for a client that left."""
LOCAL_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Socket errors of this machine that say nothing about a backend."""


def status_codes(ranges: Iterable[tuple[int, int]]) -> frozenset[int]:
    """All status codes in these inclusive ranges."""
    return frozenset(code for first, last in ranges for code in range(first, last + 1))
