"""What a `/metrics` page says: families with their series. Text format 0.0.4 and 1.0.0, OpenMetrics 1.0.

A scrape is somebody else's: a line that cannot be read is told with its place, the others are read. Families go by the name that queries
use: a counter of OpenMetrics, there called ``x`` with the sample ``x_total``, is ``x_total``, and its ``info`` is ``x_info``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from balance.errors import BalanceError, Problem
from balance.live.fetch import TIMEOUT, fetch, without_password

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One series: its name, its labels in the order in which they were written, and its value."""

    name: str
    labels: Labels
    value: float


class Family:
    """A metric as a scrape shows it. `type` is ``untyped`` where the scrape gives none; `help` is None where it gives none."""

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
        """The samples without ``_created``, which says when a series began and is none of the metric's own."""
        return [sample for sample in self.samples if not sample.name.endswith("_created") or sample.name == self.name]


class Scrape(NamedTuple):
    """Families by name, in the order of the scrape, and the lines that could not be read."""

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
"""How the samples of a type are called beside the family itself."""
TYPES = {"counter", "gauge", "histogram", "summary", "untyped", "unknown", "info", "stateset", "gaugehistogram"}

_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_LABEL = re.compile(rf'\s*+(?:({_NAME})|({_QUOTED}))\s*+(?:=\s*+"((?:[^"\\]|\\.)*+)"\s*+)?+(?:,|$)')
_SAMPLE = re.compile(rf'({_NAME})?+[ \t]*+(?:\{{((?:[^"}}]|{_QUOTED})*+)\}})?+[ \t]*+([^ \t#{{}}"]++)(?:[ \t]++[-+0-9.eE]++)?+[ \t]*+(?:#.*)?$')
_COMMENT = re.compile(rf"#[ \t]*+(HELP|TYPE|UNIT)[ \t]++(?:({_NAME})|({_QUOTED}))(?:[ \t]++(.*))?$")
"""No part of these gives back what it took: a line of a megabyte costs no more than a thousand of a kilobyte."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_MOST_PROBLEMS = 20


def read(source: str, timeout: float = TIMEOUT) -> Scrape:
    """The scrape at an address, in a file or on standard input (``-``). Raises `BalanceError` if it cannot be read or is none."""
    return parse(fetch(source, timeout=timeout), without_password(source))


def parse(body: bytes | str, source: str = "scrape") -> Scrape:
    """The families of a scrape. Raises `BalanceError` if there is not one line in it that belongs to a scrape."""
    text = body.decode("utf-8-sig", "replace") if isinstance(body, bytes) else body
    lines = text.replace("\r\n", "\n").split("\n")
    reader = _Reader(source, openmetrics="# EOF" in lines[-3:])
    for number, line in enumerate(lines, 1):
        if line and not line.isspace():
            reader.line(number, line)
    if not reader.families:
        first = next((problem for problem in reader.problems), None)
        why = f": {first.what}" if first else ""
        raise BalanceError(
            f"is no scrape of metrics{why}", where=first.where if first else source, cure="give what Prometheus would scrape, /metrics"
        )
    if reader.more:
        reader.problems.append(Problem(source, f"{reader.more} more lines cannot be read", "mend the first ones"))
    families: dict[str, Family] = {}
    for declared, family in reader.families.items():
        if family.name != declared and family.name in reader.families:
            family.name = declared  # both `x` and `x_total` are declared: each keeps its name
        families[family.name] = family
    return Scrape(source, families, tuple(reader.problems))


class _Reader:
    """Takes one line after the other."""

    def __init__(self, source: str, *, openmetrics: bool) -> None:
        self.source, self.openmetrics = source, openmetrics
        self.families: dict[str, Family] = {}
        self.owners: dict[str, Family] = {}
        self.problems: list[Problem] = []
        self.more = 0
        self.seen: set[tuple[str, Labels]] = set()
        self.number = 0

    def refuse(self, column: int, what: str, cure: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
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
                self.refuse(0, "names no metric", "write # TYPE NAME TYPE, # HELP NAME TEXT")
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
                self.refuse(found.start(4) if rest else len(line), f"{name} has the type {kind!r}", f"types: {', '.join(sorted(TYPES))}")
                return
            if family.samples:
                self.refuse(0, f"the type of {name} comes after its samples", "write # TYPE first")
                return
            if family.type not in ("untyped", kind):
                self.refuse(0, f"{name} has the types {family.type} and {kind}", "write # TYPE once")
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
            self.refuse(0, f"{line[:60]!r} is no sample", 'write NAME{LABEL="VALUE"} NUMBER')
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
            self.refuse(0, "has no name", 'write NAME{LABEL="VALUE"} NUMBER')
            return
        try:
            value = float("" if "_" in number else number)  # 1_000 is a number to Python alone
        except ValueError:
            self.refuse(found.start(3), f"{number!r} is no number", "write a number, NaN, +Inf or -Inf")
            return
        key = (name, tuple(sorted(pair for pair in labels if pair[1])))  # an empty label is none
        if key in self.seen:
            self.refuse(0, f"{name} shows the same labels twice", "Prometheus keeps the first and complains: show each series once")
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
                self.refuse(column + at, f"{inside[at : at + 40]!r} is no label", 'write LABEL="VALUE", separated by commas')
                return None
            name, quoted, value = found.groups()
            if value is None:
                if quoted is None or pairs:
                    self.refuse(column + at, f"the label {name or quoted} has no value", 'write LABEL="VALUE"')
                    return None
                pairs.append(("__name__", _unescaped(quoted[1:-1])))
            else:
                pairs.append((name or _unescaped(quoted[1:-1]), _unescaped(value)))
            at = found.end()
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            self.refuse(column, f"gives a label twice ({', '.join(names)})", "give each label once")
            return None
        return tuple(pairs)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _PLAIN_ESCAPES.get(found[1], found[0]), text)
