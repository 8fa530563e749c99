"""What an alert does over series that go along lines: evaluation by evaluation, in every version of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from balance.errors import RenderError
from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.lifecycle import Standing, evaluated
from balance.promql.evaluate import Database, Labels, Series, Version, evaluate, unnamed
from balance.promql.solve import Key, Lines
from balance.promql.text import Scope
from balance.record import Record
from balance.render.templates import expand

VERSIONS: tuple[Version, ...] = (2, 3)
_LATER = 5
"""So many evaluations after the end of an alert it is asserted that it is still over."""


class Tested(Record):
    """An alert with all that its tests need to know: what the rule says after settings."""

    alert: Alert
    scope: Scope
    annotations: tuple[tuple[str, str], ...]

    @property
    def condition(self) -> Condition:
        return self.alert.condition


class Phase(Record):
    """For so many evaluations, the series go along these lines. Counters begin anew at the start of a phase that is a `reset`."""

    lines: Lines
    steps: int
    reset: bool = False


class Case(Record):
    """A test: phases, one after the other, of `step` seconds between samples and evaluations."""

    name: str
    step: int
    phases: tuple[Phase, ...]
    fires: bool = True


Samples = dict[Key, list[float | None]]


def sampled(phases: tuple[Phase, ...], step: int) -> Samples:
    """A value, or none, for each series and each step of the phases."""
    keys = dict.fromkeys(key for phase in phases for key in phase.lines)
    samples: Samples = {key: [] for key in keys}
    counts: dict[Key, Fraction] = {}
    begin = 0
    for phase in phases:
        for key, values in samples.items():
            line = phase.lines.get(key)
            if line is None:
                values += [None] * phase.steps
            elif line.counter:
                rise = line.slope * step
                first = rise if phase.reset else counts[key] + rise if key in counts else Fraction(0)
                values += _line(first, rise, range(phase.steps))
                counts[key] = first + rise * (phase.steps - 1)
            else:
                values += _line(line.start, line.slope * step, range(begin, begin + phase.steps))
        begin += phase.steps
    return samples


def _line(first: Fraction, rise: Fraction, numbers: range) -> list[float]:
    """The values of a line, each the nearest float."""
    common = math.lcm(first.denominator, rise.denominator)
    begin, more = int(first * common), int(rise * common)
    return [(begin + more * number) / common for number in numbers]


def as_series(samples: Samples, step: int) -> list[Series]:
    """The samples as the evaluator wants them."""
    return [
        Series(name, dict(labels), ((number * step, value) for number, value in enumerate(values) if value is not None))
        for (name, labels), values in samples.items()
    ]


class State(Record):
    """One alert at one evaluation: whether it fires or is pending, and with which annotations."""

    firing: bool
    annotations: tuple[tuple[str, str], ...]


States = dict[Labels, State]


def states(tested: Tested, samples: Samples, case: Case, version: Version) -> Iterator[States]:
    """The alert's states at each evaluation, as rules/alerting.go makes them."""
    database, expr, alert = Database(as_series(samples, case.step), tested.scope, version), tested.condition.whole, tested.alert
    standing: dict[Labels, Standing] = {}
    for number in range(sum(phase.steps for phase in case.phases)):
        now = number * case.step
        found = {unnamed(labels): value for labels, value in evaluate(expr, database, now).items()}
        standing = evaluated(standing, found, now, wait=alert.wait, keep_firing=alert.keep_firing)
        yield {
            labels: State(one.firing, tuple((name, expand(words, dict(labels), one.value)) for name, words in tested.annotations))
            for labels, one in standing.items()
        }


class Fact(Record):
    """What is asserted of one evaluation: the states, and, where all versions have the same, the annotations."""

    states: States
    exact: bool


def facts(tested: Tested, case: Case, samples: Samples) -> dict[int, Fact]:
    """What is asserted, by evaluation: where all versions agree, before and after every change, and at the end."""
    runs: list[list[States]] = [list(states(tested, samples, case, version)) for version in VERSIONS]
    kinds = [[_kinds(seen) for seen in run] for run in runs]
    agreed = [number for number, both in enumerate(zip(*kinds, strict=True)) if all(one == both[0] for one in both)]
    exact = {number for number in agreed if all(run[number] == runs[0][number] for run in runs)}
    changes = [(before, after) for before, after in pairwise(agreed) if kinds[0][before] != kinds[0][after]]
    told = {number for change in changes for number in change}
    for _, begin in changes:  # a state that stays is asserted once more, as late as it can be, with its annotations
        told.add(max((n for n in exact if n >= begin and kinds[0][n] and kinds[0][n] == kinds[0][begin]), default=begin))
    end = max(agreed, default=0)
    told.add(min(end, max(told) + _LATER) if told and not kinds[0][max(told)] else end)  # what is over stays over for a while
    found = {number: Fact(runs[0][number], number in exact) for number in sorted(told & set(agreed))}
    fired = any(state.firing for fact in found.values() for state in fact.states.values())
    raised = any(any(run) for run in runs)
    if case.fires != fired or raised != fired:
        what = f"the case {case.name!r} {'fires' if fired else 'is pending for a moment' if raised else 'does not fire'}"
        raise RenderError(what, where=f"alert {tested.alert.name}", cure="mend the condition or its threshold")
    return found


def _kinds(seen: States) -> dict[Labels, bool]:
    return {labels: state.firing for labels, state in seen.items()}
