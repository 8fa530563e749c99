"""What alerts would have done: over the history that a Prometheus has, as the rule manager would have evaluated them.

Every step stands for one evaluation. A series of the expression's result that is there makes its alert pending, for as long as it is there at every
step; pending for `wait` it fires; gone, it fires on for `keep_firing` (rules/alerting.go of Prometheus does the same).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from balance.catalog.model import Threshold, Unit
from balance.live.prometheus import Prometheus, Series
from balance.record import Record

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
MEASURED = 2000
"""The values of a series are looked at so many times over the whole period, or at every evaluation if that is less often."""
FEWEST = 100
"""From fewer values nothing is suggested."""


class Period(Record):
    """From `start` to `end` in seconds since 1970, one evaluation every `step` seconds."""

    start: int
    end: int
    step: int


class Trial(Record):
    """An alert to be tried. `rule` is its whole expression, `measured` what it compares with the threshold, both in PromQL."""

    name: str
    rule: str
    wait: int
    keep_firing: int
    measured: str
    operator: str
    threshold: Threshold
    value: float
    bounds: tuple[float, ...] = ()


class Episode(Record):
    """From when to when an alert fired, in seconds; `ended` is false if it fires still."""

    labels: tuple[tuple[str, str], ...]
    start: int
    end: int
    ended: bool = True


class Outcome(Record):
    """What came of a trial. `quantiles` are of everything that was measured, `suggested` a threshold that follows from them, if one does."""

    trial: Trial
    episodes: tuple[Episode, ...]
    samples: int
    quantiles: tuple[float, ...]
    suggested: float | None

    @property
    def seconds(self) -> int:
        """How long it fired in all, several series at a time counted several times."""
        return sum(episode.end - episode.start for episode in self.episodes)

    @property
    def longest(self) -> int:
        """The longest time for which it fired."""
        return max((episode.end - episode.start for episode in self.episodes), default=0)

    @property
    def unit(self) -> Unit:
        """The unit of the quantiles."""
        return self.trial.threshold.unit


def backtest(server: Prometheus, trial: Trial, period: Period) -> Outcome:
    """Try one alert over the period."""
    pieces = server.range(trial.rule, period.start, period.end, period.step)
    episodes = sorted(_episodes(pieces, trial, period), key=lambda episode: (episode.start, episode.labels))
    coarse = max(period.step, (period.end - period.start) // MEASURED)
    values = array("d")
    for piece in server.range(trial.measured, period.start, period.end, coarse):
        for samples in piece.values():
            values.extend(value for _, value in samples if value == value)
    ordered = sorted(values)
    quantiles = tuple(quantile(ordered, q) for q in QUANTILES) if ordered else ()
    return Outcome(trial, tuple(episodes), len(ordered), quantiles, suggestion(trial, ordered))


def _episodes(pieces: Iterable[Series], trial: Trial, period: Period) -> Iterator[Episode]:
    """All pieces in turn; what is pending or firing at the end of one goes on in the next."""
    times: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for piece in pieces:
        for labels, samples in piece.items():
            times.setdefault(labels, []).extend(at for at, _ in samples)
    for labels, active in times.items():
        for start, end in firing(active, period, trial.wait, trial.keep_firing):
            yield Episode(labels, start, min(end, period.end), end <= period.end)


def firing(active: Iterable[int], period: Period, wait: int, keep_firing: int) -> Iterator[tuple[int, int]]:
    """From when to when (the first evaluation at which it no longer does) an alert fires whose expression has a result at the times `active`.

    An end after that of the period means that it fires still.
    """
    present = set(active)
    since = fired = gone = None
    for at in range(period.start, period.end + 1, period.step):
        if at in present:
            gone = None
            if since is None:
                since = at
            if fired is None and at - since >= wait:
                fired = at
        elif fired is None:
            since = None
        else:
            gone = at if gone is None else gone
            if at - gone >= keep_firing:
                yield fired, at
                since = fired = gone = None
    if fired is not None:
        yield fired, period.end + period.step


def quantile(ordered: list[float], q: float) -> float:
    """The q-quantile of ascending values, interpolated as PromQL's `quantile` does."""
    rank = q * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def suggestion(trial: Trial, ordered: list[float]) -> float | None:
    """A threshold beyond 999 of 1000 of the values, in two digits, or the next bucket bound; None if there is none that may be chosen."""
    if trial.threshold.fixed or len(ordered) < FEWEST or trial.operator not in (">", ">=", "<", "<="):
        return None
    above = trial.operator in (">", ">=")
    edge = quantile(ordered, 0.999 if above else 0.001)
    chosen = next((bound for bound in trial.bounds if bound >= edge), None) if trial.bounds else rounded(edge, up=above)
    return None if chosen is None or trial.threshold.fault(chosen) else chosen


def rounded(value: float, *, up: bool) -> float:
    """The nearest number of two significant digits that is not below (or not above) the value."""
    from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

    exact = Decimal(repr(value))
    if not exact or not exact.is_finite():
        return value
    digit = Decimal(1).scaleb(exact.adjusted() - 1)
    return float((exact / digit).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * digit)
