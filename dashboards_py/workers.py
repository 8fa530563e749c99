"""The dashboard `workers`: worker processes, event loops, configuration and certificates."""

from __future__ import annotations

from balance.api import Panel, Query, Row, latency_panel, rate_panel, seconds_since, seconds_until, series, standard, value_panel
from balance.lb.catalog import metrics as m
from balance.lb.catalog import thresholds as t
from dashboards_py import style

AGE = Panel(
    "Age of the Configuration",
    "Time since the configuration in force was loaded: it drops to nothing at every reload that was successful.",
    (Query(seconds_since(series(m.CONFIG_TIMESTAMP)), "{{instance}}"),),
)
CERTIFICATES = Panel(
    "Certificates Expire in",
    "Time until the certificates in use expire; empty without TLS.",
    (Query(seconds_until(series(m.TLS_NOT_AFTER)), "{{certificate}} ({{instance}})"),),
    thresholds=(t.CERTIFICATE_SOON, t.CERTIFICATE_IMMINENT),
    alarm="below",
    least=None,
    nothing="No TLS",
)
UPTIME = Panel(
    "Uptime",
    "Time since the process started, with several the oldest of them.",
    (Query(seconds_since(series(standard.PROCESS_START)), "{{instance}}"),),
)

WORKERS = style.board(
    "workers",
    "Balance / Workers",
    "Processes, event loops, configuration and certificates.",
    rows=(
        Row("Workers", (
            value_panel(m.WORKERS, m.WORKERS_CONFIGURED, title="Workers"),
            rate_panel(m.WORKER_RESTARTS, "Restarts", by="worker"),
            value_panel(m.WORKER_CONNECTIONS, title="Connections by Worker"),
            value_panel(m.WORKER_IN_FLIGHT, title="Requests in Flight by Worker"),
            value_panel(m.WORKER_MEMORY, title="Memory by Worker"),
            latency_panel(m.EVENT_LOOP_LAG, "Event Loop Lag", by="worker"),
        )),
        Row("Process", (
            style.PROCESSOR,
            value_panel(standard.PROCESS_OPEN_FDS, standard.PROCESS_MAX_FDS, title="File Descriptors"),
            rate_panel(standard.PYTHON_GC_COLLECTIONS, "Garbage Collections", by="generation"),
            UPTIME,
        )),
        Row("Configuration", (
            value_panel(m.CONFIG_SUCCESSFUL, title="Last Reload", kind="state-timeline", states=style.SUCCESSFUL),
            AGE,
            CERTIFICATES,
            rate_panel(m.ACCESS_LOG_DROPPED, "Lines Missing in the Access Log"),
        )),
    ),
)  # fmt: skip
