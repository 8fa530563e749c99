"""Parse a `/metrics` page into families with their series. Text format 0.0.4 and 1.0.0, OpenMetrics 1.0.

The parser is tolerant: a line that cannot be parsed is reported with its place, and the others are read. Families have the name that queries
use: an OpenMetrics counter ``x`` with the sample ``x_total`` is ``x_total``, and an info ``x`` is ``x_info``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from balance.errors import BalanceError, Problem
from balance.live.fetch import TIMEOUT, fetch, without_password

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One series: its name, its labels in the order of the scrape, and its value."""

    name: str
    labels: Labels
    value: float


class Family:
    """A metric as a scrape exposes it. `type` is ``untyped`` and `help` None where the scrape gives none; `line` is where it first appears."""

    __slots__ = ("help", "line", "name", "samples", "type", "unit")

    def __init__(self, name: str, line: int) -> None:
        self.name, self.line = name, line
        self.type = "untyped"
        self.help: str | None = None
        self.unit = ""
        self.samples: list[Sample] = []

    def __repr__(self) -> str:
        return f"<{self.type} {self.name}: {len(self.samples)} samples>"

    @property
    def series(self) -> list[Sample]:
        """The samples without those named ``_created``, which only hold creation times."""
        return [sample for sample in self.samples if not sample.name.endswith("_created") or sample.name == self.name]


@dataclass(frozen=True)
class Scrape:
    """Families by name, in the order of the scrape, and the lines that could not be parsed."""

    source: str
    families: dict[str, Family]
    problems: tuple[Problem, ...]

    @property
    def size(self) -> int:
        """The number of series."""
        return sum(len(family.samples) for family in self.families.values())


SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
    "summary": ("_count", "_sum", "_created"),
    "info": ("_info",),
}
"""By type: the suffixes of the names of its samples."""
TYPES = {"counter", "gauge", "histogram", "summary", "untyped", "unknown", "info", "stateset", "gaugehistogram"}

_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_LABEL = re.compile(rf'\s*+(?:({_NAME})|({_QUOTED}))\s*+(?:=\s*+"((?:[^"\\]|\\.)*+)"\s*+)?+(?:,|$)')
_SAMPLE = re.compile(rf'({_NAME})?+[ \t]*+(?:\{{((?:[^"}}]|{_QUOTED})*+)\}})?+[ \t]*+([^ \t#{{}}"]++)(?:[ \t]++[-+0-9.eE]++)?+[ \t]*+(?:#.*)?$')
_COMMENT = re.compile(rf"#[ \t]*+(HELP|TYPE|UNIT)[ \t]++(?:({_NAME})|({_QUOTED}))(?:[ \t]++(.*))?$")
"""All quantifiers are possessive: there is no backtracking, so the time is proportional to the length of the line."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_MAX_PROBLEMS = 20


def read(source: str, timeout: float = TIMEOUT) -> Scrape:
    """Read and parse the scrape at an address, in a file or on standard input (``-``). `timeout` is in seconds.

    Raises `BalanceError` if it cannot be read or contains no metrics.
    """
    return parse(fetch(source, timeout=timeout), without_password(source))


def parse(body: bytes | str, source: str = "scrape") -> Scrape:
    """Parse a scrape; `source` names it in messages. Raises `BalanceError` if it contains no metrics."""
    text = body.decode("utf-8-sig", "replace") if isinstance(body, bytes) else body
    lines = text.replace("\r\n", "\n").split("\n")
    reader = _Reader(source, openmetrics="# EOF" in lines[-3:])
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            reader.line(number, line)
    if not reader.families:
        first = next((problem for problem in reader.problems), None)
        why = f": {first.what}" if first else ""
        raise BalanceError(f"contains no metrics{why}", where=first.where if first else source, cure="give what Prometheus scrapes, usually /metrics")
    if reader.more:
        reader.problems.append(Problem(source, f"{reader.more} more lines cannot be parsed", "fix the first ones"))
    families: dict[str, Family] = {}
    for declared, family in reader.families.items():
        if family.name != declared and family.name in reader.families:
            family.name = declared  # both `x` and `x_total` are declared: each keeps its name
        families[family.name] = family
    return Scrape(source, families, tuple(reader.problems))


class _Reader:
    """Parses line by line."""

    def __init__(self, source: str, *, openmetrics: bool) -> None:
        self.source, self.openmetrics = source, openmetrics
        self.families: dict[str, Family] = {}
        self.owners: dict[str, Family] = {}
        self.problems: list[Problem] = []
        self.more = 0
        self.seen: set[tuple[str, Labels]] = set()
        self.number = 0

    def reject(self, column: int, what: str, cure: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(Problem(f"{self.source}:{self.number}:{column + 1}", what, cure))
        else:
            self.more += 1

    def line(self, number: int, line: str) -> None:
        self.number = number
        if line.startswith("#"):
            self.comment(line)
        else:
            self.sample(line)

    def comment(self, line: str) -> None:
        found = _COMMENT.match(line)
        if found is None:
            if re.match(r"#[ \t]*(HELP|TYPE|UNIT)\b", line):
                self.reject(0, "missing metric name", "write # TYPE NAME TYPE, # HELP NAME TEXT")
            return
        word, name, quoted, rest = found.groups()
        name = name or _unescaped(quoted[1:-1])
        family = self.families.get(name) or self._declared(name)
        if word == "HELP":
            family.help = _unescaped(rest or "") if family.help is None else family.help
        elif word == "UNIT":
            family.unit = (rest or "").strip()
        else:
            kind = (rest or "").strip().lower()
            if kind not in TYPES:
                self.reject(found.start(4) if rest else len(line), f"{name} has the unknown type {kind!r}", f"types: {', '.join(sorted(TYPES))}")
                return
            if family.samples:
                self.reject(0, f"the type of {name} comes after its samples", "write # TYPE first")
                return
            if family.type not in ("untyped", kind):
                self.reject(0, f"{name} has the types {family.type} and {kind}", "write # TYPE once")
            family.type = "untyped" if kind == "unknown" else kind
            for suffix in SUFFIXES.get(family.type, ()):
                self.owners.setdefault(name + suffix, family)
            if self.openmetrics and kind == "counter" and not name.endswith("_total"):
                family.name = f"{name}_total"
            elif kind == "info" and not name.endswith("_info"):
                family.name = f"{name}_info"

    def _declared(self, name: str) -> Family:
        family = self.families[name] = self.owners[name] = Family(name, self.number)
        return family

    def sample(self, line: str) -> None:
        found = _SAMPLE.match(line)
        if found is None:
            self.reject(0, f"invalid sample {line[:60]!r}", 'write NAME{LABEL="VALUE"} NUMBER')
            return
        name, inside, number = found.groups()
        labels: Labels = ()
        if inside:
            read = self.labels(inside.rstrip(), found.start(2))
            if read is None:
                return
            labels = read
            if name is None and labels and labels[0][0] == "__name__":
                name, labels = labels[0][1], labels[1:]
        if name is None:
            self.reject(0, "missing metric name", 'write NAME{LABEL="VALUE"} NUMBER')
            return
        try:
            value = float("" if "_" in number else number)  # 1_000 is a number to Python alone
        except ValueError:
            self.reject(found.start(3), f"invalid number {number!r}", "write a number, NaN, +Inf or -Inf")
            return
        key = (name, tuple(sorted(pair for pair in labels if pair[1])))  # an empty label is none
        if key in self.seen:
            self.reject(0, f"{name} has the same labels twice", "expose each series once: Prometheus drops the second with a warning")
            return
        self.seen.add(key)
        family = self.owners.get(name) or self._declared(name)
        family.samples.append(Sample(name, labels, value))

    def labels(self, inside: str, column: int) -> Labels | None:
        pairs: list[tuple[str, str]] = []
        at, end = 0, len(inside)
        while at < end:
            found = _LABEL.match(inside, at)
            if found is None or found.end() == at:
                self.reject(column + at, f"invalid label {inside[at : at + 40]!r}", 'write LABEL="VALUE", separated by commas')
                return None
            name, quoted, value = found.groups()
            if value is None:
                if quoted is None or pairs:
                    self.reject(column + at, f"the label {name or quoted} has no value", 'write LABEL="VALUE"')
                    return None
                pairs.append(("__name__", _unescaped(quoted[1:-1])))
            else:
                pairs.append((name or _unescaped(quoted[1:-1]), _unescaped(value)))
            at = found.end()
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            self.reject(column, f"has a label twice ({', '.join(names)})", "write each label once")
            return None
        return tuple(pairs)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _PLAIN_ESCAPES.get(found[1], found[0]), text)
