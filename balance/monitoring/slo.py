"""Service level objectives: the share of requests that must be good, and alerts on burn rates of the error budget.

Theory. An objective of 99.9 % leaves an error budget of 0.1 % for the period. Spending 2 % of the budget of 30 days within one hour is a burn rate
of 0.02 x 720 h / 1 h = 14.4: errors above 14.4 x 0.1 % = 1.44 % over one hour. A second, shorter window ends the alert soon after the errors end
(Site Reliability Workbook, chapter 5). All numbers are decimal: 0.0144 and not 0.014399999999999913. Before the long window has been recorded in
full, its ratio is that of a shorter time and would page too early: the alert does not fire then.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from balance.catalog.model import RATIO, Threshold, is_name
from balance.errors import MonitoringError
from balance.monitoring.alerts import Alert, Condition, RecordingRule
from balance.monitoring.settings import Severity
from balance.promql import Window, compare, complement, increase, over_time, rate, ratio, recorded, sum_by, times
from balance.promql.ast import Recorded
from balance.promql.selectors import CounterSeries, Expr
from balance.promql.text import duration

HOUR, DAY = 3600, 86400


@dataclass(frozen=True)
class WindowPair:
    """Two windows, in seconds, and the share of the period's budget that is spent within the long window when the alert fires."""

    long: int
    short: int
    share: Decimal


@dataclass(frozen=True)
class Pace:
    """The burn rates of one alert, which fires for any of the pairs of windows. `name` ends the name of the alert."""

    name: str
    severity: Severity
    pairs: tuple[WindowPair, ...]


PACES = (
    Pace("Fast", "critical", (WindowPair(HOUR, 300, Decimal("0.02")), WindowPair(6 * HOUR, 1800, Decimal("0.05")))),
    Pace("Slow", "warning", (WindowPair(DAY, 2 * HOUR, Decimal("0.1")), WindowPair(3 * DAY, 6 * HOUR, Decimal("0.1")))),
)
"""The windows and burn rates of the Site Reliability Workbook, chapter 5."""


@dataclass(frozen=True)
class Slo:
    """An objective for the share of good events among all events, over a period of `days`.

    `name`: used in recording rules and thresholds. `alert`: prefix of the alerts. `fault`: what is wrong with bad events, for texts ("were
    answered with server errors"). `objective`: share of good events, between 0 and 1. `total`: all events; either `bad` or `good` counts some of
    them; for latency, `good` is ``series(HISTOGRAM).within(BOUND)``. `traffic`, `least`: alerts need more than `least` events of `traffic` in the
    long window, and a history as long as the window: an increase, even of 0, at its start.

    Raises `MonitoringError` for contradictions.
    """

    name: str
    alert: str
    fault: str
    objective: Decimal
    total: CounterSeries
    traffic: CounterSeries
    least: Threshold
    bad: CounterSeries | None = None
    good: CounterSeries | None = None
    days: int = 30

    def __post_init__(self) -> None:
        where = f"objective {self.name!r}"
        if not is_name(self.name):
            raise MonitoringError("invalid name", where=where, cure="use letters, digits and _")
        if not 0 < self.objective < 1:
            raise MonitoringError(f"invalid objective {self.objective}", where=where, cure="must be between 0 and 1, for example 0.999")
        if (self.bad is None) == (self.good is None):
            raise MonitoringError("needs exactly one of bad= and good=", where=where, cure="give one of them")
        burning = max(self.factor(pair) for pace in PACES for pair in pace.pairs) * self.budget
        if burning >= 1:
            raise MonitoringError(
                f"{self.objective} is too low: not even 100% errors would reach the burn rates", where=where, cure="choose a higher objective"
            )

    @property
    def budget(self) -> Decimal:
        """The share of bad events that the objective allows."""
        return 1 - self.objective

    def factor(self, pair: WindowPair) -> Decimal:
        """The burn rate at which the pair's share of the budget is spent within its long window."""
        return pair.share * self.days * DAY / pair.long

    def threshold(self, pair: WindowPair) -> Threshold:
        """The share of bad events above which the alert fires."""
        factor = self.factor(pair)
        return Threshold(
            f"{self.name}_burn_{duration(pair.long)}", float(factor * self.budget), RATIO, maximum=1,
            reason=f"{plain(factor)} times the budget of {plain(self.budget)}: {percent(pair.share)} of that of {self.days} days are spent "
            f"in {duration(pair.long)}.",
        )  # fmt: skip

    @property
    def per_budget(self) -> Threshold:
        """The factor from a share of bad events to a burn rate: one over the budget."""
        return Threshold(f"{self.name}_per_budget", float(1 / self.budget), RATIO, reason=f"One over the budget of {plain(self.budget)}.")

    @cached_property
    def thresholds(self) -> tuple[Threshold, ...]:
        """All thresholds that are derived from the objective."""
        return (*(self.threshold(pair) for pace in PACES for pair in pace.pairs), self.per_budget)

    def _errors(self, part: Expr, whole: Expr) -> Expr:
        return ratio(part, whole) if self.bad else complement(ratio(part, whole))

    @property
    def _part(self) -> CounterSeries:
        part = self.bad or self.good
        assert part is not None  # noqa: S101 (validated)
        return part

    def errors(self, seconds: int) -> Recorded:
        """The recorded share of bad events over a window of `seconds`."""
        window = Window(seconds)
        now = self._errors(sum_by(rate(self._part.over(window)), "job"), sum_by(rate(self.total.over(window)), "job"))
        return recorded(f"job:{self.name}_errors:ratio_rate{duration(seconds)}", now)

    @property
    def period(self) -> str:
        """The period as a duration: 30d."""
        return f"{self.days}d"

    @cached_property
    def errors_of_period(self) -> Recorded:
        """The share of bad events over the period, from the recorded rates over five minutes."""
        long = Window(self.days * DAY)
        return recorded(f"job:{self.name}_errors:ratio_rate{self.period}", self._errors(*(over_time(kept, long) for kept in self._kept)))

    @property
    def _kept(self) -> tuple[Recorded, Recorded]:
        part = "bad" if self.bad else "good"
        return (
            recorded(f"job:{self.name}_{part}:rate5m", sum_by(rate(self._part.over(Window(300))), "job")),
            recorded(f"job:{self.name}_total:rate5m", sum_by(rate(self.total.over(Window(300))), "job")),
        )

    @property
    def burn_rate(self) -> Recorded:
        """The burn rate of the budget over the last hour: at 1 it lasts exactly the period."""
        return recorded(f"job:{self.name}_burn_rate:ratio_rate1h", times(self.errors(HOUR), self.per_budget))

    @cached_property
    def remaining(self) -> Recorded:
        """The share of the period's error budget that is left; negative when it is overspent."""
        return recorded(f"job:{self.name}_error_budget:remaining{self.period}", complement(times(self.errors_of_period, self.per_budget)))

    @cached_property
    def recording_rules(self) -> tuple[RecordingRule, ...]:
        """All recording rules, in the order of their dependencies."""
        windows = sorted({window for pace in PACES for pair in pace.pairs for window in (pair.long, pair.short)})
        series = (*(self.errors(window) for window in windows), *self._kept, self.errors_of_period, self.burn_rate, self.remaining)
        return tuple(RecordingRule(one.record, one.expr, group=self.name) for one in series)

    @cached_property
    def alerts(self) -> tuple[Alert, ...]:
        """One alert for each pace."""
        return tuple(self._alert(pace) for pace in PACES)

    def _alert(self, pace: Pace) -> Alert:
        least = plain(min(self.factor(pair) for pair in pace.pairs))
        speed = "as fast as" if least == "1" else f"{least} times as fast as"
        bad = f"{{value}} of the requests of job {{{{ $labels.job }}}} {self.fault}"
        return Alert(
            f"{self.alert}Burn{pace.name}",
            self._any(pace.pairs),
            pace.severity,
            summary=bad,
            description=f"{bad}, where {percent(self.objective)} over {self.days} days are to be good: "
            f"the error budget burns at least {speed} it lasts.",
            group=self.name,
        )

    def _any(self, pairs: tuple[WindowPair, ...]) -> Condition:
        pair, *others = pairs
        threshold = self.threshold(pair)
        long, begin = Window(pair.long), Window(pair.short, offset=pair.long - pair.short)
        return Condition(
            self.errors(pair.long),
            ">",
            threshold,
            also=(
                compare(self.errors(pair.short), ">", threshold),
                compare(sum_by(increase(self.traffic.over(long)), "job"), ">", self.least),
                sum_by(increase(self.traffic.over(begin)), "job"),
            ),
            otherwise=self._any(tuple(others)) if others else None,
        )


def plain(value: Decimal) -> str:
    """A decimal number without exponent and trailing zeros: "14.4"."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: Decimal) -> str:
    """A share as a percentage: 0.999 is "99.9%"."""
    return f"{plain(value * 100)}%"
