"""Every threshold of balance, with its unit and the reason for its value. A settings file may override those not fixed."""

from __future__ import annotations

from balance.catalog.model import BYTES, RATIO, SECONDS, STATE, Threshold

ERROR_RATIO = Threshold(
    "error_ratio", 0.05, RATIO, most=1,
    reason="One request in twenty failing is an outage for somebody; well above the noise of single failing requests.",
)  # fmt: skip
LATENCY_P99 = Threshold(
    "latency_p99", 1, SECONDS, most=30,
    reason="Beyond one second a person's flow of thought is interrupted (Nielsen, Usability Engineering, 1993, section 5.5).",
)  # fmt: skip
RETRY_RATIO = Threshold(
    "retry_ratio", 0.1, RATIO, most=1,
    reason="Retries above a tenth of the attempts add load where capacity is short (Site Reliability Engineering, chapter 21).",
)  # fmt: skip
CONNECTION_SATURATION = Threshold(
    "connection_saturation", 0.8, RATIO, most=1,
    reason="The last fifth of the configured limit is the time left to act before new clients are refused.",
)  # fmt: skip
MEMORY = Threshold(
    "memory", 512 * 1024 * 1024, BYTES,
    reason="Some eight times what an idle process holds; set it to 80 % of the container's memory limit where there is one.",
)  # fmt: skip
TARGET_UP = Threshold(
    "target_up", 1, STATE, fixed=True,
    reason="Prometheus writes up = 1 when a scrape succeeds.",
)  # fmt: skip
TARGET_DOWN = Threshold(
    "target_down", 0, STATE, fixed=True,
    reason="Prometheus writes up = 0 when a scrape fails.",
)  # fmt: skip
BACKEND_UNHEALTHY = Threshold(
    "backend_unhealthy", 0, STATE, fixed=True,
    reason="A backend that the health checks took out of rotation shows 0.",
)  # fmt: skip
NO_BACKEND = Threshold(
    "no_healthy_backend", 0, STATE, fixed=True,
    reason="With no healthy backend every request is answered 503.",
)  # fmt: skip
BREAKER_OPEN = Threshold(
    "breaker_open", 1, STATE, fixed=True,
    reason="The state that holds shows 1.",
)  # fmt: skip

THRESHOLDS = (
    ERROR_RATIO, LATENCY_P99, RETRY_RATIO, CONNECTION_SATURATION, MEMORY,
    TARGET_UP, TARGET_DOWN, BACKEND_UNHEALTHY, NO_BACKEND, BREAKER_OPEN,
)  # fmt: skip
