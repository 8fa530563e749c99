"""Single faults in the project's own sources and outputs: one edit of one file each."""

from __future__ import annotations

from typing import NamedTuple

METRICS, THRESHOLDS = "balance/lb/catalog/metrics.py", "balance/lb/catalog/thresholds.py"
CONDITIONS, ALERTS, ROUTING = "rules_src/conditions.py", "rules_src/alerts.py", "rules_src/routing.py"
MAIN, WORKERS = "dashboards_py/main.py", "dashboards_py/workers.py"
SERVICE = "balance/lb/data/meters.py"
RUNBOOK = "rules_src/runbooks/BalanceHighErrorRate.md"
MADE, MADE_BOARD = "generated/prometheus/rules/alerts.yaml", "generated/dashboards/balance.json"


class Fault(NamedTuple):
    """In the file at `path`, `old` becomes `new`, once. Without `old` the file is added with that text, without `new` it is deleted.

    `plain` is the same fault in a rule file written by hand, for where the sources refuse it: what becomes what there.
    """

    kind: str
    path: str
    old: str | None
    new: str | None
    plain: tuple[str, str] | None = None


FAULTS = (
    # the catalog
    Fault("a metric renamed in the catalog alone", METRICS, '"balance_request_failures_total"', '"balance_failed_requests_total"'),
    Fault("a metric renamed where the service counts", SERVICE, "metrics.RETRY_SUCCESS)", "metrics.RETRY_SUCCESSES)"),
    Fault("two metrics of one name", METRICS, '"balance_tunnels_active"', '"balance_active_connections"'),
    Fault("a name in camelCase", METRICS, '"balance_backends_available"', '"balance_backendsAvailable"'),
    Fault("the type of a metric", METRICS, "ACTIVE_CONNECTIONS = Gauge(", "ACTIVE_CONNECTIONS = Counter("),
    Fault("the unit of a metric", METRICS, "SECONDS, (WORKER,), buckets=LAGS", "BYTES, (WORKER,), buckets=LAGS"),
    Fault("a unit that is no base unit", METRICS, 'Unit.of("processes")', 'Unit.of("hours")'),
    Fault("the help of a metric", METRICS, '"Open client connections, idle ones included."', '"Client connections."'),
    Fault("a metric without help", METRICS, '"Open client connections, idle ones included."', '""'),
    Fault("a label dropped", METRICS, "REQUESTS, (METHOD, STATUS),", "REQUESTS, (METHOD,),"),
    Fault("a label renamed", METRICS, 'BACKEND = Label("backend",', 'BACKEND = Label("upstream",', ),
    Fault("a value of a label", METRICS, 'states=("closed", "open", "half_open")', 'states=("closed", "opened", "half_open")'),
    Fault("a label with far more values", METRICS, 'configured or discovered.", bound=1000)', 'configured or discovered.", bound=100000)'),
    Fault("the bucket of a threshold", METRICS, "0.1, 0.25, 0.5, 1, 2.5, 5)", "0.1, 0.5, 1, 2.5, 5)"),
    Fault("another bucket", METRICS, "LAGS = (0.001, 0.0025,", "LAGS = (0.001, 0.002,"),
    Fault("a threshold in the sources", THRESHOLDS, '"error_ratio", 0.05,', '"error_ratio", 0.06,'),
    Fault("a threshold that cannot be", THRESHOLDS, '"error_ratio", 0.05,', '"error_ratio", 5,', (" > 0.05 and", " > 5 and")),
    Fault("the unit of a threshold", THRESHOLDS, '"event_loop_lag", 0.25, SECONDS, maximum=5', '"event_loop_lag", 250, Unit.of("milliseconds")',
          (" > 0.25", " > 250")),
    Fault("a threshold without a reason", THRESHOLDS, 'reason="The metric shows 1 when health is ignored."', 'reason=""'),
    # queries and rules
    Fault("a metric of another type in a query", CONDITIONS, "series(m.WORKER_RESTARTS)", "series(m.WORKERS)",
          ("balance_worker_restarts_total", "balance_workers")),
    Fault("the raw value of a counter", CONDITIONS, "Condition(series(m.BACKEND_HEALTHY)", "Condition(series(m.HEALTH_CHECKS)",
          ('expr: balance_backend_healthy{job="balance"} == 0', 'expr: balance_health_checks_total{job="balance"} == 0')),
    Fault("a value that no label has", CONDITIONS, 'state="open"', 'state="opened"', ('state="open"', 'state="opened"')),
    Fault("a label that no series has", CONDITIONS,
          'sum_by(series(m.BACKEND_HEALTHY), "job", "instance")', 'sum_by(series(m.BACKEND_HEALTHY), "job", "node")',
          ("expr: sum by (instance, job) (balance_backend_healthy", "expr: sum by (node, job) (balance_backend_healthy")),
    Fault("a label that the words need", CONDITIONS, '(Window(900))), "job", "instance")', '(Window(900))), "job")',
          ("sum by (instance, job) (increase(balance_worker_restarts_total", "sum by (job) (increase(balance_worker_restarts_total")),
    Fault("a pattern that no value matches", CONDITIONS, 'responses_ratio("5..", "job")', 'responses_ratio("6..", "job")',
          ('status=~"5.."', 'status=~"6.."')),
    Fault("a pattern that is none", CONDITIONS, 'responses_ratio("5..", "job")', 'responses_ratio("5.(", "job")', ('status=~"5.."', 'status=~"5.("')),
    Fault("the sides of a ratio by different labels", CONDITIONS, 'CONNECTIONS_LIMIT), "job", "instance")', 'CONNECTIONS_LIMIT), "job")',
          ("/ sum by (instance, job) (balance_connections_limit", "/ sum by (job) (balance_connections_limit")),
    Fault("a threshold of another unit", CONDITIONS, "Condition(latency(0.99), \">\", t.LATENCY_P99", "Condition(latency(0.99), \">\", t.ERROR_RATIO",
          (" > 1 and", " > 0.05 and")),
    Fault("an operator", CONDITIONS, 'responses_ratio("5..", "job"), ">",', 'responses_ratio("5..", "job"), "<",'),
    Fault("an operator with which it never fires", CONDITIONS, 'series(m.POOL_PANICKING), "=="', 'series(m.POOL_PANICKING), ">"'),
    Fault("a guard against little traffic", CONDITIONS, 't.ERROR_RATIO, also=TRAFFIC)', "t.ERROR_RATIO)"),
    Fault("a window", CONDITIONS, "Window(900)", "Window(1800)"),
    Fault("a window too short for the scrapes", CONDITIONS, "Window(900)", "Window(20)"),
    Fault("a `for`", ALERTS, 'conditions.HIGH_LATENCY, "warning", wait=5 * MINUTE', 'conditions.HIGH_LATENCY, "warning", wait=15 * MINUTE'),
    Fault("a `for` too short for what is missing", ALERTS, 'conditions.DOWN, "critical", wait=1 * MINUTE', 'conditions.DOWN, "critical"'),
    Fault("a severity", ALERTS, 'conditions.HIGH_LATENCY, "warning"', 'conditions.HIGH_LATENCY, "critical"'),
    Fault("a severity that there is not", ALERTS, 'conditions.HIGH_LATENCY, "warning"', 'conditions.HIGH_LATENCY, "warn"',
          ("for: 5m\n    labels:\n      severity: warning", "for: 5m\n    labels:\n      severity: warn")),
    Fault("an alert renamed", ALERTS, '"BalanceHighErrorRate"', '"BalanceErrorRate"'),
    Fault("an alert renamed that others silence", ALERTS, '"BalancePoolPanic"', '"BalancePanic"', ("alert: BalancePoolPanic", "alert: BalancePanic")),
    Fault("a place in the words that nothing fills", ALERTS, "the threshold is {threshold}.", "the threshold is {treshold}."),
    Fault("a label in the words that there is not", ALERTS, "Backend {{ $labels.backend }} behind", "Backend {{ $labels.server }} behind",
          ("Backend {{ $labels.backend }} behind", "Backend {{ $labels.server }} behind")),
    Fault("recording rules that others read", "rules_src/__init__.py",
          "(*RECORDING_RULES, *(rule for slo in objectives for rule in slo.recording_rules))", "RECORDING_RULES"),
    Fault("a route to nowhere", ROUTING, 'Route("critical", PAGE.name,', 'Route("critical", "pager",'),
    Fault("a severity without a route", ROUTING, 'Route("warning", INFORM.name,', 'Route("critical", INFORM.name,'),
    Fault("an inhibition by what is no alert", ROUTING, 'down, no_backend = "BalanceDown"', 'down, no_backend = "BalanceDwon"'),
    Fault("the mixin's template of rules", "balance/render/mixin/alerts.libsonnet", "'for': alert['for'],", "'for': '10m',"),
    Fault("a threshold in the mixin's configuration", "balance/render/mixin/config.libsonnet",
          "thresholds: model.config.thresholds,", "thresholds: model.config.thresholds { error_ratio: '0.06' },"),
    # dashboards
    Fault("a panel removed", WORKERS, '            value_panel(m.WORKER_MEMORY, title="Memory by Worker"),\n', ""),
    Fault("the panel of an alert removed", MAIN,
          "for alert in everything)", 'for alert in everything if alert.name != "BalanceHighRetryRate")'),
    Fault("the line of a threshold removed", MAIN, "    thresholds=(t.LATENCY_P99,),\n", ""),
    Fault("a legend by a label that there is not", MAIN, '"{{backend}} ({{instance}})"', '"{{server}} ({{instance}})"'),
    Fault("a panel of two units", MAIN, 'Query(series(m.CONNECTIONS_LIMIT), "', 'Query(series(m.PROCESS_RESIDENT), "'),
    Fault("the wrong metric in a panel", MAIN, "m.QUEUE_DEPTH, title", "m.TUNNELS_ACTIVE, title"),
    Fault("words of a panel that name no alert", MAIN, "BalanceHighLatency fires", "BalanceSlow fires"),
    # runbooks
    Fault("a metric renamed in a runbook", RUNBOOK, "balance_request_failures_total{", "balance_failures_total{"),
    Fault("a value in a query of a runbook", RUNBOOK, 'source!="client"', 'source!="customer"'),
    Fault("a link between runbooks", RUNBOOK, "`BalanceCircuitBreakerOpen`", "`BalanceBreakerOpen`"),
    Fault("a section of a runbook", RUNBOOK, "## Impact", "## Effect"),
    Fault("a runbook deleted", RUNBOOK, None, None),
    # the service
    Fault("a label that the service forgets", SERVICE, 'metrics.TUNNEL_BYTES, direction="in")', "metrics.TUNNEL_BYTES)"),
    Fault("a value that the service makes up", SERVICE, 'metrics.TUNNEL_BYTES, direction="in")', 'metrics.TUNNEL_BYTES, direction="inbound")'),
    Fault("a metric that the service takes for another type", SERVICE, "counter(metrics.RETRY_SUCCESS)", "gauge(metrics.RETRY_SUCCESS)"),
    Fault("a metric that the service no longer counts", SERVICE, "        self.tunnels.value += 1\n", ""),
    Fault("buckets that the service fills wrongly", SERVICE, "bisect_left(duration.bounds, seconds)", "0"),
    # what is generated
    Fault("a metric renamed in a generated rule", MADE, "expr: balance_backend_healthy{", "expr: balance_backends_healthy{"),
    Fault("a label in a generated rule", MADE, "sum by (instance, job) (balance_active_connections", "sum by (job) (balance_active_connections"),
    Fault("a value of a label in a generated rule", MADE, 'state="open"', 'state="opened"'),
    Fault("an operator in a generated rule", MADE, " > 0.05 and", " >= 0.05 and"),
    Fault("a threshold in a generated rule", MADE, " > 0.05 and", " > 0.06 and"),
    Fault("a window in a generated rule", MADE, "[5m]", "[1m]"),
    Fault("a `for` in a generated rule", MADE, "for: 5m", "for: 50m"),
    Fault("a severity in a generated rule", MADE, "severity: critical", "severity: warning"),
    Fault("a link to a runbook in a generated rule", MADE, "runbooks/BalanceDown.md", "runbooks/Down.md"),
    Fault("a metric renamed in a generated dashboard", MADE_BOARD, "balance_active_connections", "balance_connections_active"),
    Fault("a unit in a generated dashboard", MADE_BOARD, '"unit": "percentunit"', '"unit": "percent"'),
    Fault("a bucket in the generated catalog", "generated/catalog.json", "0.025,", "0.03,"),
    Fault("a receiver in the generated routes", "generated/alertmanager/alertmanager.yml", "    receiver: page\n", "    receiver: pager\n"),
    Fault("a generated file deleted", "generated/dashboards/workers.json", None, None),
    Fault("a file added among the generated", "generated/prometheus/rules/own.yaml", None, "groups: []\n"),
)  # fmt: skip
