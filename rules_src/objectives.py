"""The objectives of the load balancer: availability and latency."""

from __future__ import annotations

from decimal import Decimal
from functools import cache

from balance.api import Settings, Slo, matches, series
from balance.lb.catalog import metrics as m
from balance.lb.catalog import thresholds as t

AVAILABILITY, LATENCY = Decimal("0.999"), Decimal("0.99")


def slos(settings: Settings) -> tuple[Slo, ...]:
    """Both objectives, with the shares in the settings or else 99.9 % and 99 %."""
    return _slos(settings.objectives.get("availability", AVAILABILITY), settings.objectives.get("latency", LATENCY))


@cache
def _slos(availability: Decimal, latency: Decimal) -> tuple[Slo, ...]:
    requests, durations = series(m.HTTP_REQUESTS), series(m.HTTP_REQUEST_DURATION)
    return (
        Slo(
            "availability", "BalanceAvailability", "were answered with server errors", availability,
            total=requests, bad=series(m.HTTP_REQUESTS, status=matches("5..")), traffic=requests, least=t.MIN_REQUESTS,
        ),
        Slo(
            "latency", "BalanceLatency", "took longer than 1 s", latency,
            total=durations.count, good=durations.within(1), traffic=requests, least=t.MIN_REQUESTS,
        ),
    )  # fmt: skip
