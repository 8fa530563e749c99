"""Every series that balance exposes. A metric name is a string here and nowhere else."""

from __future__ import annotations

from balance.catalog import thresholds
from balance.catalog.model import BYTES, INFO, SECONDS, STATE, Counter, Gauge, Histogram, Label, Merge, Metric, StateSet, Unit
from balance.catalog.registry import Catalog
from balance.record import Record

REQUESTS, CONNECTIONS, FAILURES = map(Unit.of, ("requests", "connections", "failures"))
TUNNEL = Unit.of("tunnels")
HANDSHAKES, TASKS, DESCRIPTORS, COLLECTIONS = map(Unit.of, ("handshakes", "tasks", "descriptors", "collections"))

METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
METHOD = Label("method", "Request method of RFC 9110 section 9.3, RFC 5789; OTHER for any other token.", values=(*METHODS, "OTHER"), other="OTHER")
STATUS_RANGES = ((100, 103), (200, 208), (226, 226), (300, 308), (400, 499), (500, 599))
"""IANA's registry up to 308; all errors, because 499, 520 and their like are everyday and must count as what they are."""
STATUS = Label(
    "status", "Status code of the response, as the client saw it; OTHER for one below 400 that IANA's registry does not have.",
    values=(*(str(code) for first, last in STATUS_RANGES for code in range(first, last + 1)), "OTHER"), other="OTHER",
)  # fmt: skip
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
STATUS_CLASS = Label("status_class", "Class of the status code.", values=STATUS_CLASSES)
OUTCOME = Label("status_class", "Class of the backend's status code; none when it gave no response.", values=(*STATUS_CLASSES, "none"))
BACKEND = Label("backend", "Name of the backend in the configuration.", bound=1000)
DIRECTION = Label("direction", "Whether the bytes came from the client (in) or went to it (out).", values=("in", "out"))

FAILURE_REASONS = {
    "client": (
        "bad_request", "bad_target", "bad_host", "bad_framing", "bad_version", "header_timeout", "body_timeout", "body_too_large", "target_too_long",
        "bad_expectation", "header_too_large", "not_implemented", "client_abort", "client_stalled",
    ),
    "balancer": ("no_backend", "queue_timeout", "too_many_connections", "shutdown", "out_of_resources", "tunnel_timeout"),
    "backend": (
        "connect_refused", "connect_failed", "connect_timeout", "tls_failed", "closed_early", "invalid_response", "first_byte_timeout",
        "response_timeout", "response_truncated",
    ),
}  # fmt: skip
"""Every reason why a request may fail, under whose doing it counts as."""
FAILURE_SOURCE = Label("source", "Whose doing it was.", values=tuple(FAILURE_REASONS))
FAILURE_REASON = Label("reason", "Why the request failed, as in the access log.", values=sum(FAILURE_REASONS.values(), ()))

HANDSHAKE_FAULTS = (
    "plain_http", "no_tls", "version", "cipher", "client_certificate", "refused_by_client", "closed_by_client", "unfinished", "other",
)  # fmt: skip
HANDSHAKE_FAULT = Label(
    "reason",
    "Why it failed: no TLS was spoken, no common version or cipher, the client's certificate was missing or not acceptable, the client "
    "refused (it may not trust ours) or left, or it was not complete in time, at the limit of connections or when the load balancer stopped.",
    values=HANDSHAKE_FAULTS, other="other",
)  # fmt: skip
CERTIFICATE = Label("certificate", "First DNS name of the certificate, or the name of its file without suffix, as of the start.", bound=1000)

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
SIZES = tuple(float(256 * 4**power) for power in range(10))

HTTP_REQUESTS = Counter(
    "balance_http_requests_total",
    "Requests by the status that the client got, the load balancer's own included; 499 if it left before there was one.",
    REQUESTS, (METHOD, STATUS),
)  # fmt: skip
HTTP_REQUESTS_IN_FLIGHT = Gauge("balance_http_requests_in_flight", "Requests that have not been answered in full; tunnels are none.", REQUESTS)
HTTP_REQUEST_DURATION = Histogram(
    "balance_http_request_duration_seconds", "Time from the first byte of a request to the last byte of its response.",
    SECONDS, (METHOD, STATUS_CLASS), buckets=DURATIONS, thresholds=(thresholds.LATENCY_P99,),
)  # fmt: skip
HTTP_REQUEST_SIZE = Histogram("balance_http_request_size_bytes", "Size of request bodies.", BYTES, buckets=SIZES)
HTTP_RESPONSE_SIZE = Histogram("balance_http_response_size_bytes", "Size of response bodies.", BYTES, buckets=SIZES)
REQUEST_FAILURES = Counter(
    "balance_request_failures_total", "Requests that ended other than well, by whose doing that was and why; each counts once.",
    REQUESTS, (FAILURE_SOURCE, FAILURE_REASON),
)  # fmt: skip

TUNNELS_ACTIVE = Gauge("balance_tunnels_active", "Connections that go on in another protocol after a 101 (WebSocket and others).", TUNNEL)
TUNNELS = Counter("balance_tunnels_total", "Tunnels opened: requests that were answered with 101.", TUNNEL)
TUNNEL_BYTES = Counter("balance_tunnel_bytes_total", "Bytes that went through tunnels, counted as they arrive.", BYTES, (DIRECTION,))

BACKEND_HEALTHY = Gauge(
    "balance_backend_healthy", "Whether the backend is in rotation by its health checks (1) or not (0).",
    STATE, (BACKEND,), merge=Merge.MIN,
)  # fmt: skip
BACKEND_CONNECTIONS = Gauge("balance_backend_connections", "Open connections to the backend, idle ones included.", CONNECTIONS, (BACKEND,))
BACKEND_REQUESTS = Counter(
    "balance_backend_requests_total",
    "Attempts to have the backend answer a request, retries included; a repeat after it closed an idle connection is the same attempt.",
    REQUESTS, (BACKEND, OUTCOME),
)  # fmt: skip
BACKEND_RETRIES = Counter(
    "balance_backend_retries_total", "Attempts that were repetitions of a request that had failed before, by the backend that received them.",
    REQUESTS, (BACKEND,),
)  # fmt: skip

ACTIVE_CONNECTIONS = Gauge("balance_active_connections", "Open client connections, idle ones included.", CONNECTIONS)
CONNECTIONS_LIMIT = Gauge("balance_connections_limit", "Configured limit of open client connections.", CONNECTIONS, merge=Merge.MAX)
CONNECTIONS_ACCEPTED = Counter("balance_connections_total", "Client connections accepted, those refused at the limit included.", CONNECTIONS)

CIRCUIT_BREAKER_STATE = StateSet(
    "balance_circuit_breaker_state", "State of the backend's circuit breaker: 1 for the one that holds.",
    STATE, (BACKEND,), merge=Merge.MAX, states=("closed", "open", "half_open"),
)  # fmt: skip
CIRCUIT_BREAKER_FAILURES = Counter(
    "balance_circuit_breaker_failures_total", "Failed attempts that the backend's circuit breaker counted.",
    FAILURES, (BACKEND,),
)  # fmt: skip

TLS_NOT_AFTER = Gauge(
    "balance_tls_certificate_not_after_seconds",
    "When the certificate in use expires, in seconds since the unix epoch; the earliest of those that go by the name. Absent without TLS.",
    SECONDS, (CERTIFICATE,), merge=Merge.MIN,
)  # fmt: skip
TLS_HANDSHAKE_FAILURES = Counter(
    "balance_tls_handshake_failures_total", "Client connections that ended before TLS was agreed on, by reason. Absent without TLS.",
    HANDSHAKES, (HANDSHAKE_FAULT,),
)  # fmt: skip

BUILD_INFO = Gauge(
    "balance_build_info", "Version of balance and of Python; always 1.",
    INFO, (Label("version", "Version of balance.", bound=2), Label("python", "Version of Python.", bound=2)), merge=Merge.MAX,
)  # fmt: skip

PROCESS_CPU = Counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", SECONDS)
PROCESS_RESIDENT = Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", BYTES)
PROCESS_VIRTUAL = Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", BYTES)
PROCESS_START = Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", SECONDS, merge=Merge.MIN)
PROCESS_OPEN_FDS = Gauge("process_open_fds", "Number of open file descriptors.", DESCRIPTORS)
PROCESS_MAX_FDS = Gauge("process_max_fds", "Maximum number of open file descriptors.", DESCRIPTORS)
PYTHON_TASKS = Gauge("python_asyncio_tasks", "Number of asyncio tasks that have not finished.", TASKS)
PYTHON_GC_COLLECTIONS = Counter(
    "python_gc_collections_total", "Number of times this generation was collected.",
    COLLECTIONS, (Label("generation", "Generation of the garbage collector.", values=("0", "1", "2")),),
)  # fmt: skip

UP = Gauge("up", "Whether Prometheus could scrape the target (1) or not (0).", STATE)

GO_GOROUTINES = Gauge("go_goroutines", "Number of goroutines that currently exist.", Unit.of("goroutines"))
GO_ALLOC = Gauge("go_memstats_alloc_bytes", "Number of bytes allocated and still in use.", BYTES)
GO_SYS = Gauge("go_memstats_sys_bytes", "Number of bytes obtained from system.", BYTES)


class Runtime(Record):
    """The metrics that tell how the process of a service is doing, for the language that it is written in."""

    tasks: Gauge
    allocated: Gauge
    system: Gauge


RUNTIMES = {
    "python": Runtime(PYTHON_TASKS, PROCESS_RESIDENT, PROCESS_VIRTUAL),
    "go": Runtime(GO_GOROUTINES, GO_ALLOC, GO_SYS),
}

SERVICE: tuple[Metric, ...] = (
    HTTP_REQUESTS, HTTP_REQUESTS_IN_FLIGHT, HTTP_REQUEST_DURATION, HTTP_REQUEST_SIZE, HTTP_RESPONSE_SIZE, REQUEST_FAILURES,
    TUNNELS_ACTIVE, TUNNELS, TUNNEL_BYTES,
    BACKEND_HEALTHY, BACKEND_CONNECTIONS, BACKEND_REQUESTS, BACKEND_RETRIES,
    ACTIVE_CONNECTIONS, CONNECTIONS_LIMIT, CONNECTIONS_ACCEPTED,
    CIRCUIT_BREAKER_STATE, CIRCUIT_BREAKER_FAILURES, TLS_NOT_AFTER, TLS_HANDSHAKE_FAILURES, BUILD_INFO,
)  # fmt: skip
PYTHON_RUNTIME: tuple[Metric, ...] = (
    PROCESS_CPU, PROCESS_RESIDENT, PROCESS_VIRTUAL, PROCESS_START, PROCESS_OPEN_FDS, PROCESS_MAX_FDS, PYTHON_TASKS, PYTHON_GC_COLLECTIONS,
)  # fmt: skip
GO_RUNTIME: tuple[Metric, ...] = (GO_GOROUTINES, GO_ALLOC, GO_SYS)

CATALOG = Catalog("balance", (*SERVICE, *PYTHON_RUNTIME), thresholds=thresholds.THRESHOLDS, external=(UP, *GO_RUNTIME))
"""What `balance serve` exposes; `up` comes from Prometheus, the Go metrics from a Go service that uses the same rules."""
