"""Alerts as trials for a backtest: the generated rule, the measured expression, and the possible values of the threshold."""

from __future__ import annotations

from balance.catalog.model import Histogram
from balance.config.units import parse_duration
from balance.errors import BalanceError, suggestion
from balance.live.backtest import Trial
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.text import text
from balance.render import rules


def trials(bundle: Bundle, settings: Settings, names: list[str]) -> list[Trial]:
    """A trial for each of the named alerts, or for all if `names` is empty. Raises `BalanceError` for an unknown name."""
    alerts = {alert.name: alert for alert in bundle.alerts}
    for name in names:
        if name not in alerts:
            raise BalanceError(f"no alert {name!r}", cure=suggestion(name, alerts))
    evaluated = {rule["alert"]: rule for group in rules.evaluate(bundle, settings)["alerts"]["groups"] for rule in group["rules"]}
    bounds = {threshold: metric.buckets for metric in bundle.catalog if isinstance(metric, Histogram) for threshold in metric.thresholds}
    scope = settings.scope
    return [
        Trial(
            name,
            evaluated[name]["expr"],
            int(parse_duration(evaluated[name]["for"]) or 0),
            int(parse_duration(evaluated[name].get("keep_firing_for", "0s")) or 0),
            text(alert.condition.expr, scope),
            alert.condition.operator,
            alert.condition.threshold,
            scope.value(alert.condition.threshold),
            bounds.get(alert.condition.threshold, ()),
        )
        for name, alert in alerts.items()
        if not names or name in names
    ]
