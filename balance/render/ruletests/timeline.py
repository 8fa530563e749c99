"""The life of an alert over piecewise linear series: evaluation by evaluation, in every version of Prometheus at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.lifecycle import AlertState, next_states
from balance.promql.evaluate import Database, Instant, Labels, Series, Vector, Version, evaluate_all, without_names
from balance.promql.solve import Lines, SeriesKey
from balance.promql.text import Scope
from balance.render.templates import expand

VERSIONS: tuple[Version, ...] = ((2, 42), (3, 0))
_AFTER_END = 5
"""Evaluations after the end of an alert at which it is asserted that it is still inactive."""


@dataclass(frozen=True)
class AlertUnderTest:
    """An alert with everything that its tests depend on: the scope and annotations of its rule under the settings, the rule files to load,
    and the order in which their groups are evaluated.
    """

    alert: Alert
    scope: Scope
    annotations: tuple[tuple[str, str], ...]
    rule_files: tuple[str, ...]
    group_order: tuple[str, ...]

    @property
    def condition(self) -> Condition:
        """The condition of the alert."""
        return self.alert.condition


@dataclass(frozen=True)
class Segment:
    """Series that follow these lines for `steps` evaluations. With `reset`, counters restart at the beginning."""

    lines: Lines
    steps: int
    reset: bool = False


Samples = dict[SeriesKey, list[float | None]]


def sampled(segments: tuple[Segment, ...], step: int) -> Samples:
    """The samples of each series at every step of the segments, None where it has none. `step` is in seconds."""
    keys = dict.fromkeys(key for segment in segments for key in segment.lines)
    samples: Samples = {key: [] for key in keys}
    counts: dict[SeriesKey, Fraction] = {}
    begin = 0
    for segment in segments:
        for key, values in samples.items():
            line = segment.lines.get(key)
            if line is None:
                values += [None] * segment.steps
            elif line.counter:
                rise = line.slope * step
                first = rise if segment.reset else counts[key] + rise if key in counts else Fraction(0)
                values += _line(first, rise, range(segment.steps))
                counts[key] = first + rise * (segment.steps - 1)
            else:
                values += _line(line.start, line.slope * step, range(begin, begin + segment.steps))
        begin += segment.steps
    return samples


def _line(first: Fraction, rise: Fraction, numbers: range) -> list[float]:
    """The values of a line at these step numbers, each rounded to the nearest float."""
    common = math.lcm(first.denominator, rise.denominator)
    begin, more = int(first * common), int(rise * common)
    return [(begin + more * number) / common for number in numbers]


def database(samples: Samples, step: int, scope: Scope) -> Database:
    """A database of the samples for the evaluator. `step` is in seconds."""
    series = (
        Series(name, dict(labels), ((number * step, value) for number, value in enumerate(values) if value is not None))
        for (name, labels), values in samples.items()
    )
    return Database(series, scope)


Annotations = Mapping[Labels, tuple[tuple[str, str], ...]]


class Evaluation:
    """The alerts that are pending or firing after an evaluation, in each version of Prometheus.

    `firing` maps the labels of each alert in the first version to True if it fires; `agreed` is True if all versions have the same.
    """

    def __init__(self, number: int, alerts: tuple[Mapping[Labels, AlertState], ...]) -> None:
        self.number, self.alerts = number, alerts
        self.firing, *others = ({labels: one.firing for labels, one in standing.items()} for standing in alerts)
        self.agreed = all(firing == self.firing for firing in others)

    def annotations(self, templates: tuple[tuple[str, str], ...]) -> Annotations | None:
        """The expanded annotations of every alert; None if the versions differ."""
        first, *others = (
            {labels: tuple((name, expand(words, dict(labels), one.value)) for name, words in templates) for labels, one in standing.items()}
            for standing in self.alerts
        )
        return first if all(other == first for other in others) else None


@dataclass(frozen=True)
class ExpectedAlerts:
    """The assertions for one evaluation: `firing` maps each alert to True if it fires, `annotations` are None where the versions differ."""

    firing: Mapping[Labels, bool]
    annotations: Annotations | None


class Timeline:
    """The states of an alert at every evaluation, as Prometheus' rules/alerting.go computes them. `step` is in seconds."""

    def __init__(self, tested: AlertUnderTest, segments: tuple[Segment, ...], step: int) -> None:
        self.tested, self.samples = tested, sampled(segments, step)
        steps = sum(segment.steps for segment in segments)
        instants = [Instant(number * step, version) for version in VERSIONS for number in range(steps)]
        found = without_names(evaluate_all(tested.condition.whole, database(self.samples, step, tested.scope), instants))
        results = [{labels: value for labels, column in found.items() if (value := column[place]) is not None} for place in range(len(instants))]
        runs = [self._run(results[begin : begin + steps], step) for begin in range(0, len(instants), steps)]
        self.evaluations = [Evaluation(number, alerts) for number, alerts in enumerate(zip(*runs, strict=True))]

    def _run(self, results: Iterable[Vector], step: int) -> Iterator[dict[Labels, AlertState]]:
        """The alerts after each evaluation, given the results of the condition."""
        alert = self.tested.alert
        alerts: dict[Labels, AlertState] = {}
        for number, result in enumerate(results):
            alerts = next_states(alerts, result, number * step, wait=alert.wait, keep_firing=alert.keep_firing)
            yield alerts

    @property
    def raised(self) -> bool:
        """True if the alert is ever pending or firing in any version."""
        return any(any(evaluation.alerts) for evaluation in self.evaluations)

    @cached_property
    def agreed(self) -> dict[int, Evaluation]:
        """The evaluations at which all versions agree, by number."""
        return {evaluation.number: evaluation for evaluation in self.evaluations if evaluation.agreed}

    @cached_property
    def changes(self) -> list[tuple[int, int]]:
        """The evaluations before and after each change, among those at which all versions agree."""
        return [(before, after) for before, after in pairwise(self.agreed) if self.agreed[before].firing != self.agreed[after].firing]

    def first_firing(self) -> int:
        """The first evaluation by which the alert has fired in every version; the number of evaluations if it never fires."""
        firing = (
            [any(one.firing for one in alerts.values()) for alerts in run] for run in zip(*(one.alerts for one in self.evaluations), strict=True)
        )
        return max(run.index(True) if True in run else len(run) for run in firing)

    def expected(self) -> dict[int, ExpectedAlerts]:
        """The assertions by evaluation: before and after every change, as late as possible while an alert lasts, and at the end."""
        told = {number for change in self.changes for number in change} | {self._latest(after) for _, after in self.changes}
        last, end = max(told, default=0), max(self.agreed, default=0)
        over = told and not self.agreed[last].firing
        told.add(min(end, last + _AFTER_END) if over else end)  # also assert that it stays inactive for a while
        return {number: ExpectedAlerts(self.agreed[number].firing, self._annotations(number)) for number in sorted(told) if number in self.agreed}

    def _latest(self, begin: int) -> int:
        """The last evaluation with the same alerts as at `begin` whose annotations can be asserted; `begin` if there is none."""
        wanted = self.agreed[begin].firing
        later = (number for number in reversed(self.agreed) if number >= begin and self.agreed[number].firing == wanted)
        return next((number for number in later if self._annotations(number) is not None), begin) if wanted else begin

    def _annotations(self, number: int) -> Annotations | None:
        return self.agreed[number].annotations(self.tested.annotations)
