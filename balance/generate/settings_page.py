"""The page that lists every setting: keys and descriptions from the declarations, values from the current settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import yaml

from balance.catalog.model import number
from balance.config.kinds import Kind
from balance.config.schema import Field, Section, Table
from balance.generate.settings import SETTINGS
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import apply_settings
from balance.monitoring.settings import Settings
from balance.promql.text import duration

_HEAD = """# Settings

Made by `balance-gen settings`. These are the keys of a settings file, with their current values; `--set KEY=VALUE` overrides one.
Unknown keys, thresholds and alerts and invalid values are rejected, each with the choices.

"""


def page(bundle: Bundle, settings: Settings) -> str:
    """The page as Markdown: tables of the keys, the thresholds, the objectives and the alerts."""
    thresholds = (
        (
            f"`thresholds.{threshold.name}`",
            number(settings.value(threshold)),
            f"{threshold.unit}, above {number(threshold.exclusive_minimum)}"
            + (f", at most {number(threshold.maximum)}" if threshold.maximum is not None else ""),
            threshold.reason,
        )
        for threshold in bundle.catalog.thresholds
        if not threshold.fixed
    )
    objectives = (
        (f"`objectives.{slo.name}`", str(slo.objective), f"The share of the requests of {slo.days} days that must not be of those that {slo.fault}.")
        for slo in bundle.slos
    )
    alerts = ((f"`alerts.{alert.name}`", alert.severity, duration(alert.wait), duration(alert.keep_firing)) for alert in bundle.alerts)
    return (
        _HEAD
        + _table(("key", "value", "kind", "meaning"), _keys("", SETTINGS, _effective(bundle, settings)))
        + "\n## Thresholds\n\n"
        + _table(("key", "value", "unit and range", "reason"), thresholds)
        + "\n## Objectives\n\n"
        + _table(("key", "value", "meaning"), objectives)
        + "\n## Alerts\n\n"
        + _table(("key", "`severity`", "`for`", "`keep_firing_for`"), alerts)
    )


def _effective(bundle: Bundle, settings: Settings) -> Settings:
    """The settings with the declared routes where nothing else is chosen."""
    if bundle.routing is None:
        return settings
    routing = apply_settings(bundle.routing, settings)
    routes: dict[str, Any] = {route.severity: vars(route) for route in routing.routes}
    return replace(settings, alertmanager=replace(settings.alertmanager, group_by=routing.group_by, routes=routes))


def _keys(prefix: str, section: Section, values: Any) -> Iterator[tuple[str, ...]]:
    for field in section.fields:
        path, kind = f"{prefix}{field.key}", field.kind
        value = values.get(field.name, {}) if isinstance(values, Mapping) else getattr(values, field.name)
        if isinstance(kind, Section) and not field.many:
            yield from _keys(f"{path}.", kind, value)
        elif isinstance(kind, Table) and isinstance(kind.values, Section):
            yield from _keys(f"{path}.NAME.", kind.values, kind.values.make())
        else:
            yield f"`{path}`", _shown(field, value), _kind(field), field.doc


def _kind(field: Field) -> str:
    """The kind of value that a key takes, in words."""
    if isinstance(field.kind, Section):
        return f"list of {' and '.join(each.key for each in field.kind.fields)}"
    listed = f"list of {field.kind.words}s" if field.several else field.kind.words
    return listed + ", which may be empty" * field.empty


def _shown(field: Field, value: Any) -> str:
    if value is None or value in ("", (), {}):
        return ""
    kind = field.kind.values if isinstance(field.kind, Table) else field.kind
    if isinstance(kind, Kind):
        if isinstance(field.kind, Table):
            value = {name: kind.written(each) for name, each in value.items()}
        else:
            value = [kind.written(each) for each in value] if field.several else kind.written(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return f"`{text.removesuffix(chr(10)).removesuffix('...').strip()}`"


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
