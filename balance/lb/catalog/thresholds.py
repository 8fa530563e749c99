"""Every threshold of balance, with its unit and the reason for its value. A settings file can override those that are not fixed."""

from __future__ import annotations

from balance.catalog.model import BYTES, RATIO, SECONDS, STATE, Threshold, Unit

DAY = 86400

ERROR_RATIO = Threshold(
    "error_ratio", 0.05, RATIO, maximum=1,
    reason="When one request in twenty fails, some users have an outage; well above the noise of single failures.",
)  # fmt: skip
LATENCY_P99 = Threshold(
    "latency_p99", 1, SECONDS, maximum=30,
    reason="Beyond one second a person's flow of thought is interrupted (Nielsen, Usability Engineering, 1993, section 5.5).",
)  # fmt: skip
RETRY_RATIO = Threshold(
    "retry_ratio", 0.1, RATIO, maximum=1,
    reason="Retries above a tenth of the attempts add load where capacity is short (Site Reliability Engineering, chapter 21).",
)  # fmt: skip
CONNECTION_SATURATION = Threshold(
    "connection_saturation", 0.8, RATIO, maximum=1,
    reason="The last fifth of the configured limit is the time left to act before new clients are refused.",
)  # fmt: skip
MEMORY = Threshold(
    "memory", 512 * 1024 * 1024, BYTES,
    reason="About eight times the memory of an idle process; set it to 80 % of the container's memory limit if there is one.",
)  # fmt: skip
MIN_REQUESTS = Threshold(
    "min_requests", 100, Unit.of("requests"), exclusive_minimum=-1,
    reason="Below a hundred requests in the window, a single failure is more than 1 %, so a ratio says little. 0: no minimum.",
)  # fmt: skip
QUEUE_REJECT_RATIO = Threshold(
    "queue_reject_ratio", 0.01, RATIO, maximum=1,
    reason="A queue absorbs peaks; when one request in a hundred is rejected, capacity is too small for more than a peak.",
)  # fmt: skip
RETRY_BUDGET_RATIO = Threshold(
    "retry_budget_ratio", 0.01, RATIO, maximum=1,
    reason="By default the budget is a fifth of the requests: when one request in a hundred finds it spent, retries no longer hide failures.",
)  # fmt: skip
EVENT_LOOP_LAG = Threshold(
    "event_loop_lag", 0.25, SECONDS, maximum=5,
    reason="A worker's clock ticks every quarter of a second: when it is late by a whole tick, so are timeouts and all requests of the worker.",
)  # fmt: skip
WORKER_RESTARTS = Threshold(
    "worker_restarts", 2, Unit.of("restarts"),
    reason="One or two restarts can be bad luck; a third within a quarter of an hour is a crash loop.",
)  # fmt: skip
CERTIFICATE_SOON = Threshold(
    "certificate_soon", 14 * DAY, SECONDS,
    reason="Automatic renewal happens 30 days before expiry (Let's Encrypt); 14 days leave two working weeks to find out why it did not.",
)  # fmt: skip
CERTIFICATE_IMMINENT = Threshold(
    "certificate_imminent", 2 * DAY, SECONDS,
    reason="Two days, even over a weekend, leave time to renew by hand before every client is refused.",
)  # fmt: skip
BUDGET_SPENT = Threshold(
    "budget_spent", 0, RATIO, fixed=True,
    reason="Below 0, there were more errors than the objective allows.",
)  # fmt: skip
RELOAD_FAILED = Threshold(
    "reload_failed", 0, STATE, fixed=True,
    reason="The metric shows 0 when the last attempt to load the configuration failed.",
)  # fmt: skip
PANICKING = Threshold(
    "panicking", 1, STATE, fixed=True,
    reason="The metric shows 1 when health is ignored.",
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
    reason="A backend taken out of rotation by its health checks shows 0.",
)  # fmt: skip
NO_BACKEND = Threshold(
    "no_healthy_backend", 0, STATE, fixed=True,
    reason="With no healthy backend every request is answered with 503.",
)  # fmt: skip
BREAKER_OPEN = Threshold(
    "breaker_open", 1, STATE, fixed=True,
    reason="The current state shows 1.",
)  # fmt: skip

THRESHOLDS = (
    ERROR_RATIO, LATENCY_P99, RETRY_RATIO, CONNECTION_SATURATION, MEMORY, MIN_REQUESTS, QUEUE_REJECT_RATIO, RETRY_BUDGET_RATIO,
    EVENT_LOOP_LAG, WORKER_RESTARTS, CERTIFICATE_SOON, CERTIFICATE_IMMINENT,
    TARGET_UP, TARGET_DOWN, BACKEND_UNHEALTHY, NO_BACKEND, BREAKER_OPEN, BUDGET_SPENT, RELOAD_FAILED, PANICKING,
)  # fmt: skip
