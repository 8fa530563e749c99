"""Units of the catalog in the words of Grafana and of Prometheus' templates."""

from __future__ import annotations

from balance.catalog.model import BYTES, INFO, RATIO, SECONDS, STATE, Unit

_REQUESTS = Unit.of("requests")
_GRAFANA = {
    RATIO: "percentunit",
    SECONDS: "s",
    BYTES: "bytes",
    BYTES / SECONDS: "Bps",
    _REQUESTS / SECONDS: "reqps",
    STATE: "none",
    INFO: "none",
}
_HUMANIZE = {RATIO: ("humanizePercentage", ""), SECONDS: ("humanizeDuration", ""), BYTES: ("humanize1024", "B")}


def grafana(unit: Unit) -> str:
    """Grafana's unit id. What is counted is `short` (1.5 K), its rate `cps` (counts per second)."""
    if unit in _GRAFANA:
        return _GRAFANA[unit]
    return "cps" if dict(unit.powers).get("seconds") == -1 else "short"


def humanized(argument: str, unit: Unit) -> str:
    """A Prometheus template that writes `argument` in the unit: ``{{ $value | humanizePercentage }}``."""
    function, suffix = _HUMANIZE.get(unit, ("humanize", ""))
    return f"{{{{ {argument} | {function} }}}}{suffix}"
