"""Tests of every alert for promtool, made from its own condition.

Theory. From the condition follow series that just make it true, that just do not, and that have nothing to do with it (`causes`,
`edges`, `calm`). They are put one after the other into a `Case`, and what Prometheus does with it is computed: at every evaluation the
condition is evaluated over the samples so far, and the alert goes from pending to firing and away again. That is done as Prometheus 2
does it and as Prometheus 3 does it; what is asserted, before and after every change, is where the two agree. So no minute is guessed,
and the files hold for both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from balance.errors import QueryError, RenderError
from balance.monitoring.alerts import Alert, Condition
from balance.monitoring.bundle import Bundle
from balance.monitoring.lifecycle import Standing, evaluated
from balance.monitoring.settings import Settings
from balance.promql.ast import Comparison, Recorded, SetOperation
from balance.promql.evaluate import LOOKBACK, Database, Labels, Series, Version, evaluate, matchers, unnamed
from balance.promql.selectors import Expr, Selector
from balance.promql.solve import Key, Lines, Solver, exact, inside, outside
from balance.promql.text import Scope, duration, seconds
from balance.record import Record
from balance.render import rules
from balance.render.artifact import Artifact
from balance.render.templates import expand

FOLDER = "prometheus/tests"
VERSIONS: tuple[Version, ...] = ((2, 42), (3, 0))
_STEP = 60
_SAMPLES, _FEW = 5, 3
"""Samples in the shortest window of a condition; and in one that also looks at a window more than `_LONG` times as long."""
_LONG = 10
_NEARLY = Fraction(97, 100)
_SCALES = (*range(1, 33), 100, 10_000, 1_000_000, 100_000_000)
"""What a whole is multiplied by until arithmetic is exact, or there is enough traffic."""


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


class State(Record):
    """One alert at one evaluation: whether it fires or is pending, and with which annotations."""

    firing: bool
    annotations: tuple[tuple[str, str], ...]


States = dict[Labels, State]


class Tested(Record):
    """An alert with all that its tests need to know: what the rule says after settings."""

    alert: Alert
    scope: Scope
    annotations: tuple[tuple[str, str], ...]

    @property
    def condition(self) -> Condition:
        return self.alert.condition


def artifacts(bundle: Bundle, settings: Settings) -> Iterator[Artifact]:
    """A test file for each alert, or several for one whose cases need several intervals. They name the rule files as `write` places them."""
    files_of = {rule.record: _rule_files(rule.group) for rule in bundle.recording_rules}
    for tested in alerts(bundle, settings):
        yield from files(tested, bundle.catalog.name, files_of)


def _rule_files(group: str) -> list[str]:
    """Where a group's rules are, recording rules first."""
    return [f"../rules/{name}" for name in ([f"{group}.yaml"] if group else [rules.RECORDING, rules.ALERTS])]


def alerts(bundle: Bundle, settings: Settings) -> Iterator[Tested]:
    """Every alert of the bundle as its rule will be."""
    scope = settings.scope
    panels, places = rules.plotted(bundle), rules.places(bundle, settings)
    for alert in bundle.alerts:
        words = rules.templates(alert, panels.get(alert.condition.expr), settings)
        yield Tested(
            alert,
            scope,
            tuple((name, rules.filled(template, places)) for name, template in sorted(words.items())),
        )


def files(tested: Tested, default: str, files_of: Mapping[str, list[str]]) -> Iterator[Artifact]:
    """The test files of one alert, one for each interval. Raises `RenderError` if a case that is to fire does not, or one that is not to does."""
    used = [name for node in tested.condition.whole.walk() if isinstance(node, Recorded) for name in files_of.get(node.record, ())]
    loaded = list(dict.fromkeys([*used, *_rule_files(tested.alert.group)]))
    groups = list(dict.fromkeys(group for group in (*map(_group, loaded), tested.alert.group or default)))
    order = [name for group in groups for name in (f"{group or default}.rules", group or default)]
    made: dict[int, list[Case]] = {}
    for case in cases(tested):
        made.setdefault(case.step, []).append(case)
    for number, (step, several) in enumerate(made.items(), 1):
        head = [rules.HEADER.rstrip("\n"), f"rule_files: {json.dumps(loaded)}", f"evaluation_interval: {duration(step)}"]
        head += [f"group_eval_order: {json.dumps(list(dict.fromkeys(order)))}", "tests:"]
        lines = [*head, *(line for case in several for line in _written(tested, case))]
        suffix = f"-{number}" if number > 1 else ""
        yield Artifact(f"{FOLDER}/{tested.alert.name}{suffix}.yaml", "\n".join(lines) + "\n")


def _group(path: str) -> str:
    name = path.rpartition("/")[2]
    return "" if name in (rules.RECORDING, rules.ALERTS) else name.removesuffix(".yaml")


# What the series do


def cases(tested: Tested) -> Iterator[Case]:
    """All cases of an alert, every name once."""
    condition, scope = tested.condition, tested.scope
    for number, branch in enumerate(condition.branches, 1):
        which = f", way {number} of {len(condition.branches)}" if condition.otherwise else ""
        step = _step(branch, scope)
        warm, held, gone = (
            _warm(branch, step, scope),
            math.ceil(tested.alert.wait / step),
            math.ceil((LOOKBACK + tested.alert.keep_firing) / step) + 2,
        )
        world = _World(tested, branch, step)
        bad, calm = world.bad(), world.calm()
        yield Case(f"fires, survives a restart and is over after recovery{which}", step, (
            Phase(world.among_others(bad), warm + held + 3),
            Phase(world.among_others(bad), 4, reset=True),
            Phase(world.among_others(calm), warm + gone),
        ))  # fmt: skip
        other = _World(tested, branch, step, last=True)
        before, after = Phase(other.barely(other.calm()), warm + 2), Phase(other.barely(other.worse()), warm + held + 3)
        length = _until_fires(tested, step, before, after)
        yield Case(
            f"fires when it begins, and after that its series vanish{which}",
            step,
            (before, after.replace(steps=length + 2), Phase({}, warm + gone + held)),
        )
        for name, phases, fires in world.windows():
            yield Case(f"{name}{which}", step, phases, fires)
        for name, lines in world.edges():
            yield Case(f"silent: {name}{which}", step, (Phase(lines, warm + held + 3),), fires=False)
    step = _step(condition, scope)
    empty = Database((), scope)
    told = bool(condition.missing and evaluate(condition.missing, empty, 0))
    yield Case("no series at all", step, (Phase({}, math.ceil(tested.alert.wait / step) + 2),), fires=told)
    for number, way in enumerate(_ways(condition.missing) if condition.missing else (), 1):
        if lines := Solver(scope, step).solve(way, Fraction(1)):
            yield Case(f"what it needs is missing, way {number}", step, (Phase(lines, math.ceil(tested.alert.wait / step) + 3),))


def _until_fires(tested: Tested, step: int, before: Phase, after: Phase) -> int:
    """Evaluations of the second phase until the alert fires, whatever the version."""
    case = Case("", step, (before, after))
    samples = _samples(case.phases, step)
    runs = [[any(state.firing for state in seen.values()) for seen in states(tested, samples, case, version)] for version in VERSIONS]
    return max((run.index(True) if True in run else len(run)) - before.steps for run in runs)


def _ways(expr: Expr) -> list[Expr]:
    """The alternatives of an ``or``."""
    return [*_ways(expr.left), *_ways(expr.right)] if isinstance(expr, SetOperation) and expr.operator == "or" else [expr]


def _windows(condition: Condition, scope: Scope) -> list[tuple[int, int]]:
    """Length and age of every window that one branch looks at."""
    exprs = (condition.expr, *condition.also)
    return [(seconds(window, scope), window.offset) for expr in exprs for window in expr.windows()]


def _step(branch: Condition, scope: Scope) -> int:
    """Seconds between samples: a part of the shortest window, a minute for what looks at none."""
    lengths = [length for length, _ in _windows(branch, scope)] or [_STEP * _SAMPLES]
    return max(1, min(lengths) // (_FEW if max(lengths) > _LONG * min(lengths) else _SAMPLES))


def _warm(branch: Condition, step: int, scope: Scope) -> int:
    """Evaluations until every window is full."""
    return math.ceil(max((length + offset for length, offset in _windows(branch, scope)), default=0) / step) + 1


class _World:
    """Series for one branch of a condition."""

    def __init__(self, tested: Tested, branch: Condition, step: int, *, instance: str = "a", last: bool = False) -> None:
        self.tested, self.branch, self.step, self.scope = tested, branch, step, tested.scope
        self.instance, self.last = instance, last
        self.threshold = exact(self.scope.value(branch.threshold))
        self.at = (_warm(branch, step, self.scope) + math.ceil(tested.alert.wait / step) + 2) * step
        self.whole = branch.replace(otherwise=None, missing=None).whole

    def bad(self) -> Lines:
        """Series for which the branch just holds."""
        wanted = inside(self.branch.comparison, self.threshold)[0]
        return self._holding(wanted, self._all)

    def worse(self) -> Lines:
        """Series for which the branch holds by far, if they can."""
        near = inside(self.branch.comparison, self.threshold)[0]
        far = near * {">": Fraction(8), ">=": Fraction(8), "<": Fraction(1, 8), "<=": Fraction(1, 8)}.get(self.branch.operator, Fraction(1))
        return self._first(lambda value: self._holding(value, self._all), (far, near))

    def calm(self) -> Lines:
        """Series that are well."""
        usual = outside(self.branch.comparison, self.threshold)
        far = {"<": Fraction(2), "<=": Fraction(2), ">": Fraction(1, 2), ">=": Fraction(1, 2)}.get(self.branch.operator, Fraction(1))
        lines = self._first(lambda value: self._holding(value, lambda lines: not self._comparison(lines)), (far * usual[0], *usual))
        return {**lines, **self._covered(), **self._expected()}

    def edges(self) -> Iterator[tuple[str, Lines]]:
        """Series for which the branch just does not hold, each for another reason."""
        values = outside(self.branch.comparison, self.threshold)
        yield "just not beyond the threshold", self._first(lambda value: self._holding(value, lambda lines: self._at(lines, value)), values)
        if covered := self._covered():
            yield "beyond it, but what excludes it is there", {**self.bad(), **covered}
        for number, other in enumerate(self.branch.also, 1):
            if isinstance(other, Comparison) and (less := self._limited(other)):
                yield f"beyond it, but requirement {number} just does not hold", less

    def barely(self, lines: Lines) -> Lines:
        """The series with just as much of all that is counted as must be."""
        for other in self.branch.also:
            if isinstance(other, Comparison) and other.unit != self.branch.expr.unit:
                lines = self._times(lines, other, inside(other, exact(self.scope.value(other.threshold)))[0])
        return lines

    def windows(self) -> Iterator[tuple[str, tuple[Phase, ...], bool]]:
        """For a branch that compares two windows with one threshold: phases in which one of them is beyond it and the other is not."""
        full = _warm(self.branch, self.step, self.scope) - 1
        for other in self.branch.also:
            if not (isinstance(other, Comparison) and other.threshold == self.branch.threshold and other.operator == ">"):
                continue
            few = math.ceil(max(seconds(window, self.scope) for window in other.windows()) / self.step) + 1
            rate = (_NEARLY * full - (full - few) * Fraction(1, 2)) / few  # so that the average over the long window is nearly there
            lines = [self._holding(self.threshold * share, lambda lines: True) for share in (Fraction(1, 2), rate, Fraction(3, 2), _NEARLY)]
            calm, burst, bad, nearly = lines
            yield "silent: beyond it over the short window only", (Phase(calm, full + 2), Phase(burst, few)), False
            yield "over when it is not beyond it over the short window", (Phase(bad, full + 4), Phase(nearly, few + 2)), True

    def _limited(self, other: Comparison) -> Lines:
        """Series for which the branch's own comparison holds, and something that must hold as well just does not, if there are any."""
        limit = exact(self.scope.value(other.threshold))
        for value in (Fraction(1, 2), inside(self.branch.comparison, self.threshold)[0]):
            with suppress(QueryError):
                lines = self._holding(value, self._all)
                for share in (Fraction(1), Fraction(999, 1000)):
                    less = self._times(lines, other, limit * share)
                    if self._comparison(less) and self._never(less):
                        return less
        return {}

    def _times(self, lines: Lines, other: Comparison, wanted: Fraction) -> Lines:
        """The series, with all that is counted multiplied so that the left side of a comparison has the wanted value."""
        now = max((exact(value) for value in self._evaluated(other.left, lines).values()), default=Fraction(0))
        share = wanted / now if now else Fraction(0)
        return {key: line.replace(slope=line.slope * share) if line.counter else line for key, line in lines.items()}

    def _first(self, make: Callable[[Fraction], Lines], values: tuple[Fraction, ...]) -> Lines:
        """The first that can be made."""
        for value in values[:-1]:
            try:
                return make(value)
            except QueryError:
                continue
        return make(values[-1])

    def _at(self, lines: Lines, value: Fraction) -> bool:
        """Whether the series give exactly that value, and never more than it."""
        return self._never(lines) and (self._value(lines) == float(value) or value != outside(self.branch.comparison, self.threshold)[0])

    def among_others(self, lines: Lines) -> Lines:
        """The series beside those of an instance that is well, and of another job that is as bad."""
        others = _World(self.tested, self.branch, self.step, instance="b").calm() if "instance" in self.branch.labels else {}
        chosen = any(label == "job" for label, _, _ in matchers(self.scope.selector))
        foreign = {(name, _with(labels, "job", "another")): line for (name, labels), line in self.bad().items()} if chosen else {}
        return {**others, **foreign, **lines}

    def _solver(self, scale: int = 1) -> Solver:
        return Solver(self.scope, self.step, self.instance, scale, self.last)

    def _covered(self) -> Lines:
        """The series that exclude a result: the right sides of ``unless``."""
        excluded = [node.right for node in self.branch.expr.walk() if isinstance(node, SetOperation) and node.operator == "unless"]
        return {key: line for expr in excluded for key, line in self._solver().solve(expr, Fraction(1)).items()}

    def _expected(self) -> Lines:
        """The series whose lack of others would be told: the left sides of ``unless`` in what is missing."""
        missing = self.tested.condition.missing
        lefts = [node.left for node in missing.walk() if isinstance(node, SetOperation) and node.operator == "unless"] if missing else []
        return {key: line for expr in lefts for key, line in self._solver().solve(expr, Fraction(1)).items()}

    def _holding(self, value: Fraction, fits: Callable[[Lines], bool]) -> Lines:
        """Series that give the branch's expression that value, and make hold what must hold as well."""
        for scale in _SCALES:
            lines = self._solver(scale).solve(self.branch.expr, value)
            for other in self.branch.also:
                if isinstance(other, Comparison) and not self._evaluated(other, lines):
                    lines = self._added(lines, other, scale)
            if fits(lines):
                return lines
        raise QueryError(f"no series found for the value {float(value):g}", where=f"alert {self.tested.alert.name}", cure="choose another threshold")

    def _added(self, lines: Lines, other: Comparison, scale: int) -> Lines:
        """More series, beside those that the branch's expression looks at, so that something else holds too."""
        mine = tuple(node for node in self.branch.expr.walk() if isinstance(node, Selector))
        wanted = inside(other, exact(self.scope.value(other.threshold)))[0] * 2
        try:
            return {**self._solver(scale).solve(other.left, wanted, mine), **lines}
        except QueryError:
            return lines

    def _evaluated(self, expr: Expr, lines: Lines, version: Version = VERSIONS[0]) -> dict[Labels, float]:
        steps = self.at // self.step
        return evaluate(expr, Database(_series(_samples((Phase(lines, steps + 1),), self.step), self.step), self.scope, version), self.at)

    def _never(self, lines: Lines) -> bool:
        """Whether the branch holds at no evaluation at all."""
        samples = _series(_samples((Phase(lines, self.at // self.step + 1),), self.step), self.step)
        databases = [Database(samples, self.scope, version) for version in VERSIONS]
        return not any(evaluate(self.whole, database, now) for database in databases for now in range(0, self.at + 1, self.step))

    def _comparison(self, lines: Lines) -> bool:
        return any(self._evaluated(self.branch.comparison, lines, version) for version in VERSIONS)

    def _all(self, lines: Lines) -> bool:
        return all(self._evaluated(self.whole, lines, version) for version in VERSIONS)

    def _value(self, lines: Lines) -> float:
        values = {value for version in VERSIONS for value in self._evaluated(self.branch.expr, lines, version).values()}
        return values.pop() if len(values) == 1 else math.nan


def _with(labels: tuple[tuple[str, str], ...], name: str, value: str) -> tuple[tuple[str, str], ...]:
    return tuple((label, value if label == name else old) for label, old in labels)


Samples = dict[Key, list[float | None]]


def _samples(phases: tuple[Phase, ...], step: int) -> Samples:
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


def _series(samples: Samples, step: int) -> list[Series]:
    return [
        Series(name, dict(labels), ((number * step, value) for number, value in enumerate(values) if value is not None))
        for (name, labels), values in samples.items()
    ]


# What the alert does


def states(tested: Tested, samples: Samples, case: Case, version: Version) -> Iterator[States]:
    """The alert's states at each evaluation, as rules/alerting.go makes them."""
    database, expr, alert = Database(_series(samples, case.step), tested.scope, version), tested.condition.whole, tested.alert
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
    told.add(min(end, max(told) + _SAMPLES) if told and not kinds[0][max(told)] else end)  # what is over stays over for a while
    found = {number: Fact(runs[0][number], number in exact) for number in sorted(told & set(agreed))}
    fired = any(state.firing for fact in found.values() for state in fact.states.values())
    raised = any(any(run) for run in runs)
    if case.fires != fired or raised != fired:
        what = f"the case {case.name!r} {'fires' if fired else 'is pending for a moment' if raised else 'does not fire'}"
        raise RenderError(what, where=f"alert {tested.alert.name}", cure="mend the condition or its threshold")
    return found


def _kinds(seen: States) -> dict[Labels, bool]:
    return {labels: state.firing for labels, state in seen.items()}


# How it is written


def _written(tested: Tested, case: Case) -> Iterator[str]:
    samples = _samples(case.phases, case.step)
    told = facts(tested, case, samples)
    yield f"- name: {json.dumps(case.name)}"
    yield f"  interval: {duration(case.step)}"
    yield "  input_series:" if samples else "  input_series: []"
    for (series, fixed), values in samples.items():
        yield f"  - series: {_quoted(_series_name(series, fixed))}"
        yield f"    values: {_quoted(notation(values))}"
    name = tested.alert.name
    yield "  alert_rule_test:"
    for number, fact in told.items():
        firing = {labels: state for labels, state in fact.states.items() if state.firing}
        if not fact.exact:
            continue
        yield f"  - eval_time: {duration(number * case.step)}"
        yield f"    alertname: {name}"
        yield "    exp_alerts:" if firing else "    exp_alerts: []"
        for labels, state in firing.items():
            yield f"    - exp_labels: {_mapping({**dict(sorted(labels)), 'severity': tested.alert.severity})}"
            yield "      exp_annotations:"
            for key, text in state.annotations:
                yield f"        {key}: {_quoted(text)}"
    yield "  promql_expr_test:"
    for number, fact in told.items():
        yield f"  - expr: {_quoted(_series_name('ALERTS', (('alertname', name),)))}"
        yield f"    eval_time: {duration(number * case.step)}"
        yield "    exp_samples:" if fact.states else "    exp_samples: []"
        for labels, state in fact.states.items():
            shown = {**dict(labels), "alertname": name, "alertstate": "firing" if state.firing else "pending", "severity": tested.alert.severity}
            yield f"    - labels: {_quoted(_series_name('ALERTS', tuple(sorted(shown.items()))))}"
            yield "      value: 1"


def _quoted(text: str) -> str:
    """A YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'" if "\n" not in text else json.dumps(text)


def _mapping(pairs: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items()) + "}"


def _series_name(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    return name + "{" + ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels) + "}"


def notation(values: list[float | None]) -> str:
    """Values in promtool's notation: ``0+5x3`` is 0 5 10 15, ``_x2`` is twice nothing."""
    pieces, at = [], 0
    while at < len(values):
        first = values[at]
        if first is None:
            end = next((number for number in range(at, len(values)) if values[number] is not None), len(values))
            pieces.append(f"_x{end - at}")
            at = end
            continue
        rise = _rise(values, at)
        end = at + 1
        while end < len(values) and (later := values[end]) is not None and later == first + rise * (end - at):
            end += 1
        if end - at < 3:
            pieces.append(_number(first))
            at += 1
            continue
        step = "" if not rise else f"{'+' if rise > 0 else '-'}{_number(abs(rise))}"
        pieces.append(f"{_number(first)}{step}x{end - at - 1}")
        at = end
    return " ".join(pieces)


def _rise(values: list[float | None], at: int) -> float:
    """By how much the next value is higher, if both are whole: sums of others are not exact."""
    first, second = values[at], values[at + 1] if at + 1 < len(values) else None
    return second - first if first is not None and second is not None and first.is_integer() and second.is_integer() else 0.0


def _number(value: float) -> str:
    return format(Decimal(repr(value)).normalize(), "f")
