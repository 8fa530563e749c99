"""The dashboard `workers`: the processes, their event loops, the configuration that they serve."""

from __future__ import annotations

from balance.catalog import metrics as m
from balance.catalog import thresholds as t
from balance.monitoring.dashboards import Dashboard, Panel, Query, Row
from balance.monitoring.panels import quantile_panel, rate_panel, value_panel
from balance.promql import RATE_WINDOW, rate, series, since, sum_by, until
from dashboards_py import house

AGE = Panel(
    "Age of the Configuration",
    "Time since the configuration in force was loaded: it drops to nothing at every reload that was successful.",
    (Query(since(series(m.CONFIG_TIMESTAMP)), "{{instance}}"),),
)
CERTIFICATES = Panel(
    "Certificates Expire in",
    "Time until the certificates in use expire; empty without TLS.",
    (Query(until(series(m.TLS_NOT_AFTER)), "{{certificate}} ({{instance}})"),),
    thresholds=(t.CERTIFICATE_SOON, t.CERTIFICATE_IMMINENT),
)
UPTIME = Panel(
    "Uptime",
    "Time since the process started, with several the oldest of them.",
    (Query(since(series(m.PROCESS_START)), "{{instance}}"),),
)
PROCESSOR = Panel(
    "Processor Time",
    "Seconds of processor time per second: 1 is one core.",
    (Query(sum_by(rate(series(m.PROCESS_CPU).over(RATE_WINDOW)), "instance"), "{{instance}}"),),
)

WORKERS = Dashboard(
    name="workers",
    uid="balance-workers",
    title="Balance / Workers",
    description="Processes, event loops, configuration and certificates.",
    tags=("balance", "load-balancer"),
    presence=m.ACTIVE_CONNECTIONS,
    rows=(
        Row("Workers", (
            value_panel("Workers", m.WORKERS, m.WORKERS_CONFIGURED),
            rate_panel("Restarts", m.WORKER_RESTARTS, "worker"),
            value_panel("Connections by Worker", m.WORKER_CONNECTIONS),
            value_panel("Requests in Flight by Worker", m.WORKER_IN_FLIGHT),
            value_panel("Memory by Worker", m.WORKER_MEMORY),
            quantile_panel("Event Loop Lag", m.EVENT_LOOP_LAG, "worker"),
        )),
        Row("Process", (
            PROCESSOR,
            value_panel("File Descriptors", m.PROCESS_OPEN_FDS, m.PROCESS_MAX_FDS),
            rate_panel("Garbage Collections", m.PYTHON_GC_COLLECTIONS, "generation"),
            UPTIME,
        )),
        Row("Configuration", (
            value_panel("Last Reload", m.CONFIG_SUCCESSFUL, kind="state-timeline", states=house.SUCCESSFUL),
            AGE,
            CERTIFICATES,
            rate_panel("Lines Missing in the Access Log", m.ACCESS_LOG_DROPPED),
        )),
    ),
)  # fmt: skip
