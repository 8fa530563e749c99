"""The test cases of an alert: series for which its condition just holds, just does not, or is far from holding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from balance.errors import QueryError
from balance.monitoring.alerts import Condition
from balance.promql.ast import Comparison, SetOperation
from balance.promql.evaluate import LOOKBACK, Database, Instant, evaluate, evaluate_all, matchers
from balance.promql.selectors import Expr, Selector
from balance.promql.solve import Lines, Solver, exact, inside, outside
from balance.promql.text import Scope, seconds
from balance.render.ruletests.timeline import VERSIONS, AlertUnderTest, Segment, Timeline, database, sampled

_STEP = 60
_SAMPLES, _FEW = 5, 3
"""Samples in the shortest window of a condition; `_FEW` if another window is more than `_LONG` times as long."""
_LONG = 10
_NEARLY = Fraction(97, 100)
_SCALES = (*range(1, 33), 100, 10_000, 1_000_000, 100_000_000)
"""Factors to multiply traffic by until arithmetic is exact and there is enough of it."""


@dataclass(frozen=True)
class Case:
    """A test case: consecutive segments with `step` seconds between samples and evaluations, and whether the alert fires in it."""

    name: str
    step: int
    segments: tuple[Segment, ...]
    fires: bool = True


def cases(tested: AlertUnderTest) -> Iterator[Case]:
    """All cases of an alert, with unique names. Raises `QueryError` if no series are found for one."""
    condition, scope = tested.condition, tested.scope
    for number, branch in enumerate(condition.branches, 1):
        which = f", way {number} of {len(condition.branches)}" if condition.otherwise else ""
        step = _step(branch, scope)
        warm, held = _warm_up(branch, step, scope), math.ceil(tested.alert.wait / step)
        gone = math.ceil((LOOKBACK + tested.alert.keep_firing) / step) + 2
        made = _BranchSeries(tested, branch, step)
        bad, healthy = made.among_others(made.bad), made.among_others(made.healthy)
        yield Case(f"fires, survives a restart and is over after recovery{which}", step, (
            Segment(bad, warm + held + 3),
            Segment(bad, 4, reset=True),
            Segment(healthy, warm + gone),
        ))  # fmt: skip
        other = _BranchSeries(tested, branch, step, last=True)
        before = Segment(other.with_least_traffic(other.healthy), warm + 2)
        after = Segment(other.with_least_traffic(other.far_beyond()), warm + held + 3)
        length = Timeline(tested, (before, after), step).first_firing() - before.steps
        yield Case(
            f"fires when it begins, and after that its series vanish{which}",
            step,
            (before, replace(after, steps=length + 2), Segment({}, warm + gone + held)),
        )
        for name, segments, fires in made.windows():
            yield Case(f"{name}{which}", step, segments, fires)
        for name, lines in made.edges():
            yield Case(f"silent: {name}{which}", step, (Segment(lines, warm + held + 3),), fires=False)
    step = _step(condition, scope)
    empty = Database((), scope)
    fires = bool(condition.missing and evaluate(condition.missing, empty, 0))
    yield Case("no series at all", step, (Segment({}, math.ceil(tested.alert.wait / step) + 2),), fires=fires)
    for number, way in enumerate(_alternatives(condition.missing) if condition.missing else (), 1):
        if lines := Solver(scope, step).solve(way, Fraction(1)):
            yield Case(f"what it needs is missing, way {number}", step, (Segment(lines, math.ceil(tested.alert.wait / step) + 3),))


def _alternatives(expr: Expr) -> list[Expr]:
    """The operands of a chain of ``or``."""
    return [*_alternatives(expr.left), *_alternatives(expr.right)] if isinstance(expr, SetOperation) and expr.operator == "or" else [expr]


def _windows(condition: Condition, scope: Scope) -> list[tuple[int, int]]:
    """Length and offset in seconds of every window of a branch."""
    exprs = (condition.expr, *condition.also)
    return [(seconds(window, scope), window.offset) for expr in exprs for window in expr.windows()]


def _step(branch: Condition, scope: Scope) -> int:
    """Seconds between samples: a fraction of the shortest window, a minute without windows."""
    lengths = [length for length, _ in _windows(branch, scope)] or [_STEP * _SAMPLES]
    return max(1, min(lengths) // (_FEW if max(lengths) > _LONG * min(lengths) else _SAMPLES))


def _warm_up(branch: Condition, step: int, scope: Scope) -> int:
    """The number of evaluations until every window is full."""
    return math.ceil(max((length + offset for length, offset in _windows(branch, scope)), default=0) / step) + 1


class _Candidate:
    """Series to try, with the results of a branch over them in each version of Prometheus up to `at` (seconds)."""

    def __init__(self, branch: Expr, lines: Lines, step: int, at: int, scope: Scope) -> None:
        self.branch, self.lines, self.step, self.at = branch, lines, step, at
        self._database = database(sampled((Segment(lines, at // step + 1),), step), step, scope)

    def values(self, expr: Expr) -> list[set[float]]:
        """The values of an expression at the end, per version."""
        found = evaluate_all(expr, self._database, [Instant(self.at, version) for version in VERSIONS])
        return [{value for column in found.values() if (value := column[place]) is not None} for place in range(len(VERSIONS))]

    def holds(self) -> bool:
        """True if the branch holds at the end in all versions."""
        return all(self.values(self.branch))

    def never(self) -> bool:
        """True if the branch never holds in any version."""
        instants = [Instant(at, version) for version in VERSIONS for at in range(0, self.at + 1, self.step)]
        return not evaluate_all(self.branch, self._database, instants)


class _BranchSeries:
    """Finds series for which one branch of a condition holds, and series for which it does not."""

    def __init__(self, tested: AlertUnderTest, branch: Condition, step: int, *, instance: str = "a", last: bool = False) -> None:
        self.tested, self.branch, self.step, self.scope = tested, branch, step, tested.scope
        self.instance, self.last = instance, last
        self.threshold = exact(self.scope.value(branch.threshold))
        self.at = (_warm_up(branch, step, self.scope) + math.ceil(tested.alert.wait / step) + 2) * step
        self.whole = replace(branch, otherwise=None, missing=None).whole

    @cached_property
    def bad(self) -> Lines:
        """Series for which the branch just holds."""
        return self._holding(inside(self.branch.comparison, self.threshold)[0])

    def far_beyond(self) -> Lines:
        """Series far beyond the threshold if possible, else just beyond it."""
        near = inside(self.branch.comparison, self.threshold)[0]
        far = near * {">": Fraction(8), ">=": Fraction(8), "<": Fraction(1, 8), "<=": Fraction(1, 8)}.get(self.branch.operator, Fraction(1))
        return self._first_possible(self._holding, (far, near))

    @cached_property
    def healthy(self) -> Lines:
        """Series far from the threshold, with everything that the condition expects to be present."""
        usual = outside(self.branch.comparison, self.threshold)
        far = {"<": Fraction(2), "<=": Fraction(2), ">": Fraction(1, 2), ">=": Fraction(1, 2)}.get(self.branch.operator, Fraction(1))
        lines = self._first_possible(lambda value: self._search(value, lambda found: not self._comparison_holds(found)), (far * usual[0], *usual))
        return {**lines, **self._excluding_series(), **self._required_series()}

    def edges(self) -> Iterator[tuple[str, Lines]]:
        """Series for which the branch just does not hold, each for a different reason, with a name."""
        values = outside(self.branch.comparison, self.threshold)
        lines = self._first_possible(lambda value: self._search(value, lambda found: self._exactly_at(found, value)), values)
        yield "just not beyond the threshold", lines
        if covered := self._excluding_series():
            yield "beyond it, but what excludes it is there", {**self.bad, **covered}
        for number, other in enumerate(self.branch.also, 1):
            if isinstance(other, Comparison) and (less := self._just_failing(other)):
                yield f"beyond it, but requirement {number} just does not hold", less

    def with_least_traffic(self, lines: Lines) -> Lines:
        """The series scaled to the least traffic that the condition requires."""
        for other in self.branch.also:
            if isinstance(other, Comparison) and other.unit != self.branch.expr.unit:
                lines = self._times(lines, other, inside(other, exact(self.scope.value(other.threshold)))[0])
        return lines

    def windows(self) -> Iterator[tuple[str, tuple[Segment, ...], bool]]:
        """Cases for a branch that compares two windows with one threshold: in each only one of them is beyond it. Name, segments, fires."""
        full = _warm_up(self.branch, self.step, self.scope) - 1
        for other in self.branch.also:
            if not (isinstance(other, Comparison) and other.threshold == self.branch.threshold and other.operator == ">"):
                continue
            few = math.ceil(max(seconds(window, self.scope) for window in other.windows()) / self.step) + 1
            rate = (_NEARLY * full - (full - few) * Fraction(1, 2)) / few  # the average over the long window comes close to the threshold
            lines = [self._search(self.threshold * share, lambda _: True) for share in (Fraction(1, 2), rate, Fraction(3, 2), _NEARLY)]
            healthy, burst, bad, nearly = lines
            yield "silent: beyond it over the short window only", (Segment(healthy, full + 2), Segment(burst, few)), False
            yield "over when it is not beyond it over the short window", (Segment(bad, full + 4), Segment(nearly, few + 2)), True

    def _just_failing(self, other: Comparison) -> Lines:
        """Series for which the branch's own comparison holds but the requirement `other` just does not; empty if there are none."""
        limit = exact(self.scope.value(other.threshold))
        for value in (Fraction(1, 2), inside(self.branch.comparison, self.threshold)[0]):
            with suppress(QueryError):
                lines = self._holding(value)
                for share in (Fraction(1), Fraction(999, 1000)):
                    less = self._candidate(self._times(lines, other, limit * share))
                    if self._comparison_holds(less) and less.never():
                        return less.lines
        return {}

    def _times(self, lines: Lines, other: Comparison, wanted: Fraction) -> Lines:
        """The series with their counters scaled so that the left side of the comparison has the wanted value."""
        now = max(map(exact, self._candidate(lines).values(other.left)[0]), default=Fraction(0))
        share = wanted / now if now else Fraction(0)
        return {key: replace(line, slope=line.slope * share) if line.counter else line for key, line in lines.items()}

    def _first_possible(self, make: Callable[[Fraction], Lines], values: tuple[Fraction, ...]) -> Lines:
        """The series for the first value that has a solution. Raises `QueryError` if none has."""
        for value in values[:-1]:
            try:
                return make(value)
            except QueryError:
                continue
        return make(values[-1])

    def _candidate(self, lines: Lines) -> _Candidate:
        return _Candidate(self.whole, lines, self.step, self.at, self.scope)

    def _comparison_holds(self, candidate: _Candidate) -> bool:
        """True if the branch's own comparison holds in any version."""
        return any(candidate.values(self.branch.comparison))

    def _exactly_at(self, candidate: _Candidate, value: Fraction) -> bool:
        """True if the series give exactly that value and the branch never holds."""
        nearest = value == outside(self.branch.comparison, self.threshold)[0]
        return (not nearest or set().union(*candidate.values(self.branch.expr)) == {float(value)}) and candidate.never()

    def among_others(self, lines: Lines) -> Lines:
        """The series with those of a healthy instance and of an equally bad foreign job added."""
        others = _BranchSeries(self.tested, self.branch, self.step, instance="b").healthy if "instance" in self.branch.labels else {}
        chosen = any(label == "job" for label, _, _ in matchers(self.scope.selector))
        foreign = {(name, _with(labels, "job", "another")): line for (name, labels), line in self.bad.items()} if chosen else {}
        return {**others, **foreign, **lines}

    def _solver(self, scale: int = 1) -> Solver:
        return Solver(self.scope, self.step, self.instance, scale, self.last)

    def _excluding_series(self) -> Lines:
        """Series for the right sides of ``unless``, which exclude a result."""
        excluded = [node.right for node in self.branch.expr.walk() if isinstance(node, SetOperation) and node.operator == "unless"]
        return {key: line for expr in excluded for key, line in self._solver().solve(expr, Fraction(1)).items()}

    def _required_series(self) -> Lines:
        """Series for the left sides of ``unless`` in the condition on missing series."""
        missing = self.tested.condition.missing
        lefts = [node.left for node in missing.walk() if isinstance(node, SetOperation) and node.operator == "unless"] if missing else []
        return {key: line for expr in lefts for key, line in self._solver().solve(expr, Fraction(1)).items()}

    def _holding(self, value: Fraction) -> Lines:
        """Series that give the branch's expression that value and for which the whole branch holds."""
        return self._search(value, _Candidate.holds)

    def _search(self, value: Fraction, fits: Callable[[_Candidate], bool]) -> Lines:
        """Series that give the branch's expression that value, meet its other requirements and satisfy `fits`. Raises `QueryError` without any."""
        for scale in _SCALES:
            candidate = self._candidate(self._solver(scale).solve(self.branch.expr, value))
            for other in self.branch.also:
                if isinstance(other, Comparison) and not candidate.values(other)[0]:
                    candidate = self._candidate(self._with_requirement(candidate.lines, other, scale))
            if fits(candidate):
                return candidate.lines
        raise QueryError(
            f"cannot find series that give the value {float(value):g}", where=f"alert {self.tested.alert.name}", cure="choose another threshold"
        )

    def _with_requirement(self, lines: Lines, other: Comparison, scale: int) -> Lines:
        """The series with more added, outside the branch's own expression, so that the requirement `other` holds."""
        mine = tuple(node for node in self.branch.expr.walk() if isinstance(node, Selector))
        wanted = inside(other, exact(self.scope.value(other.threshold)))[0] * 2
        try:
            return {**self._solver(scale).solve(other.left, wanted, mine), **lines}
        except QueryError:
            return lines


def _with(labels: tuple[tuple[str, str], ...], name: str, value: str) -> tuple[tuple[str, str], ...]:
    return tuple((label, value if label == name else old) for label, old in labels)
