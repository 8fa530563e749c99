"""Kinds of metrics, labels, units, buckets, thresholds. Standard library only; every constructor rejects contradictions.

Naming follows the Prometheus conventions (prometheus.io/docs/practices/naming): base units, the unit as suffix, `_total` for
counters and only for them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar, Literal, Self, get_args

from balance.errors import CatalogError, choices

TARGET_LABELS = ("instance", "job")
"""Labels that Prometheus attaches to every series of a scrape target; a metric cannot declare them."""


def is_name(name: str) -> bool:
    """True for valid names of metrics and labels: ``[a-zA-Z_][a-zA-Z0-9_]*`` (colons are for recording rules)."""
    return name.isascii() and name.isidentifier()


def version(text: str) -> tuple[int, ...]:
    """Parse a catalog version for comparison: "1.10" comes after "1.9", and "2" equals "2.0". Raises `CatalogError` if it is invalid."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}", text):
        raise CatalogError(f"invalid catalog version {text!r}", cure='write numbers separated by dots: "1.2"')
    numbers = [int(part) for part in text.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


@dataclass(frozen=True)
class Unit:
    """A product of powers of base units: ``(("bytes", 1), ("seconds", -1))`` is bytes per second, ``()`` is a plain ratio."""

    powers: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        bases = [base for base, _ in self.powers]
        if bases != sorted(set(bases)) or not all(power for _, power in self.powers):
            raise CatalogError("is not normalized", where=f"unit {self.powers}", cure="multiply and divide units: Unit.of('bytes') / SECONDS")

    @classmethod
    def of(cls, base: str) -> Unit:
        """The unit of counted things ("requests") or of a physical quantity ("seconds")."""
        return cls(((base, 1),))

    def _combine(self, other: Unit, sign: int) -> Unit:
        powers = dict(self.powers)
        for base, power in other.powers:
            powers[base] = powers.get(base, 0) + sign * power
        return Unit(tuple(sorted((base, power) for base, power in powers.items() if power)))

    def power(self, base: Unit) -> int:
        """The exponent of a base unit in this unit, 0 if it is not part of it."""
        return dict(self.powers).get(base.powers[0][0], 0)

    def __mul__(self, other: Unit) -> Unit:
        return self._combine(other, 1)

    def __truediv__(self, other: Unit) -> Unit:
        return self._combine(other, -1)

    def __str__(self) -> str:
        def product(sign: int) -> str:
            return "*".join(base if abs(power) == 1 else f"{base}^{abs(power)}" for base, power in self.powers if power * sign > 0)

        over, under = product(1), product(-1)
        return f"{over or '1'}/{under}" if under else over or "ratio"


RATIO = Unit()
SECONDS = Unit.of("seconds")
BYTES = Unit.of("bytes")
STATE = Unit.of("state")
"""0 or 1: false or true."""
INFO = Unit.of("info")
"""Always 1: the labels are the information."""

_NAME_MARKS = {SECONDS: "_seconds", BYTES: "_bytes", RATIO: "_ratio"}


Stability = Literal["stable", "experimental"]


class Merge(Enum):
    """How the values of several worker processes become one value of the service."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Label:
    """A label with a closed set of `values`, or an open one with a `bound` on the number of values that a service exposes.

    `other` is the member of a closed set that stands for everything outside it. `pattern` must match values of an open label.
    """

    name: str
    help: str
    values: tuple[str, ...] = ()
    bound: int = 0
    pattern: str = ""
    other: str = ""

    def __post_init__(self) -> None:
        where = f"label {self.name!r}"
        if not is_name(self.name) or self.name.startswith("__"):
            raise CatalogError("invalid label name", where=where, cure="use letters, digits and _, and begin with neither a digit nor __")
        if self.name in (*TARGET_LABELS, "le", "quantile"):
            raise CatalogError("is reserved for Prometheus and histograms", where=where, cure="choose another name")
        if bool(self.values) == bool(self.bound):
            raise CatalogError("needs either a closed set of values or a bound", where=where, cure="give one of values=, bound=")
        if type(self.values).__name__ != "tuple":
            raise CatalogError(f"values must be a tuple, got {self.values!r}", where=where, cure='write values=("a", "b")')
        if len(set(self.values)) != len(self.values):
            raise CatalogError("lists a value twice", where=where, cure="remove the duplicate")
        if self.bound < 0:
            raise CatalogError(f"invalid bound {self.bound}", where=where, cure="must be 1 or more")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise CatalogError(f"invalid regular expression {self.pattern!r}: {error}", where=where, cure="fix the pattern") from None
        if self.other and self.other not in self.values:
            raise CatalogError(f"other={self.other!r} is not among its values", where=where, cure=f"choices: {choices(self.values)}")

    @property
    def size(self) -> int:
        """The maximum number of values that the label can have."""
        return len(self.values) or self.bound

    def allows(self, value: str) -> bool:
        """True if the value belongs to the closed set, or matches the pattern of an open label."""
        if self.values:
            return value in self.values
        return not self.pattern or re.fullmatch(self.pattern, value) is not None

    def refusal(self, value: str) -> str:
        """The message for a value that is not allowed, with the choices."""
        expected = choices(self.values) if self.values else f"must match {self.pattern}"
        return f"label {self.name!r} cannot be {value!r} ({expected})"


@dataclass(frozen=True)
class Threshold:
    """A named number that separates fine from wrong, with its unit and the reason for the value.

    `exclusive_minimum` and `maximum` limit the values that settings may choose. A `fixed` threshold is a definition
    (an instance is down when ``up`` is 0) and cannot be overridden.
    """

    name: str
    value: float
    unit: Unit
    reason: str
    exclusive_minimum: float = 0.0
    maximum: float | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        where = f"threshold {self.name!r}"
        if not self.reason:
            raise CatalogError("has no reason", where=where, cure="say why this value and not another")
        problem = self.problem(self.value)
        if problem and not self.fixed:
            raise CatalogError(problem, where=where, cure="fix the value or the bounds")

    def problem(self, value: float) -> str:
        """What is wrong with a value for this threshold; empty if it is valid."""
        if self.fixed and value != self.value:
            return f"is {number(self.value)} by definition"
        if not self.fixed and not (self.exclusive_minimum < value < math.inf and (self.maximum is None or value <= self.maximum)):
            upper = f" and at most {number(self.maximum)}" if self.maximum is not None else ""
            return f"{number(value)} is out of range: must be above {number(self.exclusive_minimum)}{upper} ({self.unit})"
        return ""


@dataclass(frozen=True)
class Metric:
    """Base of the kinds of metrics.

    `name`: name of the family, for a counter with its `_total`. `merge`: how values of several worker processes are combined. `foreign`:
    the metric was named by others; neither the naming rules nor the type, help and labels in a scrape are checked. `stability`: changes of
    an experimental metric are not breaking. `renamed_from`: the former name; the metric is exposed, and queried, under both names from the
    catalog version `deprecated_since` up to and including `remove_after`. Without `renamed_from`, those two versions concern the metric itself.

    Raises `CatalogError` for contradictions.
    """

    kind: ClassVar[str] = "metric"

    name: str
    help: str
    unit: Unit
    labels: tuple[Label, ...] = ()
    merge: Merge = Merge.SUM
    foreign: bool = False
    stability: Stability = "stable"
    renamed_from: str = ""
    deprecated_since: str = ""
    remove_after: str = ""

    def __post_init__(self) -> None:
        if not is_name(self.name):
            self.refuse("invalid metric name", "use letters, digits and _, and do not begin with a digit")
        if not self.help.strip():
            self.refuse("has no help text", "say in one sentence what it counts or measures")
        if len({label.name for label in self.labels}) != len(self.labels):
            self.refuse("declares a label twice", "remove the duplicate")
        if not self.foreign:
            self._validate_name()
        if self.stability not in get_args(Stability):
            self.refuse(f"has the stability {self.stability!r}", f"choices: {choices(get_args(Stability))}")
        self._validate_removal()

    def _validate_removal(self) -> None:
        if bool(self.deprecated_since) != bool(self.remove_after) or (self.renamed_from and not self.remove_after):
            self.refuse("has an incomplete deprecation", "give both deprecated_since= and remove_after=, versions of the catalog")
        if self.remove_after and version(self.remove_after) < version(self.deprecated_since):
            self.refuse(f"is removed after {self.remove_after}, before it is deprecated in {self.deprecated_since}", "fix one of the two versions")
        if self.renamed_from == self.name:
            self.refuse("is renamed from its own name", "give the former name")
        if self.renamed_from and self.renamed_from.endswith("_total") != isinstance(self, Counter):
            self.refuse(
                f"was called {self.renamed_from!r}, which is not a valid name of a {self.kind}",
                "only names of counters end in `_total`: add a new metric",
            )

    def _validate_name(self) -> None:
        if self.name.endswith("_total") != isinstance(self, Counter):
            self.refuse(f"is a {self.kind}, but names of counters, and only they, end in `_total`", "rename it or change its kind")
        for suffix in ("_bucket", "_count", "_sum", "_created"):
            if self.name.endswith(suffix):
                self.refuse(f"ends in {suffix!r}, which is reserved for the series of a histogram", "rename it")
        mark = _NAME_MARKS.get(self.unit)
        if mark and not self.name.removesuffix("_total").endswith(mark):
            self.refuse(f"has the unit {self.unit} but no {mark!r} at the end of its name", f"rename it to end in {mark!r}")
        for unit, other in _NAME_MARKS.items():
            if unit != self.unit and self.name.removesuffix("_total").endswith(other):
                self.refuse(f"has the unit {self.unit} but ends in {other!r}", "rename it or change the unit")

    @property
    def former(self) -> Self | None:
        """The same metric under its former name; None if it has not been renamed."""
        if not self.renamed_from:
            return None
        words = f"Deprecated since version {self.deprecated_since}, to be removed after {self.remove_after}: now called {self.name}."
        return replace(self, name=self.renamed_from, help=words, foreign=True, renamed_from="")

    @property
    def to_be_removed(self) -> bool:
        """True if the metric itself is deprecated, without a successor."""
        return bool(self.remove_after and not self.renamed_from)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which it is exposed, the current one first."""
        return (self.name, self.renamed_from) if self.renamed_from else (self.name,)

    def refuse(self, what: str, cure: str) -> None:
        """Raise `CatalogError` about this metric."""
        raise CatalogError(what, where=self.name, cure=cure)

    def label(self, name: str) -> Label:
        """The label of that name. Raises `CatalogError` with the choices."""
        for label in self.labels:
            if label.name == name:
                return label
        raise CatalogError(f"{self.name}: no label {name!r} (labels: {choices(label.name for label in self.labels)})")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels that the service sets, in declared order."""
        return tuple(label.name for label in self.labels)

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the series of this metric in a scrape."""
        return (self.name,)

    @property
    def cardinality(self) -> int:
        """The maximum number of series of one instance, from the declared value sets and bounds."""
        size = 1
        for label in self.labels:
            size *= label.size
        return size


@dataclass(frozen=True)
class Counter(Metric):
    """A value that only increases, and restarts at zero with the process."""

    kind: ClassVar[str] = "counter"


@dataclass(frozen=True)
class Gauge(Metric):
    """A value that goes up and down."""

    kind: ClassVar[str] = "gauge"


@dataclass(frozen=True)
class Histogram(Metric):
    """Counts of observations below each upper bound, their count and their sum.

    `buckets` are the finite upper bounds in the unit of the metric, ascending; ``+Inf`` is implied. Every threshold in `thresholds` must
    be one of them, so that an alert compares with a counted number and not with an interpolated one.
    """

    kind: ClassVar[str] = "histogram"

    buckets: tuple[float, ...] = ()
    thresholds: tuple[Threshold, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.buckets:
            self.refuse("has no buckets", "give ascending upper bounds in base units")
        if list(self.buckets) != sorted(set(self.buckets)) or not all(map(math.isfinite, self.buckets)):
            self.refuse("has buckets that are not strictly ascending and finite", "sort them, without +Inf")
        for threshold in self.thresholds:
            if threshold.unit != self.unit:
                self.refuse(f"measures {self.unit}, its threshold {threshold.name!r} is in {threshold.unit}", "use one unit")
            if problem := self.problem(threshold, threshold.value):
                self.refuse(f"threshold {threshold.name!r}: {problem}", f"bounds: {self.bounds}")

    def problem(self, threshold: Threshold, value: float) -> str:
        """What is wrong with a value for one of the histogram's thresholds; empty if it is valid, or not a threshold of this histogram."""
        declared = any(threshold.name == own.name for own in self.thresholds)
        return f"{number(value)} is not a bucket bound" if declared and value not in self.buckets else ""

    @property
    def bounds(self) -> str:
        """The bucket bounds as text."""
        return ", ".join(map(number, self.buckets))

    @property
    def samples(self) -> tuple[str, ...]:
        return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")

    @property
    def cardinality(self) -> int:
        return super().cardinality * (len(self.buckets) + 3)


@dataclass(frozen=True)
class StateSet(Metric):
    """One of several states, exposed as one 0-or-1 gauge for each state under the label `state_label`."""

    kind: ClassVar[str] = "stateset"

    states: tuple[str, ...] = ()
    state_label: str = "state"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.states) < 2 or len(set(self.states)) != len(self.states):
            self.refuse("needs at least two different states", "list them in states=")
        if self.state_label in self.label_names:
            self.refuse(f"declares {self.state_label!r} as a label and as its state label", "rename one")

    def label(self, name: str) -> Label:
        if name == self.state_label:
            return Label(name, "state", values=self.states)
        return super().label(name)

    @property
    def cardinality(self) -> int:
        return super().cardinality * len(self.states)


ScrapeType = Literal["counter", "gauge", "histogram"]


def scrape_type(metric: Metric) -> ScrapeType:
    """The `# TYPE` of the metric in the text format: a state set is written as gauges."""
    if isinstance(metric, Counter):
        return "counter"
    return "histogram" if isinstance(metric, Histogram) else "gauge"


def number(value: float) -> str:
    """The shortest decimal text that reads back as the same number: "1", "0.05", "536870912"."""
    return str(int(value)) if abs(value) < 1e17 and value == int(value) else repr(value)
