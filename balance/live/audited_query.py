"""A query of a hand-written file: an expression with its place, and with Grafana's variables and macros replaced to make it PromQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product

UNKNOWN = "\ue000"
"""Placeholder, within a string, for the value of a variable."""
UNKNOWN_NAME = "unknown_variable_"
"""Prefix of a name that stands, outside of strings, for a variable."""


@dataclass(frozen=True)
class AuditedQuery:
    """One expression. `kind` is ``panel``, ``annotation``, ``variable``, ``alert`` or ``rule``; `panel` identifies the panel among all files;
    `values` are the values of variables, where the file gives them; `macros`: the expression may contain Grafana's variables."""

    kind: str
    subject: str
    where: str
    expr: str
    panel: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    macros: bool = False

    def candidates(self, *, stand_in: str = "") -> Iterator[str]:
        """The expression as PromQL, once for each combination of known values of its variables, at most 64. A variable whose values are unknown
        becomes a name, or the `stand_in`."""
        if not self.macros:
            yield self.expr
            return
        pieces = [_alternatives(*piece, self.values, stand_in) for piece in _pieces(self.expr)]
        yield from dict.fromkeys("".join(chosen) for chosen in islice(product(*pieces), _MAX_CANDIDATES))

    @property
    def guessed(self) -> bool:
        """True if variables of unknown value shape the expression."""
        return self.macros and any(name and not name.startswith("__") and name not in self.values for name, *_ in _pieces(self.expr))


_MAX_CANDIDATES = 64
_VARIABLE = r"\$\{(\w+)(?:[.:][^}]*)?\}|\$(\w+)|\[\[(\w+)(?::\w+)?\]\]"
_VARIABLES = re.compile(_VARIABLE)
_TOKENS = re.compile(rf"""("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|`[^`]*+`)|(\#[^\n]*+)|({_VARIABLE})""")
_NUMBERS = re.compile(r"__(?:interval_ms|range_s|range_ms|from|to)$")
_DURATIONS = re.compile(r"__(?:rate_interval|interval|range|auto_interval_\w+|auto)$")
_FUNCTIONS = ("sum", "rate", "label_replace")


def _pieces(expr: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, text, before, after: plain text (no name), or a variable by its name with the text before and after it."""
    at = 0
    for token in _TOKENS.finditer(expr):
        yield "", expr[at : token.start()], "", ""
        at = token.end()
        if token[1]:
            yield "", _VARIABLES.sub(UNKNOWN, token[1]), "", ""
        elif token[3]:
            yield next(filter(None, token.groups()[3:])), "", expr[: token.start()], expr[token.end() :]
    yield "", expr[at:], "", ""


def _alternatives(name: str, text: str, before: str, after: str, values: Mapping[str, tuple[str, ...]], stand_in: str) -> tuple[str, ...]:
    if not name:
        return (text,)
    if re.search(r"(?:\[|\boffset\b)[^\]()]*$", before) and not re.search(r"\boffset\s+\S+\s", before[-40:]):
        return ("5",) if re.match(r"[a-z]", after) else ("5m",)
    if _NUMBERS.match(name):
        return ("300",)
    if _DURATIONS.match(name):
        return ("5m",)
    known = values.get(name, ())
    if re.match(r"\s*(?:\(|by\b|without\b)", after) and not re.search(r"[\w:]$", before):
        return known or _FUNCTIONS
    if re.match(r"_over_time\b", after):
        return known or ("avg",)
    if re.search(r"[{,]\s*$", before) and re.match(r"\s*[,}]", after) and before.rfind("{") > before.rfind("}"):
        return (f'{UNKNOWN_NAME}{name}=~".*"',)
    return known or (stand_in or f"{UNKNOWN_NAME}{name}",)
