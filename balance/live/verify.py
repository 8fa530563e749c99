"""A scrape held against a catalog: what the service shows, and what it said that it would."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from balance.catalog.model import Histogram, Label, Metric, StateSet, number, scrape_type
from balance.catalog.registry import Catalog
from balance.errors import Problem, choices, few
from balance.live.nearest import NearestName
from balance.live.scrape import Family, Scrape


class Conformance(NamedTuple):
    """What `verify` found, and how much of the catalog the scrape shows."""

    findings: list[Problem]
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
    findings = [replace(problem, subject=scrape.source, check="scrape-unreadable") for problem in scrape.problems]
    families = dict(scrape.families)
    shown = 0
    expected = [metric for metric, _ in catalog.shown]
    for metric in expected:
        family = _taken(families, metric)
        if family is None:
            findings.append(
                Problem(scrape.source, "is declared and not shown", "show it, or take it out of the catalog", metric.name, check="family-missing")
            )
        else:
            shown += 1
            findings += compare_family(family, metric, scrape.source)
    for metric in catalog.external:
        family = _taken(families, metric)
        findings += _type(family, metric, scrape.source) if family else []
    nearest = NearestName(metric.name for metric in catalog)
    ignored = 0
    for name, family in families.items():
        if name in catalog.ignored:
            ignored += 1
        elif not is_created(name, scrape):
            near = nearest(name)
            cure = f"{f'did you mean {near!r}? ' if near else ''}declare it, or say in `ignored` of the catalog why not"
            findings.append(Problem(f"{scrape.source}:{family.line}", "is not in the catalog", cure, name, check="family-unknown"))
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


def compare_family(family: Family, metric: Metric, source: str) -> Iterator[Problem]:
    """In what a family differs from its declaration."""
    where, name = f"{source}:{family.line}", metric.name
    if wrong := _type(family, metric, source):
        yield from wrong
        return  # its labels and buckets mean something else
    if family.help is None or not family.help.strip():
        if not metric.foreign:
            yield Problem(where, "is shown without a help text", "write # HELP", name, check="help")
    elif family.help != metric.help:
        yield Problem(
            where, f"is shown with the help {family.help!r}, declared with {metric.help!r}", "use one text", name, check="help", severity="warning"
        )
    if family.unit and family.unit != str(metric.unit):
        yield Problem(where, f"is shown in {family.unit}, declared in {metric.unit}", "mend the service or the catalog", name, check="unit")
    yield from _labels(family, metric, where)
    if isinstance(metric, Histogram):
        yield from _buckets(family, metric, where)
    series = len(family.series)
    if series > metric.cardinality:
        cure = "some label has more values than it should: see the findings of its labels"
        yield Problem(where, f"shows {series} series, its labels allow {metric.cardinality}", cure, name, check="series-over-budget")


def _type(family: Family, metric: Metric, source: str) -> list[Problem]:
    wanted, found = scrape_type(metric), _TYPES.get(family.type, family.type)
    if found == wanted or (metric.foreign and found == "untyped"):
        return []
    what, cure = f"is shown as {family.type}, declared as {wanted}", "mend the service or the catalog"
    return [Problem(f"{source}:{family.line}", what, cure, metric.name, check="type")]


def _labels(family: Family, metric: Metric, where: str) -> Iterator[Problem]:
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
        yield Problem(where, f"is shown with the label {name!r}, which it does not declare", cure, metric.name, check="label-undeclared")
    for name in labels:
        if name in missing and not metric.foreign:
            yield Problem(where, f"is shown without its label {name!r}", "set it in the service, or take it out", metric.name, check="label-missing")
        odd = sorted(value for value in values.get(name, ()) if not labels[name].allows(value))
        if odd:
            rule = f"declared: {few(sorted(labels[name].values))}" if labels[name].values else f"it must match {labels[name].pattern}"
            problem = f"has {few(map(repr, odd))} as {name!r}, outside its set"
            yield Problem(where, problem, f"map it to a declared value, or declare it ({rule})", metric.name, check="label-value")
        count = len(values.get(name, ()))
        if labels[name].bound and count > labels[name].bound:
            problem = f"shows {count} values of {name!r}, its bound is {labels[name].bound}"
            yield Problem(where, problem, "bound what the service puts into it, or raise the bound", metric.name, check="label-over-bound")


def _buckets(family: Family, metric: Histogram, where: str) -> Iterator[Problem]:
    found: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
    for sample in family.samples:
        if sample.name == f"{family.name}_bucket":
            bound = next((value for name, value in sample.labels if name == "le"), "")
            try:
                at = float(bound)
            except ValueError:
                yield Problem(where, f"has a bucket with le={bound!r}", "le is a number or +Inf", metric.name, check="buckets")
                return
            found.setdefault(frozenset(pair for pair in sample.labels if pair[0] != "le"), {})[at] = sample.value
    wanted = {*metric.buckets, math.inf}
    for counts in found.values():
        if counts.keys() != wanted:
            more, less = sorted(counts.keys() - wanted), sorted(wanted - counts.keys())
            parts = [f"{verb} {few(repr(number(bound) if bound < math.inf else '+Inf') for bound in bounds)}"
                     for verb, bounds in (("has", more), ("lacks", less)) if bounds]  # fmt: skip
            yield Problem(
                where, f"has other buckets than declared: {', '.join(parts)}", f"declared: {metric.bounds}, +Inf", metric.name, check="buckets"
            )
            break
    for counts in found.values():
        heights = [counts[bound] for bound in sorted(counts)]
        if heights != sorted(heights):
            yield Problem(where, "has a bucket that counts less than the one below it", "buckets are cumulative", metric.name, check="buckets")
            break
