"""From a scrape to declarations: the metrics of an existing service, as closely as a catalog can declare them.

Metrics that violate the naming rules are declared as `foreign`; what cannot be declared at all is ignored, with the reason. A set of label values
is closed only where a scrape probably shows all of it: a few words, in a label that does not identify anything.
"""

from __future__ import annotations

import math
import re
from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import dataclass, replace

from balance.catalog import naming
from balance.catalog.model import BYTES, INFO, RATIO, SECONDS, STATE, Counter, Gauge, Histogram, Label, Metric, StateSet, Unit
from balance.errors import BalanceError, CatalogError
from balance.live.scrape import Family, Sample, Scrape
from balance.live.verify import compare_family, is_created

MAX_VALUES = 8
"""A larger set of values is open."""
CODE = "[1-5][0-9][0-9]"
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,30}|[0-9]")
_IDENTITY = re.compile(
    r".*(id|name|path|route|url|uri|host|hostname|address|addr|ip|port|user|client|customer|tenant|pod|node|container|version|revision|commit|branch"
    r"|date|time|key|token|hash|backend|target|server|upstream|peer|device|queue|topic|table|database|db|file|query|shard|partition|worker)"
)
_UNITS = {"seconds": SECONDS, "bytes": BYTES, "ratio": RATIO}
_NO_UNITS = ("max", "min", "limit", "capacity", "used", "active", "open", "current", "count", "sum", "total")
_UNSUPPORTED = {
    "summary": "is a summary, which cannot be aggregated and which catalogs do not support",
    "gaugehistogram": "is a gauge histogram, which catalogs do not support",
}
RUNTIME = re.compile(r"(process|go|python|promhttp|jvm|dotnet|nodejs|ruby|php|scrape)_.*")
"""Families of client libraries and runtimes, not of the service itself."""


@dataclass(frozen=True)
class Adopted:
    """The metrics of a scrape, in its order, and the ignored families, with the reason."""

    name: str
    metrics: tuple[Metric, ...]
    ignored: dict[str, str]


def adopt(scrape: Scrape, name: str = "") -> Adopted:
    """Declarations that fit a scrape. `name` is that of the service; default: the most common metric prefix.

    Raises `BalanceError` if nothing in it can be declared.
    """
    if name and not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name):
        raise BalanceError("invalid service name", where=f"--name {name}", cure="use up to 60 letters, digits, _, . and -")
    metrics: list[Metric] = []
    ignored: dict[str, str] = {}
    taken: dict[str, str] = dict.fromkeys(("up",), "up")
    for family in scrape.families.values():
        if family.name == "up" or is_created(family.name, scrape):
            continue
        try:
            metric = _declared(family)
        except CatalogError as error:
            ignored[family.name] = "; ".join(problem.what for problem in error.problems)
            continue
        own = {metric.name, metric.name.removesuffix("_total"), *metric.samples}
        other = next((taken[series] for series in sorted(own) if series in taken), None)
        if other is not None:
            ignored[family.name] = f"has the same series names as {other}"
            continue
        if faults := [finding.what for finding in compare_family(family, metric, scrape.source)]:
            ignored[family.name] = "; ".join(faults)
            continue
        taken.update(dict.fromkeys(own, metric.name))
        metrics.append(metric)
    if not metrics:
        why = next((f": {family} {reason}" for family, reason in ignored.items()), "")
        raise BalanceError(f"contains nothing that a catalog can declare{why}", where=scrape.source, cure="give the /metrics of a service")
    return Adopted(name or _service(metric.name for metric in metrics), tuple(metrics), ignored)


def _service(names: Iterable[str]) -> str:
    """The most common first word of the names."""
    first = Tally(name.partition("_")[0] for name in names if not RUNTIME.fullmatch(name))
    words = [word for word, _ in first.most_common() if word]
    return words[0] if words else "service"


def _declared(family: Family) -> Metric:
    """The declaration of a family. Raises `CatalogError` if none fits."""
    if family.type in _UNSUPPORTED:
        raise CatalogError(_UNSUPPORTED[family.type])
    text = (family.help or "").strip()
    labels, whole = _labels(family)
    plain = bool(text) and whole and family.type != "untyped"
    try:
        metric = _metric(family, labels, foreign=not plain)
        return replace(metric, foreign=True) if any(naming.naming_problems(metric)) else metric
    except CatalogError:
        return _metric(family, labels, foreign=True)


def _metric(family: Family, labels: tuple[Label, ...], *, foreign: bool) -> Metric:
    names = {sample.name for sample in family.series} or {family.name}
    text = family.help if family.help and family.help.strip() else f"{family.name.replace('_', ' ').capitalize()} (no help text)."
    if family.type == "histogram":
        return Histogram(family.name, text, _unit(family), labels, buckets=_buckets(family), foreign=foreign)
    if len(names) > 1:
        raise CatalogError(f"has the series {', '.join(sorted(names))} under one type")
    (name,) = names
    if name not in (family.name, f"{family.name}_total"):
        raise CatalogError(f"exposes its series as {name}")
    if family.type == "stateset":
        states = tuple(dict.fromkeys(value for sample in family.samples for label, value in sample.labels if label == name))
        return StateSet(name, text, STATE, tuple(label for label in labels if label.name != name), states=states, state_label=name, foreign=foreign)
    kind = Counter if family.type == "counter" or (family.type == "untyped" and name.endswith("_total")) else Gauge
    return kind(name, text, _unit(family), labels, foreign=foreign)


def _unit(family: Family) -> Unit:
    words = [word for word in family.name.removesuffix("_total").split("_") if word] or ["things"]
    if family.type == "info" or (words[-1] == "info" and all(sample.value == 1 for sample in family.samples)):
        return INFO
    told = [word for word in words if word not in _NO_UNITS] or words
    return _UNITS.get(family.unit or words[-1]) or Unit.of(family.unit or told[-1])


def _buckets(family: Family) -> tuple[float, ...]:
    sets: dict[frozenset[tuple[str, str]], set[float]] = {}
    for sample in family.samples:
        if sample.name == f"{family.name}_bucket":
            key = frozenset(pair for pair in sample.labels if pair[0] != "le")
            try:
                sets.setdefault(key, set()).add(float(dict(sample.labels).get("le", "")))
            except ValueError:
                raise CatalogError("has a bucket with an invalid le") from None
    found = {frozenset(bounds) for bounds in sets.values()}
    if len(found) > 1:
        raise CatalogError("has series with different buckets")
    bounds = sorted(next(iter(found), frozenset()))
    if not bounds or bounds[-1] != math.inf:
        raise CatalogError("has no bucket +Inf" if bounds else "has no series yet, so its buckets are unknown")
    return tuple(bounds[:-1])


def _labels(family: Family) -> tuple[tuple[Label, ...], bool]:
    """The labels of a family, and whether all its series have all of them."""
    own = {"le"} if family.type == "histogram" else {family.name} if family.type == "stateset" else set()
    values: dict[str, dict[str, None]] = {}
    rows = [_own(sample, own) for sample in family.series]
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, {})[value] = None
    whole = all(row.keys() == values.keys() for row in rows)
    return tuple(_label(name, list(found), whole=whole) for name, found in values.items()), whole


def _own(sample: Sample, others: set[str]) -> dict[str, str]:
    return {name: value for name, value in sample.labels if value and name not in others}


def _label(name: str, values: list[str], *, whole: bool) -> Label:
    text = f"{name.replace('_', ' ').capitalize()}, as the service exposes it."
    if all(re.fullmatch(CODE, value) for value in values):
        return Label(name, text, bound=100, pattern=CODE)
    if set(values) <= set(CLASSES):
        return Label(name, text, values=CLASSES)
    if whole and 1 < len(values) <= MAX_VALUES and all(map(_WORD.fullmatch, values)) and not _IDENTITY.fullmatch(name.lower()):
        return Label(name, text, values=tuple(sorted(values)))
    return Label(name, text, bound=max(10, 2 ** math.ceil(math.log2(2 * len(values)))))
