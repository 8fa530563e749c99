"""Label matchers of a selector, tested on values as Prometheus does; a Grafana variable in one may be anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from balance.live.audited_query import UNKNOWN

_NESTED_REPETITION = re.compile(r"[*+}]\)[*+{]")
"""Python's regular expressions, unlike RE2, may take exponential time over it."""


class LabelMatcher(NamedTuple):
    """One matcher of a selector. `operator` is ``=``, ``!=``, ``=~`` or ``!~``."""

    label: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{self.value.replace(UNKNOWN, "$...")}"'

    def test(self) -> Callable[[str], bool] | None:
        """Whether a value matches, as a function; None if the regular expression cannot be tested safely."""
        text, operator = self.value, self.operator
        if UNKNOWN in text:
            if operator in ("!=", "!~"):
                return lambda value: True
            parts = [part if operator == "=~" else re.escape(part) for part in text.split(UNKNOWN)]
            text, operator = ".*".join(parts), "=~"
            text = re.sub(r"\((\.\*)\)", r"\1", text)
        if operator == "=":
            return lambda value: value == text
        if operator == "!=":
            return lambda value: value != text
        if _NESTED_REPETITION.search(text) or len(text) > 10_000:
            return None
        try:
            pattern = re.compile(text, re.DOTALL)
        except (re.error, RecursionError, OverflowError):
            return None
        return (lambda value: pattern.fullmatch(value) is not None) if operator == "=~" else (lambda value: pattern.fullmatch(value) is None)


def written(matchers: Iterable[LabelMatcher]) -> str:
    """Matchers as PromQL has them between braces."""
    return ",".join(map(str, matchers))


def same_number(one: str, other: str) -> bool:
    """True if both are the same number: Prometheus 3 stores ``le="1"`` as ``le="1.0"``."""
    try:
        return float(one) == float(other)
    except ValueError:
        return False
