"""A scrape held against a catalog: what the service shows, and what it said that it would."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from balance.catalog.model import Histogram, Label, Metric, StateSet, number, scrape_type
from balance.catalog.registry import Catalog
from balance.errors import choices, few
from balance.finding import Finding, FindingSeverity
from balance.live.nearest import Nearest
from balance.live.scrape import Family, Scrape

_SHOWN = 5
"""So many values are named in a message; of more, their number is told."""


class Conformance(NamedTuple):
    """What `verify` found, and how much of the catalog the scrape shows."""

    findings: list[Finding]
    declared: int
    shown: int
    series: int
    ignored: int

    @property
    def coverage(self) -> float:
        """Families of the catalog that the scrape shows, in percent."""
        return 100 * self.shown / self.declared if self.declared else 100.0

    def summary(self) -> dict[str, float]:
        """The figures under the words of the report."""
        return {
            "declared": self.declared,
            "shown": self.shown,
            "coverage_percent": math.floor(self.coverage * 10) / 10,
            "series": self.series,
            "ignored": self.ignored,
            "errors": sum(finding.severity == "error" for finding in self.findings),
            "warnings": sum(finding.severity == "warning" for finding in self.findings),
        }


def verify(scrape: Scrape, catalog: Catalog) -> Conformance:
    """Everything in which the scrape and the catalog differ, in the order of the catalog, then what the catalog does not have.

    Families that `catalog.ignored` names are left out; `catalog.external` may be shown and need not be: of those only the
    type is looked at.
    """
    findings = [_finding("scrape-unreadable", problem.where, scrape.source, problem.what, problem.cure) for problem in scrape.problems]
    families = dict(scrape.families)
    shown = 0
    expected = [metric for metric, _ in catalog.shown]
    for metric in expected:
        family = _taken(families, metric)
        if family is None:
            findings.append(
                _finding("family-missing", scrape.source, metric.name, "is declared and not shown", "show it, or take it out of the catalog")
            )
        else:
            shown += 1
            findings += compare(family, metric, scrape.source)
    for metric in catalog.external:
        family = _taken(families, metric)
        findings += _type(family, metric, scrape.source) if family else []
    nearest = Nearest(metric.name for metric in catalog)
    ignored = 0
    for name, family in families.items():
        if name in catalog.ignored:
            ignored += 1
        elif not is_created(name, scrape):
            near = nearest(name)
            cure = f"{f'did you mean {near!r}? ' if near else ''}declare it, or say in `ignored` of the catalog why not"
            findings.append(_finding("family-unknown", f"{scrape.source}:{family.line}", name, "is not in the catalog", cure))
    return Conformance(findings, len(expected), shown, scrape.size, ignored)


def is_created(name: str, scrape: Scrape) -> bool:
    """Whether a family of the text format is only the times at which series of another began."""
    base = name.removesuffix("_created")
    return base != name and (base in scrape.families or f"{base}_total" in scrape.families)


def _taken(families: dict[str, Family], metric: Metric) -> Family | None:
    """The family of a metric; the text format leaves it open whether the type of a counter is given with its `_total`."""
    found = families.pop(metric.name, None)
    bare = metric.name.removesuffix("_total")
    if found is None and bare != metric.name and bare in families and families[bare].type == "counter":
        found = families.pop(bare)
    return found


_TYPES = {"stateset": "gauge", "info": "gauge"}
"""What OpenMetrics has beyond the text format, in the words of that."""


def compare(family: Family, metric: Metric, source: str) -> Iterator[Finding]:
    """In what a family differs from its declaration."""
    where, name = f"{source}:{family.line}", metric.name
    if wrong := _type(family, metric, source):
        yield from wrong
        return  # its labels and buckets mean something else
    if family.help is None or not family.help.strip():
        if not metric.foreign:
            yield _finding("help", where, name, "is shown without a help text", "write # HELP")
    elif family.help != metric.help:
        yield _finding("help", where, name, f"is shown with the help {family.help!r}, declared with {metric.help!r}", "use one text", "warning")
    if family.unit and family.unit != str(metric.unit):
        yield _finding("unit", where, name, f"is shown in {family.unit}, declared in {metric.unit}", "mend the service or the catalog")
    yield from _labels(family, metric, where)
    if isinstance(metric, Histogram):
        yield from _buckets(family, metric, where)
    series = len(family.series)
    if series > metric.cardinality:
        cure = "some label has more values than it should: see the findings of its labels"
        yield _finding("series-over-budget", where, name, f"shows {series} series, its labels allow {metric.cardinality}", cure)


def _type(family: Family, metric: Metric, source: str) -> list[Finding]:
    wanted, found = scrape_type(metric), _TYPES.get(family.type, family.type)
    if found == wanted or (metric.foreign and found == "untyped"):
        return []
    what, cure = f"is shown as {family.type}, declared as {wanted}", "mend the service or the catalog"
    return [_finding("type", f"{source}:{family.line}", metric.name, what, cure)]


def _labels(family: Family, metric: Metric, where: str) -> Iterator[Finding]:
    labels: dict[str, Label] = {label.name: label for label in metric.labels}
    if isinstance(metric, StateSet):
        labels[metric.state_label] = metric.label(metric.state_label)
    own = {"le"} if isinstance(metric, Histogram) else set()
    values: dict[str, set[str]] = {}
    missing: set[str] = set()
    for sample in family.series:
        shown = dict(sample.labels)
        for name, value in shown.items():
            if value and name not in own:
                values.setdefault(name, set()).add(value)
        missing.update(name for name in labels if not shown.get(name))
    for name in sorted(values.keys() - labels.keys()):
        cure = f"declare it (declared: {choices(labels)}), or take it out of the service"
        yield _finding("label-undeclared", where, metric.name, f"is shown with the label {name!r}, which it does not declare", cure)
    for name in labels:
        if name in missing and not metric.foreign:
            yield _finding("label-missing", where, metric.name, f"is shown without its label {name!r}", "set it in the service, or take it out")
        odd = sorted(value for value in values.get(name, ()) if not labels[name].allows(value))
        if odd:
            rule = f"declared: {few(sorted(labels[name].values))}" if labels[name].values else f"it must match {labels[name].pattern}"
            problem = f"has {_quoted(odd)} as {name!r}, outside its set"
            yield _finding("label-value", where, metric.name, problem, f"map it to a declared value, or declare it ({rule})")
        count = len(values.get(name, ()))
        if labels[name].bound and count > labels[name].bound:
            problem = f"shows {count} values of {name!r}, its bound is {labels[name].bound}"
            yield _finding("label-over-bound", where, metric.name, problem, "bound what the service puts into it, or raise the bound")


def _buckets(family: Family, metric: Histogram, where: str) -> Iterator[Finding]:
    found: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
    for sample in family.samples:
        if sample.name == f"{family.name}_bucket":
            bound = next((value for name, value in sample.labels if name == "le"), "")
            try:
                at = float(bound)
            except ValueError:
                yield _finding("buckets", where, metric.name, f"has a bucket with le={bound!r}", "le is a number or +Inf")
                return
            found.setdefault(frozenset(pair for pair in sample.labels if pair[0] != "le"), {})[at] = sample.value
    wanted = {*metric.buckets, math.inf}
    for counts in found.values():
        if counts.keys() != wanted:
            more, less = sorted(counts.keys() - wanted), sorted(wanted - counts.keys())
            parts = [f"{verb} {_quoted([number(bound) if bound < math.inf else '+Inf' for bound in bounds])}"
                     for verb, bounds in (("has", more), ("lacks", less)) if bounds]  # fmt: skip
            yield _finding("buckets", where, metric.name, f"has other buckets than declared: {', '.join(parts)}", f"declared: {metric.bounds}, +Inf")
            break
    for counts in found.values():
        heights = [counts[bound] for bound in sorted(counts)]
        if heights != sorted(heights):
            yield _finding("buckets", where, metric.name, "has a bucket that counts less than the one below it", "buckets are cumulative")
            break


def _quoted(values: list[str]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(repr, values[:_SHOWN])) + more


def _finding(check: str, where: str, subject: str, problem: str, cure: str, severity: FindingSeverity = "error") -> Finding:
    return Finding(check, severity, where, subject, problem, cure)
