"""Large sources: balance's alerts and dashboards repeated under other names, and many services."""

from __future__ import annotations

from dataclasses import replace

from balance.catalog.model import SECONDS, STATE, Counter, Gauge, Histogram, Label, Metric, Threshold
from balance.catalog.registry import Budget, Catalog
from balance.lb.catalog import thresholds as t
from balance.lb.catalog.metrics import CATALOG, CONNECTIONS, DURATIONS, REQUESTS
from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.bundle import Bundle, Waiver
from balance.monitoring.dashboards import Dashboard, Row
from balance.monitoring.panels import condition_panel, quantile_panel, rate_panel, value_panel
from balance.monitoring.settings import Settings
from balance.promql import RATE_WINDOW, compare, increase, quantile, rate, ratio, series, sum_by
from dashboards_py import source as dashboards_source
from rules_src.alerts import alerts

ALERTS, GROUPS = 2000, 40
DASHBOARDS, PANELS = 100, 20
OUTCOME = Label("outcome", "How it ended.", values=("answered", "failed"))
FULL = Threshold("full", 1000, CONNECTIONS, reason="As many as it takes.")


def rules(settings: Settings) -> Bundle:
    """2,000 alerts in 40 groups."""
    own = alerts(settings)
    many = (replace(own[number % len(own)], name=f"Alert{number}", group=f"group{number % GROUPS}") for number in range(ALERTS))
    return Bundle(CATALOG, alerts=tuple(many))


def twice(settings: Settings) -> Bundle:
    """The bundled sources, with every alert once more under another name and with other words."""
    bundle = dashboards_source(settings)
    more = (
        replace(alert, name=f"{alert.name}Again", group=alert.group and f"{alert.group}again", summary=f"{alert.summary}!") for alert in bundle.alerts
    )
    return replace(bundle, alerts=(*bundle.alerts, *more))


def boards(settings: Settings) -> Bundle:
    """100 dashboards of 20 panels each."""
    source = dashboards_source(settings)
    own = source.dashboards
    panels = [panel for dashboard in own for panel in dashboard.panels]
    many = []
    for number in range(DASHBOARDS):
        chosen = (replace(panels[(number + place) % len(panels)], title=f"Panel {place}") for place in range(PANELS))
        rows = (Row("All", tuple(chosen)),)
        many.append(replace(own[0], name=f"many{number}", uid=f"many{number}", title=f"Many {number}", rows=rows, main=number == 0))
    return Bundle(CATALOG, dashboards=tuple(many), slos=source.slos)


def services(settings: Settings, count: int = 250) -> Bundle:
    """1,000 metrics, 1,000 alerts and 2,000 panels: of 250 services, each with four metrics, an alert on each, and two panels for it."""
    thresholds = (t.ERROR_RATIO, t.LATENCY_P99, t.MIN_REQUESTS, t.BACKEND_UNHEALTHY, FULL)
    made = [_service(f"{number:04}") for number in range(count)]
    alerts = tuple(alert for _, own, _ in made for alert in own)
    return Bundle(
        Catalog("many", [metric for metrics, _, _ in made for metric in metrics], thresholds=thresholds, budget=Budget(total=count * 50)),
        alerts=alerts,
        dashboards=tuple(dashboard for _, _, dashboard in made),
        waivers=tuple(Waiver("alert-without-runbook", alert.name, "made up for a benchmark") for alert in alerts),
    )


def services2(settings: Settings) -> Bundle:
    """Twice as many services."""
    return services(settings, 500)


def services4(settings: Settings) -> Bundle:
    """Four times as many services."""
    return services(settings, 1000)


def _service(name: str) -> tuple[tuple[Metric, ...], tuple[Alert, ...], Dashboard]:
    requests = Counter(f"many_{name}_requests_total", "Requests.", REQUESTS, (OUTCOME,))
    connections = Gauge(f"many_{name}_connections", "Connections.", CONNECTIONS)
    duration = Histogram(f"many_{name}_duration_seconds", "Durations.", SECONDS, buckets=DURATIONS, thresholds=(t.LATENCY_P99,))
    healthy = Gauge(f"many_{name}_healthy", "Whether it is healthy.", STATE)
    failed, every = (sum_by(rate(selected.over(RATE_WINDOW)), "job") for selected in (series(requests, outcome="failed"), series(requests)))
    traffic = compare(sum_by(increase(series(requests).over(RATE_WINDOW)), "job"), ">", t.MIN_REQUESTS)
    conditions = {
        "Errors": Condition(ratio(failed, every), ">", t.ERROR_RATIO, also=(traffic,)),
        "Slow": Condition(quantile(0.99, series(duration), RATE_WINDOW, "job"), ">", t.LATENCY_P99, also=(traffic,)),
        "Full": Condition(series(connections), ">", FULL),
        "Sick": Condition(series(healthy), "==", t.BACKEND_UNHEALTHY),
    }
    alerts = tuple(
        Alert(f"Many{name}{what}", condition, "warning", f"{what} of {name}", "It is {value} of {threshold}.", wait=60)
        for what, condition in conditions.items()
    )
    panels = (
        *(condition_panel(condition, what, description=f"Many{name}{what} fires.") for what, condition in conditions.items()),
        rate_panel(requests, "Requests", by="outcome"),
        value_panel(connections, title="Connections"),
        quantile_panel(duration, "Durations"),
        value_panel(healthy, title="Health"),
    )
    rows = (Row("All", panels),)
    return (requests, connections, duration, healthy), alerts, Dashboard(name, f"many-{name}", name, "All.", rows, presence=connections)
