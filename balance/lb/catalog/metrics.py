"""Every metric that balance exposes. A metric's name is written here and nowhere else."""

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
"""IANA's registry up to 308, and every 4xx and 5xx code: unregistered ones such as 499 and 520 are common and counted under their own value."""
STATUS = Label(
    "status", "Status code of the response that the client saw; OTHER for a code below 400 that IANA has not registered.",
    values=(*(str(code) for first, last in STATUS_RANGES for code in range(first, last + 1)), "OTHER"), other="OTHER",
)  # fmt: skip
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
STATUS_CLASS = Label("status_class", "Class of the status code.", values=STATUS_CLASSES)
BACKEND_STATUS_CLASS = Label("status_class", "Class of the backend's status code; none if it sent no response.", values=(*STATUS_CLASSES, "none"))
BACKEND = Label("backend", "Name of the backend, as configured or discovered.", bound=1000)
POOL = Label("pool", "Name of the pool of backends in the configuration.", bound=100)
UPDATE_RESULT = Label("result", "Result of the update: other backends, the same as before, or no answer.", values=("changed", "unchanged", "failed"))
DIRECTION = Label("direction", "Direction of the bytes: from the client (in) or to the client (out).", values=("in", "out"))

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
"""Every reason why a request can fail, by the side that is counted as its cause."""
FAILURE_SOURCE = Label("source", "Side that caused the failure.", values=tuple(FAILURE_REASONS))
FAILURE_REASON = Label("reason", "Why the request failed, as in the access log.", values=sum(FAILURE_REASONS.values(), ()))

RETRY_REASON = Label(
    "reason",
    "Why the previous attempt failed, as in the access log; bad_status: its response status is listed in retry.on_status.",
    values=(*FAILURE_REASONS["backend"], "out_of_resources", "bad_status"),
)
RETRY_END_REASONS = ("off", "unsafe", "attempts", "no_backend", "budget")
RETRY_END_REASON = Label(
    "reason",
    "Why there was no further attempt: retries are off, repeating the request is not safe or not possible, all attempts are used, "
    "no backend is available, or the retry budget is spent.",
    values=RETRY_END_REASONS,
)  # fmt: skip
QUEUE_REJECTIONS = ("timeout", "full")
QUEUE_REJECTION = Label("reason", "Why it was rejected: it waited too long, or the queue was full.", values=QUEUE_REJECTIONS)
CHECK_RESULT = Label("result", "Result of the check.", values=("passed", "failed"))
BACKEND_STATES = ("available", "drained", "unhealthy", "ejected", "breaker_open", "breaker_half_open")
"""States of a backend; if several apply, the one that keeps more requests away."""
FROM_STATE, TO_STATE = (
    Label(
        name,
        f"State {when} the transition: in rotation (available), or why it is not.",
        values=BACKEND_STATES,
    )
    for name, when in (("from", "before"), ("to", "after"))
)
UPSTREAM_STATES = ("opened", "reused", "closed")
UPSTREAM_STATE = Label("state", "What happened to a connection: opened, reused for another request, or closed.", values=UPSTREAM_STATES)

HANDSHAKE_FAILURES = (
    "plain_http", "no_tls", "version", "cipher", "client_certificate", "refused_by_client", "closed_by_client", "unfinished", "other",
)  # fmt: skip
HANDSHAKE_FAILURE = Label(
    "reason",
    "Why it failed: the client did not speak TLS, no common version or cipher, a missing or rejected client certificate, the client "
    "rejected our certificate or closed the connection, or the handshake was cut short by a timeout, the connection limit or a shutdown.",
    values=HANDSHAKE_FAILURES, other="other",
)  # fmt: skip
CERTIFICATE = Label("certificate", "First DNS name of the certificate, or its file name without the suffix, as of the start.", bound=1000)
MAX_WORKERS = 64
WORKER = Label("worker", "Index of the worker process, from 0.", bound=MAX_WORKERS, pattern="[0-9]|[1-5][0-9]|6[0-3]")

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
PHASE_DURATIONS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30)
"""A subset of `DURATIONS`, for histograms with a series per backend, of which there can be a thousand."""
OVERHEADS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1)
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SIZES = tuple(float(256 * 4**power) for power in range(10))

HTTP_REQUESTS = Counter(
    "balance_http_requests_total",
    "Requests by the status sent to the client, including the load balancer's own responses; 499 if the client left before a response.",
    REQUESTS, (METHOD, STATUS),
)  # fmt: skip
HTTP_REQUESTS_IN_FLIGHT = Gauge("balance_http_requests_in_flight", "Requests whose response is not complete, tunnels excluded.", REQUESTS)
HTTP_REQUEST_DURATION = Histogram(
    "balance_http_request_duration_seconds", "Time from the first byte of a request to the last byte of its response.",
    SECONDS, (METHOD, STATUS_CLASS), buckets=DURATIONS, thresholds=(thresholds.LATENCY_P99,),
)  # fmt: skip
HTTP_REQUEST_SIZE = Histogram("balance_http_request_size_bytes", "Size of request bodies.", BYTES, buckets=SIZES)
HTTP_RESPONSE_SIZE = Histogram("balance_http_response_size_bytes", "Size of response bodies.", BYTES, buckets=SIZES)
REQUEST_FAILURES = Counter(
    "balance_request_failures_total", "Failed requests by the side that caused the failure and the reason; each request counts once.",
    REQUESTS, (FAILURE_SOURCE, FAILURE_REASON),
)  # fmt: skip

PROXY_OVERHEAD = Histogram(
    "balance_proxy_overhead_seconds",
    "Time that the load balancer itself adds to a request: from its head (or the end of its last wait: for the queue, a connection or a "
    "retry pause) until it was sent, and from the first byte of the response until that was passed on.",
    SECONDS, buckets=OVERHEADS,
)  # fmt: skip
RETRIED = Counter("balance_retries_total", "Failed attempts that were followed by another, by the reason of the failure.", RETRIES, (RETRY_REASON,))
RETRIES_EXHAUSTED = Counter(
    "balance_retries_exhausted_total", "Requests without a response from a backend, or with a status in retry.on_status, that were not tried again.",
    REQUESTS, (RETRY_END_REASON,),
)  # fmt: skip
RETRY_SUCCESS = Counter("balance_retry_success_total", "Requests that succeeded after a failed attempt.", REQUESTS)
RETRY_BUDGET = Gauge("balance_retry_budget_remaining", "Further retries that the retry budget allows now.", RETRIES)

TUNNELS_ACTIVE = Gauge("balance_tunnels_active", "Open connections that switched to another protocol with a 101 (WebSocket and others).", TUNNEL_UNIT)
TUNNELS = Counter("balance_tunnels_total", "Tunnels opened: requests answered with 101.", TUNNEL_UNIT)
TUNNEL_BYTES = Counter("balance_tunnel_bytes_total", "Bytes transferred through tunnels, counted on arrival.", BYTES, (DIRECTION,))

BACKEND_HEALTHY = Gauge(
    "balance_backend_healthy", "Whether the backend is in rotation by its health checks (1) or not (0).",
    STATE, (BACKEND,), merge=Merge.MIN,
)  # fmt: skip
BACKEND_CONNECTIONS = Gauge("balance_backend_connections", "Open connections to the backend, idle ones included.", CONNECTIONS, (BACKEND,))
BACKEND_REQUESTS = Counter(
    "balance_backend_requests_total",
    "Attempts to send a request to the backend, retries included; resending after it closed an idle connection is the same attempt.",
    REQUESTS, (BACKEND, BACKEND_STATUS_CLASS),
)  # fmt: skip
BACKEND_RETRIES = Counter(
    "balance_backend_retries_total", "Retries of requests that had failed before, by the backend that received them.",
    REQUESTS, (BACKEND,),
)  # fmt: skip

BACKEND_CONNECT_DURATION = Histogram(
    "balance_backend_connect_duration_seconds",
    "Time to open a connection to a backend of the pool, TLS handshake included; failed connections are not counted.",
    SECONDS, (POOL,), buckets=DURATIONS,
)  # fmt: skip
BACKEND_FIRST_BYTE = Histogram(
    "balance_backend_first_byte_duration_seconds",
    "Time from sending the head of a request until the first byte of the response; counted when the attempt has ended.",
    SECONDS, (BACKEND,), buckets=PHASE_DURATIONS,
)  # fmt: skip
UPSTREAM_CONNECTIONS = Counter(
    "balance_upstream_connections_total", "Connections to the backend that were opened, reused and closed; opened minus closed are open.",
    CONNECTIONS, (BACKEND, UPSTREAM_STATE),
)  # fmt: skip
UPSTREAM_IDLE = Gauge("balance_upstream_connections_idle", "Open, idle connections to the backend.", CONNECTIONS, (BACKEND,))
QUEUE_DEPTH = Gauge("balance_backend_queue_depth", "Requests waiting because all available backends are at their limit.", REQUESTS, (POOL,))
QUEUE_DURATION = Histogram(
    "balance_backend_queue_duration_seconds", "Time that a request spent in the queue, whether it was served, rejected or abandoned.",
    SECONDS, (POOL,), buckets=DURATIONS,
)  # fmt: skip
QUEUE_REJECTED = Counter("balance_backend_queue_rejected_total", "Requests rejected by the queue.", REQUESTS, (POOL, QUEUE_REJECTION))
BACKENDS_AVAILABLE = Gauge("balance_backends_available", "Backends that can get requests, by health and breaker.", BACKENDS, (POOL,), merge=Merge.MIN)
BACKEND_TRANSITIONS = Counter(
    "balance_backend_state_transitions_total", "Transitions of the backend from one state to another.",
    TRANSITIONS, (BACKEND, FROM_STATE, TO_STATE),
)  # fmt: skip
HEALTH_CHECKS = Counter("balance_health_checks_total", "Active health checks of the backend.", CHECKS, (BACKEND, CHECK_RESULT))
HEALTH_CHECK_DURATION = Histogram(
    "balance_health_check_duration_seconds", "Duration of active health checks of the pool's backends.", SECONDS, (POOL,), buckets=DURATIONS
)

ACTIVE_CONNECTIONS = Gauge("balance_active_connections", "Open client connections, idle ones included.", CONNECTIONS)
CONNECTIONS_LIMIT = Gauge("balance_connections_limit", "Configured maximum of open client connections.", CONNECTIONS)
CONNECTIONS_ACCEPTED = Counter("balance_connections_total", "Client connections accepted, including those rejected at the limit.", CONNECTIONS)

REJECTIONS = ("limit", "client_limit", "denied", "stopping")
CONNECTIONS_REJECTED = Counter(
    "balance_connections_rejected_total", "Client connections rejected, by the reason.",
    CONNECTIONS, (Label("reason", "Why: the connection limit, the limit per client, a denied network, or a shutdown.", values=REJECTIONS),),
)  # fmt: skip
POOL_PANICKING = Gauge(
    "balance_pool_panic_mode", "Whether health is ignored (1) because too few backends of the pool are healthy, or not (0).",
    STATE, (POOL,), merge=Merge.MAX,
)  # fmt: skip
EJECTIONS = Counter(
    "balance_backend_ejections_total", "Ejections of the backend by outlier detection, by the reason.",
    Unit.of("ejections"), (BACKEND, Label("reason", "Why the backend was ejected.", values=("consecutive_failures", "error_ratio"))),
)  # fmt: skip

CIRCUIT_BREAKER_STATE = StateSet(
    "balance_circuit_breaker_state",
    "State of the backend's circuit breaker: 1 for the current state; with several workers, for every state that a worker is in.",
    STATE, (BACKEND,), merge=Merge.MAX, states=("closed", "open", "half_open"),
)  # fmt: skip
CIRCUIT_BREAKER_FAILURES = Counter(
    "balance_circuit_breaker_failures_total", "Failed attempts counted by the backend's circuit breaker.",
    FAILURES, (BACKEND,),
)  # fmt: skip

TLS_NOT_AFTER = Gauge(
    "balance_tls_certificate_not_after_seconds",
    "Expiry of the certificate in use, in seconds since the Unix epoch; the earliest if several share the name. Absent without TLS.",
    SECONDS, (CERTIFICATE,), merge=Merge.MIN,
)  # fmt: skip
TLS_HANDSHAKE_FAILURES = Counter(
    "balance_tls_handshake_failures_total", "Failed TLS handshakes with clients, by the reason. Absent without TLS.",
    HANDSHAKES, (HANDSHAKE_FAILURE,),
)  # fmt: skip

CONFIG_SUCCESSFUL = Gauge(
    "balance_config_last_reload_successful", "Whether the last attempt to load the configuration succeeded (1) or not (0).",
    STATE, merge=Merge.MIN,
)  # fmt: skip
CONFIG_TIMESTAMP = Gauge(
    "balance_config_last_reload_success_timestamp_seconds", "Time when the active configuration was loaded, in seconds since the Unix epoch.",
    SECONDS, merge=Merge.MIN,
)  # fmt: skip
CONFIG_INFO = Gauge(
    "balance_config_info", "Digest of the active configuration; always 1.",
    INFO, (Label("hash", "First 12 hex digits of the SHA-256 of the whole configuration.", bound=2, pattern="[0-9a-f]{12}"),), merge=Merge.MAX,
)  # fmt: skip
EVENT_LOOP_LAG = Histogram(
    "balance_event_loop_lag_seconds", "How late the worker's clock ticks, which is due four times a second: its event loop was busy.",
    SECONDS, (WORKER,), buckets=LAGS, thresholds=(thresholds.EVENT_LOOP_LAG,),
)  # fmt: skip
ACCESS_LOG_DROPPED = Counter("balance_access_log_dropped_total", "Access log lines dropped because the reader was too slow or gone.", LINES)

DISCOVERY_UPDATES = Counter(
    "balance_discovery_updates_total", "Updates of the pool's backends from DNS or a file, by their result.",
    Unit.of("updates"), (POOL, UPDATE_RESULT),
)  # fmt: skip
DISCOVERY_TIMESTAMP = Gauge(
    "balance_discovery_last_success_timestamp_seconds",
    "Time of the last successful update, in seconds since the Unix epoch; 0 before the first. With several workers, the oldest.",
    SECONDS, (POOL,), merge=Merge.MIN,
)  # fmt: skip
DISCOVERY_BACKENDS = Gauge(
    "balance_discovery_backends", "Backends in the last answer for the pool, including those that had to be left out.",
    BACKENDS, (POOL,), merge=Merge.MAX,
)  # fmt: skip

WORKERS = Gauge("balance_workers", "Worker processes that are running.", PROCESSES)
WORKERS_CONFIGURED = Gauge("balance_workers_configured", "Configured number of worker processes.", PROCESSES)
WORKER_RESTARTS = Counter(
    "balance_worker_restarts_total", "Restarts of the worker process after it ended, failed restarts included.", RESTARTS, (WORKER,)
)
WORKER_CONNECTIONS = Gauge("balance_worker_connections", "Open client connections of the worker.", CONNECTIONS, (WORKER,))
WORKER_IN_FLIGHT = Gauge("balance_worker_requests_in_flight", "Requests of the worker whose response is not complete.", REQUESTS, (WORKER,))
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
"""The metrics of the service itself, by the headings of the metrics reference."""
CATALOG = Catalog("balance", {**SERVICE, "System Metrics": PYTHON_RUNTIME}, thresholds=thresholds.THRESHOLDS, external=(UP, ALERTS, *GO_RUNTIME))
"""What `balance serve` exposes; `up` and `ALERTS` come from Prometheus, the Go metrics from a Go service that uses the same rules."""
