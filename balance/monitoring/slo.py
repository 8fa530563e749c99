"""Service level objectives: what share of the requests must be good, and who is told when the error budget burns.

Theory. An objective of 99.9 % leaves a budget of 0.1 % for the period. Whoever spends 2 % of the budget of 30 days within one hour burns it
0.02 x 720 h / 1 h = 14.4 times as fast as it lasts: errors above 14.4 x 0.1 % = 1.44 % over one hour. A second, shorter window sees to it that
the alert ends soon after the errors do (Site Reliability Workbook, chapter 5). All figures are decimal: 0.0144 and not 0.014399999999999913.
While less than the long window has been recorded, its ratio is that of a shorter time and would page too early: nobody is told then.
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
class Pair:
    """Two windows, in seconds, and the share of the period's budget that is spent within the long one when somebody is told."""

    long: int
    short: int
    share: Decimal


@dataclass(frozen=True)
class Pace:
    """How fast a budget burns for somebody to be told so: any of the pairs."""

    name: str
    severity: Severity
    pairs: tuple[Pair, ...]


PACES = (
    Pace("Fast", "critical", (Pair(HOUR, 300, Decimal("0.02")), Pair(6 * HOUR, 1800, Decimal("0.05")))),
    Pace("Slow", "warning", (Pair(DAY, 2 * HOUR, Decimal("0.1")), Pair(3 * DAY, 6 * HOUR, Decimal("0.1")))),
)
"""The pairs of the Site Reliability Workbook."""


@dataclass(frozen=True)
class Slo:
    """An objective for the share of good events among all, over a period of days.

    Either `bad` or `good` counts within `total`; for latency, `good` is ``series(HISTOGRAM).within(BOUND)``, which is a bucket by
    construction. `fault` says what is wrong with a bad one ("were answered with server errors"). Alerts, named after `alert`, need more
    than `least` events in the long window, and a history as long as the window: that there was an increase at its begin, be it 0.
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
            raise MonitoringError("is no name", where=where, cure="letters, digits and _")
        if not 0 < self.objective < 1:
            raise MonitoringError(f"is {self.objective}", where=where, cure="a share between 0 and 1, for example 0.999")
        if (self.bad is None) == (self.good is None):
            raise MonitoringError("needs what is bad, or what is good", where=where, cure="give one of bad=, good=")
        burning = max(self.factor(pair) for pace in PACES for pair in pace.pairs) * self.budget
        if burning >= 1:
            raise MonitoringError(
                f"{self.objective} leaves so large a budget that no share of errors burns it fast enough", where=where, cure="choose a higher one"
            )

    @property
    def budget(self) -> Decimal:
        """The share of bad events that the objective allows."""
        return 1 - self.objective

    def factor(self, pair: Pair) -> Decimal:
        """How many times as fast as it lasts the budget burns when the pair's share of it is spent within its long window."""
        return pair.share * self.days * DAY / pair.long

    def threshold(self, pair: Pair) -> Threshold:
        """The share of bad events from which somebody is told."""
        factor = self.factor(pair)
        return Threshold(
            f"{self.name}_burn_{duration(pair.long)}", float(factor * self.budget), RATIO, maximum=1,
            reason=f"{plain(factor)} times the budget of {plain(self.budget)}: {percent(pair.share)} of that of {self.days} days are spent "
            f"in {duration(pair.long)}.",
        )  # fmt: skip

    @property
    def per_budget(self) -> Threshold:
        """What a share of bad events is multiplied by to be a share of the budget."""
        return Threshold(f"{self.name}_per_budget", float(1 / self.budget), RATIO, reason=f"One over the budget of {plain(self.budget)}.")

    @cached_property
    def thresholds(self) -> tuple[Threshold, ...]:
        """All thresholds that follow from the objective."""
        return (*(self.threshold(pair) for pace in PACES for pair in pace.pairs), self.per_budget)

    def _errors(self, part: Expr, whole: Expr) -> Expr:
        return ratio(part, whole) if self.bad else complement(ratio(part, whole))

    @property
    def _part(self) -> CounterSeries:
        part = self.bad or self.good
        assert part is not None  # noqa: S101 (validated)
        return part

    def errors(self, seconds: int) -> Recorded:
        """The share of bad events over a window, as recorded."""
        window = Window(seconds)
        now = self._errors(sum_by(rate(self._part.over(window)), "job"), sum_by(rate(self.total.over(window)), "job"))
        return recorded(f"job:{self.name}_errors:ratio_rate{duration(seconds)}", now)

    @property
    def period(self) -> str:
        """The period as a duration, 30d: windows of rates are written so."""
        return f"{self.days}d"

    @cached_property
    def errors_of_period(self) -> Recorded:
        """The share of bad events over the period, out of what was recorded every five minutes or oftener."""
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
        """How many times as fast as it lasts the budget burns, over the last hour."""
        return recorded(f"job:{self.name}_burn_rate:ratio_rate1h", times(self.errors(HOUR), self.per_budget))

    @cached_property
    def remaining(self) -> Recorded:
        """The share of the period's error budget that is left; below 0 it is overspent."""
        return recorded(f"job:{self.name}_error_budget:remaining{self.period}", complement(times(self.errors_of_period, self.per_budget)))

    @cached_property
    def recording_rules(self) -> tuple[RecordingRule, ...]:
        """All that is recorded, in an order in which each rule finds what it needs."""
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

    def _any(self, pairs: tuple[Pair, ...]) -> Condition:
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
    """A decimal number without exponent and without zeros at its end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: Decimal) -> str:
    """A share in percent: 99.9 %."""
    return f"{plain(value * 100)}%"
