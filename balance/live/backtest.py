"""When alerts would have fired over the history of a Prometheus, evaluated as its rule manager does.

Every step is one evaluation; `balance.monitoring.lifecycle` says what its result means for an alert.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from balance.catalog.model import Threshold, Unit
from balance.live.prometheus import Prometheus, Series
from balance.monitoring.lifecycle import AlertState, Labels, next_states

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
MAX_SAMPLES = 2000
"""Samples of the measured side per series over the period; fewer if there are fewer evaluations."""
MIN_VALUES = 100
"""No threshold is suggested from fewer values."""


@dataclass(frozen=True)
class Period:
    """From `start` to `end` in seconds since 1970, one evaluation every `step` seconds."""

    start: int
    end: int
    step: int


@dataclass(frozen=True)
class Trial:
    """An alert to backtest. `rule` is its whole expression and `measured` the side that is compared with the threshold, both PromQL; `wait` and
    `keep_firing` are in seconds, `bounds` are the bucket bounds that the threshold must be one of, if any."""

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
    """When an alert fired, in seconds since 1970; `ended` is false if it still fires at the end of the period."""

    labels: tuple[tuple[str, str], ...]
    start: int
    end: int
    ended: bool = True


@dataclass(frozen=True)
class BacktestResult:
    """The result of a trial. `quantiles` are those of all measured values, `suggested` is a threshold that follows from them, or None."""

    trial: Trial
    episodes: tuple[Episode, ...]
    samples: int
    quantiles: tuple[float, ...]
    suggested: float | None

    @property
    def seconds(self) -> int:
        """Total seconds of firing, summed over series."""
        return sum(episode.end - episode.start for episode in self.episodes)

    @property
    def longest(self) -> int:
        """Seconds of the longest episode."""
        return max((episode.end - episode.start for episode in self.episodes), default=0)

    @property
    def unit(self) -> Unit:
        """The unit of the quantiles."""
        return self.trial.threshold.unit


def backtest(server: Prometheus, trial: Trial, period: Period) -> BacktestResult:
    """Evaluate one alert over the period. Raises `LiveError` if the server cannot be asked."""
    pieces = server.range(trial.rule, period.start, period.end, period.step)
    episodes = sorted(firing(_results(pieces), period, trial.wait, trial.keep_firing), key=lambda episode: (episode.start, episode.labels))
    coarse = max(period.step, (period.end - period.start) // MAX_SAMPLES)
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
    """The episodes of an alert whose expression has these results (by time), each from the evaluation at which it fires to the first at which it
    no longer does. `wait` and `keep_firing` are in seconds."""
    standing: dict[Labels, AlertState] = {}
    since: dict[Labels, int] = {}
    for at in range(period.start, period.end + 1, period.step):
        standing = next_states(standing, results.get(at, {}), at, wait=wait, keep_firing=keep_firing)
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
    """A threshold beyond 99.9 % of the values, with two digits, or the next bucket bound; None if there is none or too few values."""
    if trial.threshold.fixed or len(ordered) < MIN_VALUES or trial.operator not in (">", ">=", "<", "<="):
        return None
    above = trial.operator in (">", ">=")
    edge = quantile(ordered, 0.999 if above else 0.001)
    chosen = next((bound for bound in trial.bounds if bound >= edge), None) if trial.bounds else rounded(edge, up=above)
    return None if chosen is None or trial.threshold.problem(chosen) else chosen


def rounded(value: float, *, up: bool) -> float:
    """The nearest number of two significant digits that is not below (or not above) the value."""
    from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

    exact = Decimal(repr(value))
    if not exact or not exact.is_finite():
        return value
    digit = Decimal(1).scaleb(exact.adjusted() - 1)
    return float((exact / digit).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * digit)
