"""Synthetic data for previews: two load balancers in front of four backends, one of which fails in the incident."""

from __future__ import annotations

from balance.api import Metric, Samples, Shape
from balance.lb.catalog import metrics as m

VICTIM = "api-3"
_STATUS = {"200": 0.9595, "204": 0.02, "404": 0.017, "429": 0.003, "500": 0.0001, "502": 0.0002, "503": 0.0002}
_METHODS = {"GET": 0.8, "POST": 0.2}
_TROUBLE = {"502": 120.0, "503": 60.0, "500": 8.0}
_CLASS = {"2xx": 0.98, "4xx": 0.0194, "5xx": 0.0006, "none": 0.0002}

SHAPES: dict[Metric, Shape] = {
    m.HTTP_REQUESTS: Shape(620, {"method": _METHODS, "status": _STATUS}, values=_TROUBLE),
    m.HTTP_REQUEST_DURATION: Shape(620, {"method": _METHODS, "status_class": {"2xx": 1}}, median=0.03, spread=1.0, slower=5),
    m.HTTP_REQUESTS_IN_FLIGHT: Shape(26, during=4),
    m.HTTP_REQUEST_SIZE: Shape(120, median=900, spread=1.4),
    m.HTTP_RESPONSE_SIZE: Shape(620, median=9000, spread=1.5),
    m.PROXY_OVERHEAD: Shape(620, median=0.00012, spread=0.6, slower=1.4),
    m.REQUEST_FAILURES: Shape(
        0.9,
        {"source": {"client": 1}, "reason": {"client_abort": 0.8, "no_route": 0.2}},
    ),
    m.RETRIED: Shape(0.4, {"reason": {"connect_refused": 0.5, "first_byte_timeout": 0.3, "closed_early": 0.2}}, during=60),
    m.RETRY_SUCCESS: Shape(0.38, during=50),
    m.RETRIES_EXHAUSTED: Shape(0.05, {"reason": {"unsafe": 0.6, "attempts": 0.3, "budget": 0.1}}, during=60),
    m.RETRY_BUDGET: Shape(140, during=0.3, noise=0.03),
    m.BACKEND_HEALTHY: Shape(1, values={VICTIM: 0}, wave=0, noise=0),
    m.BACKEND_REQUESTS: Shape(620, {"status_class": _CLASS}, values={VICTIM: 0.02, "5xx": 25, "none": 60}),
    m.BACKEND_RETRIES: Shape(0.4, during=60, values={VICTIM: 0.02}),
    m.BACKEND_CONNECTIONS: Shape(180, values={VICTIM: 0.05}),
    m.UPSTREAM_IDLE: Shape(130, values={VICTIM: 0.0}),
    m.UPSTREAM_CONNECTIONS: Shape(640, {"state": {"opened": 0.01, "reused": 0.98, "closed": 0.01}}, values={VICTIM: 0.02}),
    m.BACKEND_FIRST_BYTE: Shape(620, median=0.022, spread=0.9, slower=3),
    m.BACKEND_CONNECT_DURATION: Shape(7, median=0.0016, spread=0.6, slower=3),
    m.QUEUE_DEPTH: Shape(0.4, during=45, noise=0.5),
    m.QUEUE_DURATION: Shape(2, median=0.004, spread=0.9, slower=20, during=20),
    m.QUEUE_REJECTED: Shape(0.01, during=250),
    m.BACKENDS_AVAILABLE: Shape(4, during=0.75, wave=0, noise=0),
    m.BACKEND_TRANSITIONS: Shape(0.002, {"from": {"available": 0.5, "unhealthy": 0.5}, "to": {"available": 0.5, "unhealthy": 0.5}}, wave=0),
    m.HEALTH_CHECKS: Shape(0.4, {"result": {"passed": 0.999, "failed": 0.001}}, values={"failed": 250}, wave=0, noise=0.01),
    m.HEALTH_CHECK_DURATION: Shape(0.4, median=0.0022, spread=0.4, slower=2, wave=0),
    m.POOL_PANICKING: Shape(0, wave=0, noise=0),
    m.EJECTIONS: Shape(0.0002, during=20),
    m.ACTIVE_CONNECTIONS: Shape(3900, during=1.6),
    m.CONNECTIONS_LIMIT: Shape(10000, wave=0, noise=0),
    m.CONNECTIONS_ACCEPTED: Shape(22, during=1.8),
    m.CONNECTIONS_REJECTED: Shape(0.02, {"reason": {"client_limit": 0.7, "denied": 0.3}}),
    m.CIRCUIT_BREAKER_STATE: Shape(values={VICTIM: 1}, wave=0, noise=0),
    m.CIRCUIT_BREAKER_FAILURES: Shape(0.02, values={VICTIM: 180}),
    m.TLS_NOT_AFTER: Shape(since=-41 * 86400),
    m.TLS_HANDSHAKE_FAILURES: Shape(0.3, {"reason": {"plain_http": 0.5, "no_tls": 0.2, "closed_by_client": 0.3}}),
    m.CONFIG_SUCCESSFUL: Shape(1, wave=0, noise=0),
    m.CONFIG_TIMESTAMP: Shape(since=9000),
    m.DISCOVERY_TIMESTAMP: Shape(since=4),
    m.DISCOVERY_BACKENDS: Shape(4, wave=0, noise=0),
    m.DISCOVERY_UPDATES: Shape(0.033, {"result": {"unchanged": 0.999, "changed": 0.001}}, wave=0, noise=0),
    m.EVENT_LOOP_LAG: Shape(4, median=0.0006, spread=0.9, slower=3, wave=0),
    m.ACCESS_LOG_DROPPED: Shape(0, wave=0, noise=0),
    m.WORKERS: Shape(2, wave=0, noise=0),
    m.WORKERS_CONFIGURED: Shape(2, wave=0, noise=0),
    m.WORKER_RESTARTS: Shape(0, wave=0, noise=0),
    m.WORKER_CONNECTIONS: Shape(3900, during=1.6),
    m.WORKER_IN_FLIGHT: Shape(26, during=4),
    m.WORKER_MEMORY: Shape(118 * 2**20, wave=0.06, noise=0.01),
    m.TUNNELS_ACTIVE: Shape(340),
    m.TUNNELS: Shape(1.4),
    m.TUNNEL_BYTES: Shape(900_000, {"direction": {"in": 0.2, "out": 0.8}}),
}

SAMPLES = Samples(
    SHAPES,
    values={"backend": ("api-1", "api-2", VICTIM, "api-4"), "pool": ("api",), "worker": ("0", "1"), "certificate": ("www.example.com",)},
    instances=("lb-1:9090", "lb-2:9090"),
    victim=VICTIM,
)
