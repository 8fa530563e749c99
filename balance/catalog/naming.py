"""Naming rules of Prometheus' own linter (promlint) that the constructors do not enforce."""

from __future__ import annotations

import re
from collections.abc import Iterator

from balance.catalog.model import Metric

TYPES = ("counter", "gauge", "histogram", "summary")
ABBREVIATED = ("s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d")
_PREFIXES = (
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mebi", "giga", "gibi", "tera", "tebi", "peta",
    "pebi",
)  # fmt: skip
_BASES = ("amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres", "moles", "seconds", "volts")
DERIVED = {
    **{prefix + base: base for base in _BASES for prefix in _PREFIXES},
    **dict.fromkeys(("minutes", "hours", "days", "weeks"), "seconds"),
    **dict.fromkeys(("fahrenheit", "rankine"), "celsius"),
    **dict.fromkeys(("inches", "yards", "miles"), "meters"),
    **dict.fromkeys(("pounds", "ounces"), "grams"),
    "kelvins": "kelvin", "bits": "bytes", "calories": "joules",
}  # fmt: skip
"""Base unit by derived unit: promlint's list, with the `mebi` that it misspells."""


CAMEL_CASE, TYPE_IN_NAME, UNIT_ABBREVIATED, BASE_UNIT = "metric-camel-case", "metric-type-in-name", "metric-unit-abbreviated", "metric-base-unit"


def naming_problems(metric: Metric) -> Iterator[tuple[str, str, str]]:
    """Check the names of a metric and of its labels. Yields the id of the lint check, what is wrong and the cure."""
    for name in (metric.name, *metric.label_names):
        if re.search("[a-z][A-Z]", name):
            snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
            yield CAMEL_CASE, f"has the name {name!r}" if name != metric.name else "is written in camelCase", f"write {snake!r}"
    words = metric.name.lower().split("_")
    for word in words[1:]:
        if word in TYPES:
            yield TYPE_IN_NAME, f"has the type {word!r} in its name", f"leave {word!r} out"
        if word in ABBREVIATED:
            yield UNIT_ABBREVIATED, f"abbreviates a unit in its name: {word!r}", "write the base unit out: seconds, bytes"
    for word in dict.fromkeys((*words, *(base for base, _ in metric.unit.powers))):
        if word in DERIVED:
            yield BASE_UNIT, f"is in {word}", f"use the base unit {DERIVED[word]}, and name the metric accordingly"
