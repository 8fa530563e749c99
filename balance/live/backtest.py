"""What alerts would have done: over the history that a Prometheus has, as the rule manager would have evaluated them.

Every step stands for one evaluation; what comes of its result is for `balance.monitoring.lifecycle` to say.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from balance.catalog.model import Threshold, Unit
from balance.live.prometheus import Prometheus, Series
from balance.monitoring.lifecycle import Labels, Standing, evaluated

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
MEASURED = 2000
"""The values of a series are looked at so many times over the whole period, or at every evaluation if that is less often."""
FEWEST = 100
"""From fewer values nothing is suggested."""


@dataclass(frozen=True)
class Period:
    """From `start` to `end` in seconds since 1970, one evaluation every `step` seconds."""

    start: int
    end: int
    step: int


@dataclass(frozen=True)
class Trial:
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


@dataclass(frozen=True)
class Episode:
    """From when to when an alert fired, in seconds; `ended` is false if it fires still."""

    labels: tuple[tuple[str, str], ...]
    start: int
    end: int
    ended: bool = True


@dataclass(frozen=True)
class BacktestResult:
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


def backtest(server: Prometheus, trial: Trial, period: Period) -> BacktestResult:
    """Try one alert over the period."""
    pieces = server.range(trial.rule, period.start, period.end, period.step)
    episodes = sorted(firing(_results(pieces), period, trial.wait, trial.keep_firing), key=lambda episode: (episode.start, episode.labels))
    coarse = max(period.step, (period.end - period.start) // MEASURED)
    values = array("d")
    for piece in server.range(trial.measured, period.start, period.end, coarse):
        for samples in piece.values():
            values.extend(value for _, value in samples if value == value)
    ordered = sorted(values)
    quantiles = tuple(quantile(ordered, q) for q in QUANTILES) if ordered else ()
    return BacktestResult(trial, tuple(episodes), len(ordered), quantiles, suggestion(trial, ordered))


def _results(pieces: Iterable[Series]) -> dict[int, dict[Labels, float]]:
    """The results of all pieces by time."""
    results: dict[int, dict[Labels, float]] = {}
    for piece in pieces:
        for labels, samples in piece.items():
            alert = frozenset(labels)
            for at, value in samples:
                results.setdefault(at, {})[alert] = value
    return results


def firing(results: Mapping[int, Mapping[Labels, float]], period: Period, wait: int, keep_firing: int) -> Iterator[Episode]:
    """When alerts fire whose expression has these results: from an evaluation to the first at which they no longer do."""
    standing: dict[Labels, Standing] = {}
    since: dict[Labels, int] = {}
    for at in range(period.start, period.end + 1, period.step):
        standing = evaluated(standing, results.get(at, {}), at, wait=wait, keep_firing=keep_firing)
        now = {labels for labels, one in standing.items() if one.firing}
        for labels in since.keys() - now:
            yield Episode(tuple(sorted(labels)), since.pop(labels), at)
        since |= dict.fromkeys(now - since.keys(), at)
    for labels, start in since.items():
        yield Episode(tuple(sorted(labels)), start, period.end, ended=False)


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
