"""Every series that balance exposes. A metric name is a string here and nowhere else."""

from __future__ import annotations

from balance.catalog.model import BYTES, INFO, SECONDS, STATE, Counter, Gauge, Histogram, Label, Merge, Metric, StateSet, Unit
from balance.catalog.registry import Catalog
from balance.catalog.standard import ALERTS, GO_RUNTIME, PYTHON_RUNTIME, UP
from balance.lb.catalog import thresholds

REQUESTS = Unit.of("requests")
CONNECTIONS = Unit.of("connections")
FAILURES = Unit.of("failures")
TUNNEL_UNIT = Unit.of("tunnels")
RETRIES = Unit.of("retries")
CHECKS = Unit.of("checks")
TRANSITIONS = Unit.of("transitions")
BACKENDS = Unit.of("backends")
LINES = Unit.of("lines")
HANDSHAKES = Unit.of("handshakes")
PROCESSES = Unit.of("processes")
RESTARTS = Unit.of("restarts")

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
BACKEND_STATUS_CLASS = Label("status_class", "Class of the backend's status code; none when it gave no response.", values=(*STATUS_CLASSES, "none"))
BACKEND = Label("backend", "Name of the backend, as configured or discovered.", bound=1000)
POOL = Label("pool", "Name of the pool of backends in the configuration.", bound=100)
UPDATE_RESULT = Label("result", "How the look ended: other backends, the same as before, or no answer.", values=("changed", "unchanged", "failed"))
DIRECTION = Label("direction", "Whether the bytes came from the client (in) or went to it (out).", values=("in", "out"))

FAILURE_REASONS = {
    "client": (
        "bad_request", "bad_target", "bad_host", "bad_framing", "bad_version", "header_timeout", "body_timeout", "body_too_large", "target_too_long",
        "bad_expectation", "header_too_large", "not_implemented", "no_route", "client_abort", "client_stalled",
    ),
    "balancer": (
        "no_backend", "queue_timeout", "queue_full", "too_many_connections", "client_limit", "rate_limited", "shutdown", "out_of_resources",
        "tunnel_timeout",
    ),
    "backend": (
        "connect_refused", "connect_failed", "connect_timeout", "tls_failed", "closed_early", "invalid_response", "first_byte_timeout",
        "response_timeout", "response_truncated",
    ),
}  # fmt: skip
"""Every reason why a request may fail, under whose doing it counts as."""
FAILURE_SOURCE = Label("source", "Whose doing it was.", values=tuple(FAILURE_REASONS))
FAILURE_REASON = Label("reason", "Why the request failed, as in the access log.", values=sum(FAILURE_REASONS.values(), ()))

RETRY_REASON = Label(
    "reason",
    "Why the attempt before had failed, as in the access log; bad_status: it was answered with one of retry.on_status.",
    values=(*FAILURE_REASONS["backend"], "out_of_resources", "bad_status"),
)
RETRY_END_REASONS = ("off", "unsafe", "attempts", "no_backend", "budget")
RETRY_END_REASON = Label(
    "reason",
    "Why not: retries are off, the request may have been acted on or cannot be sent again, it has had all its attempts, or too many "
    "retries are under way.",
    values=RETRY_END_REASONS,
)  # fmt: skip
QUEUE_REJECTIONS = ("timeout", "full")
QUEUE_REJECTION = Label("reason", "Whether it had waited too long or the queue was full.", values=QUEUE_REJECTIONS)
CHECK_RESULT = Label("result", "Whether the backend passed the check.", values=("passed", "failed"))
BACKEND_STATES = ("available", "drained", "unhealthy", "ejected", "breaker_open", "breaker_half_open")
"""In what state a backend can be; where several would fit, the one that keeps more requests away."""
FROM_STATE, TO_STATE = (
    Label(
        name,
        f"State {when} the transition: in rotation, or out of it, by whom or what.",
        values=BACKEND_STATES,
    )
    for name, when in (("from", "before"), ("to", "after"))
)
UPSTREAM_STATES = ("opened", "reused", "closed")
UPSTREAM_STATE = Label("state", "What became of a connection: opened, taken again for a further request, closed.", values=UPSTREAM_STATES)

HANDSHAKE_FAILURES = (
    "plain_http", "no_tls", "version", "cipher", "client_certificate", "refused_by_client", "closed_by_client", "unfinished", "other",
)  # fmt: skip
HANDSHAKE_FAILURE = Label(
    "reason",
    "Why it failed: no TLS was spoken, no common version or cipher, the client's certificate was missing or not acceptable, the client "
    "refused (it may not trust ours) or left, or it was not complete in time, at the limit of connections or when the load balancer stopped.",
    values=HANDSHAKE_FAILURES, other="other",
)  # fmt: skip
CERTIFICATE = Label("certificate", "First DNS name of the certificate, or the name of its file without suffix, as of the start.", bound=1000)
MAX_WORKERS = 64
WORKER = Label("worker", "Number of the worker process, from 0.", bound=MAX_WORKERS, pattern="[0-9]|[1-5][0-9]|6[0-3]")

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
PHASE_DURATIONS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30)
"""Every bound one of `DURATIONS`, but fewer of them: for a histogram of each backend, of which there may be a thousand."""
OVERHEADS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1)
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
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

PROXY_OVERHEAD = Histogram(
    "balance_proxy_overhead_seconds",
    "Time that a request was in the load balancer's own hands: from its head (or from the last thing that it had to wait for: a place in the "
    "queue, a connection, the pause before a retry) until it was sent, and from the first byte of the response until that was passed on.",
    SECONDS, buckets=OVERHEADS,
)  # fmt: skip
RETRIED = Counter("balance_retries_total", "Attempts that failed and were followed by another, by why they failed.", RETRIES, (RETRY_REASON,))
RETRIES_EXHAUSTED = Counter(
    "balance_retries_exhausted_total", "Requests that got no response from a backend, or one of retry.on_status, and no further attempt.",
    REQUESTS, (RETRY_END_REASON,),
)  # fmt: skip
RETRY_SUCCESS = Counter("balance_retry_success_total", "Requests that a backend answered well after an attempt that had failed.", REQUESTS)
RETRY_BUDGET = Gauge("balance_retry_budget_remaining", "Further retries that the budget would allow at this moment.", RETRIES)

TUNNELS_ACTIVE = Gauge("balance_tunnels_active", "Connections that go on in another protocol after a 101 (WebSocket and others).", TUNNEL_UNIT)
TUNNELS = Counter("balance_tunnels_total", "Tunnels opened: requests that were answered with 101.", TUNNEL_UNIT)
TUNNEL_BYTES = Counter("balance_tunnel_bytes_total", "Bytes that went through tunnels, counted as they arrive.", BYTES, (DIRECTION,))

BACKEND_HEALTHY = Gauge(
    "balance_backend_healthy", "Whether the backend is in rotation by its health checks (1) or not (0).",
    STATE, (BACKEND,), merge=Merge.MIN,
)  # fmt: skip
BACKEND_CONNECTIONS = Gauge("balance_backend_connections", "Open connections to the backend, idle ones included.", CONNECTIONS, (BACKEND,))
BACKEND_REQUESTS = Counter(
    "balance_backend_requests_total",
    "Attempts to have the backend answer a request, retries included; a repeat after it closed an idle connection is the same attempt.",
    REQUESTS, (BACKEND, BACKEND_STATUS_CLASS),
)  # fmt: skip
BACKEND_RETRIES = Counter(
    "balance_backend_retries_total", "Attempts that were repetitions of a request that had failed before, by the backend that received them.",
    REQUESTS, (BACKEND,),
)  # fmt: skip

BACKEND_CONNECT_DURATION = Histogram(
    "balance_backend_connect_duration_seconds",
    "Time until a connection to a backend of the pool was open, its TLS handshake included; failures are left out.",
    SECONDS, (POOL,), buckets=DURATIONS,
)  # fmt: skip
BACKEND_FIRST_BYTE = Histogram(
    "balance_backend_first_byte_duration_seconds",
    "Time from the head of a request being sent until the first byte of the response's head; counted when the attempt has ended.",
    SECONDS, (BACKEND,), buckets=PHASE_DURATIONS,
)  # fmt: skip
UPSTREAM_CONNECTIONS = Counter(
    "balance_upstream_connections_total", "Connections to the backend by what became of them; those opened less those closed are open.",
    CONNECTIONS, (BACKEND, UPSTREAM_STATE),
)  # fmt: skip
UPSTREAM_IDLE = Gauge("balance_upstream_connections_idle", "Open connections to the backend that wait for a request.", CONNECTIONS, (BACKEND,))
QUEUE_DEPTH = Gauge("balance_backend_queue_depth", "Requests that wait because all available backends are at their limit.", REQUESTS, (POOL,))
QUEUE_DURATION = Histogram(
    "balance_backend_queue_duration_seconds", "Time that a request had waited when it left the queue, for whatever reason.",
    SECONDS, (POOL,), buckets=DURATIONS,
)  # fmt: skip
QUEUE_REJECTED = Counter(
    "balance_backend_queue_rejected_total", "Requests that were refused instead of waiting on.", REQUESTS, (POOL, QUEUE_REJECTION)
)
BACKENDS_AVAILABLE = Gauge("balance_backends_available", "Backends whose health and breaker let a request pass.", BACKENDS, (POOL,), merge=Merge.MIN)
BACKEND_TRANSITIONS = Counter(
    "balance_backend_state_transitions_total", "How often the backend went from one state to another.",
    TRANSITIONS, (BACKEND, FROM_STATE, TO_STATE),
)  # fmt: skip
HEALTH_CHECKS = Counter("balance_health_checks_total", "Active health checks of the backend.", CHECKS, (BACKEND, CHECK_RESULT))
HEALTH_CHECK_DURATION = Histogram(
    "balance_health_check_duration_seconds", "How long an active health check of a backend of the pool took.", SECONDS, (POOL,), buckets=DURATIONS
)

ACTIVE_CONNECTIONS = Gauge("balance_active_connections", "Open client connections, idle ones included.", CONNECTIONS)
CONNECTIONS_LIMIT = Gauge("balance_connections_limit", "Configured limit of open client connections.", CONNECTIONS)
CONNECTIONS_ACCEPTED = Counter("balance_connections_total", "Client connections accepted, those refused at the limit included.", CONNECTIONS)

REJECTIONS = ("limit", "client_limit", "denied", "stopping")
CONNECTIONS_REJECTED = Counter(
    "balance_connections_rejected_total", "Client connections that were not let in, by the reason.",
    CONNECTIONS, (Label("reason", "The limit that was reached, the client's own, a network that is denied, or a stop.", values=REJECTIONS),),
)  # fmt: skip
POOL_PANICKING = Gauge(
    "balance_pool_panic_mode", "Whether so few backends of the pool are healthy that health is ignored (1) or not (0).",
    STATE, (POOL,), merge=Merge.MAX,
)  # fmt: skip
EJECTIONS = Counter(
    "balance_backend_ejections_total", "How often outlier detection took the backend out of rotation, by the reason.",
    Unit.of("ejections"), (BACKEND, Label("reason", "What gave it away.", values=("consecutive_failures", "error_ratio"))),
)  # fmt: skip

CIRCUIT_BREAKER_STATE = StateSet(
    "balance_circuit_breaker_state", "State of the backend's circuit breaker: 1 for the one that holds; each that holds in one of several workers.",
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
    HANDSHAKES, (HANDSHAKE_FAILURE,),
)  # fmt: skip

CONFIG_SUCCESSFUL = Gauge(
    "balance_config_last_reload_successful", "Whether the last attempt to load the configuration was successful (1) or not (0).",
    STATE, merge=Merge.MIN,
)  # fmt: skip
CONFIG_TIMESTAMP = Gauge(
    "balance_config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded, in seconds since the unix epoch.",
    SECONDS, merge=Merge.MIN,
)  # fmt: skip
CONFIG_INFO = Gauge(
    "balance_config_info", "Digest of the configuration in force; always 1.",
    INFO, (Label("hash", "The first 12 digits of the SHA-256 of what the configuration means.", bound=2, pattern="[0-9a-f]{12}"),), merge=Merge.MAX,
)  # fmt: skip
EVENT_LOOP_LAG = Histogram(
    "balance_event_loop_lag_seconds", "By how much the worker's clock, which ticks four times a second, was late: its loop was busy.",
    SECONDS, (WORKER,), buckets=LAGS, thresholds=(thresholds.EVENT_LOOP_LAG,),
)  # fmt: skip
ACCESS_LOG_DROPPED = Counter("balance_access_log_dropped_total", "Lines of the access log that nobody took fast enough, or at all.", LINES)

DISCOVERY_UPDATES = Counter(
    "balance_discovery_updates_total", "Looks at where the backends of the pool are discovered, in DNS or a file, by how they ended.",
    Unit.of("looks"), (POOL, UPDATE_RESULT),
)  # fmt: skip
DISCOVERY_TIMESTAMP = Gauge(
    "balance_discovery_last_success_timestamp_seconds",
    "When the last look that did not fail was made, in seconds since the unix epoch; 0 before. Of several workers, the one that is behind.",
    SECONDS, (POOL,), merge=Merge.MIN,
)  # fmt: skip
DISCOVERY_BACKENDS = Gauge(
    "balance_discovery_backends", "Backends in the last answer for the pool, those included that had to be left out.",
    BACKENDS, (POOL,), merge=Merge.MAX,
)  # fmt: skip

WORKERS = Gauge("balance_workers", "Worker processes that serve now.", PROCESSES)
WORKERS_CONFIGURED = Gauge("balance_workers_configured", "Worker processes that there are to be.", PROCESSES)
WORKER_RESTARTS = Counter(
    "balance_worker_restarts_total", "Starts of a worker process in the place of one that had ended, failed ones included.", RESTARTS, (WORKER,)
)
WORKER_CONNECTIONS = Gauge("balance_worker_connections", "Open client connections of the worker.", CONNECTIONS, (WORKER,))
WORKER_IN_FLIGHT = Gauge("balance_worker_requests_in_flight", "Requests that the worker has not answered in full.", REQUESTS, (WORKER,))
WORKER_MEMORY = Gauge("balance_worker_resident_memory_bytes", "Resident memory size of the worker.", BYTES, (WORKER,))

BUILD_INFO = Gauge(
    "balance_build_info", "Version of balance and of Python; always 1.",
    INFO, (Label("version", "Version of balance.", bound=2), Label("python", "Version of Python.", bound=2)), merge=Merge.MAX,
)  # fmt: skip

SERVICE: dict[str, tuple[Metric, ...]] = {
    "HTTP Metrics": (
        HTTP_REQUESTS, HTTP_REQUESTS_IN_FLIGHT, HTTP_REQUEST_DURATION, HTTP_REQUEST_SIZE, HTTP_RESPONSE_SIZE, REQUEST_FAILURES, PROXY_OVERHEAD,
    ),
    "Retry Metrics": (RETRIED, RETRIES_EXHAUSTED, RETRY_SUCCESS, RETRY_BUDGET),
    "Tunnel Metrics": (TUNNELS_ACTIVE, TUNNELS, TUNNEL_BYTES),
    "Backend Metrics": (
        BACKEND_HEALTHY, BACKEND_CONNECTIONS, BACKEND_REQUESTS, BACKEND_RETRIES, BACKEND_CONNECT_DURATION, BACKEND_FIRST_BYTE,
        UPSTREAM_CONNECTIONS, UPSTREAM_IDLE, QUEUE_DEPTH, QUEUE_DURATION, QUEUE_REJECTED,
        BACKENDS_AVAILABLE, BACKEND_TRANSITIONS, HEALTH_CHECKS, HEALTH_CHECK_DURATION, POOL_PANICKING, EJECTIONS,
    ),
    "Connection Metrics": (ACTIVE_CONNECTIONS, CONNECTIONS_LIMIT, CONNECTIONS_ACCEPTED, CONNECTIONS_REJECTED),
    "Circuit Breaker Metrics": (CIRCUIT_BREAKER_STATE, CIRCUIT_BREAKER_FAILURES),
    "TLS Metrics": (TLS_NOT_AFTER, TLS_HANDSHAKE_FAILURES),
    "Configuration and Log Metrics": (CONFIG_SUCCESSFUL, CONFIG_TIMESTAMP, CONFIG_INFO, ACCESS_LOG_DROPPED, BUILD_INFO),
    "Discovery Metrics": (DISCOVERY_UPDATES, DISCOVERY_TIMESTAMP, DISCOVERY_BACKENDS),
    "Worker Metrics": (WORKERS, WORKERS_CONFIGURED, WORKER_RESTARTS, WORKER_CONNECTIONS, WORKER_IN_FLIGHT, WORKER_MEMORY, EVENT_LOOP_LAG),
}  # fmt: skip
"""The metrics of the service itself, under the headings of the reference."""
CATALOG = Catalog("balance", {**SERVICE, "System Metrics": PYTHON_RUNTIME}, thresholds=thresholds.THRESHOLDS, external=(UP, ALERTS, *GO_RUNTIME))
"""What `balance serve` exposes; `up` and `ALERTS` come from Prometheus, the Go metrics from a Go service that uses the same rules."""
