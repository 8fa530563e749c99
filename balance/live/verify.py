"""Compare a scrape with a catalog: what a service exposes, and what it declares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from balance.catalog.model import Histogram, Label, Metric, StateSet, number, scrape_type
from balance.catalog.registry import Catalog
from balance.errors import Problem, choices, few
from balance.live.nearest import NearestName
from balance.live.scrape import Family, Scrape


@dataclass(frozen=True)
class Conformance:
    """The findings of `verify`, and the numbers of declared, exposed and ignored families and of series."""

    findings: list[Problem]
    declared: int
    shown: int
    series: int
    ignored: int

    @property
    def coverage(self) -> float:
        """Declared families that are exposed, in percent."""
        return 100 * self.shown / self.declared if self.declared else 100.0

    def summary(self) -> dict[str, float]:
        """The figures by the keys of the report."""
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
    """All differences between the scrape and the catalog, in the order of the catalog, then undeclared families.

    Families in `catalog.ignored` are left out; those in `catalog.external` may be missing, and only their type is checked.
    """
    findings = [replace(problem, subject=scrape.source, check="scrape-unreadable") for problem in scrape.problems]
    families = dict(scrape.families)
    shown = 0
    expected = [metric for metric, _ in catalog.shown]
    for metric in expected:
        family = _pop_family(families, metric)
        if family is None:
            findings.append(
                Problem(scrape.source, "is declared but not exposed", "expose it, or remove it from the catalog", metric.name, check="family-missing")
            )
        else:
            shown += 1
            findings += compare_family(family, metric, scrape.source)
    for metric in catalog.external:
        family = _pop_family(families, metric)
        findings += _type(family, metric, scrape.source) if family else []
    nearest = NearestName(metric.name for metric in catalog)
    ignored = 0
    for name, family in families.items():
        if name in catalog.ignored:
            ignored += 1
        elif not is_created(name, scrape):
            near = nearest(name)
            cure = f"{f'did you mean {near!r}? ' if near else ''}declare it, or give the reason in `ignored` of the catalog"
            findings.append(Problem(f"{scrape.source}:{family.line}", "is not in the catalog", cure, name, check="family-unknown"))
    return Conformance(findings, len(expected), shown, scrape.size, ignored)


def is_created(name: str, scrape: Scrape) -> bool:
    """True if the family only holds the creation times of the series of another (text format)."""
    base = name.removesuffix("_created")
    return base != name and (base in scrape.families or f"{base}_total" in scrape.families)


def _pop_family(families: dict[str, Family], metric: Metric) -> Family | None:
    """Remove and return the family of a metric; in the text format, the type of a counter may be given without its `_total`."""
    found = families.pop(metric.name, None)
    bare = metric.name.removesuffix("_total")
    if found is None and bare != metric.name and bare in families and families[bare].type == "counter":
        found = families.pop(bare)
    return found


_TYPES = {"stateset": "gauge", "info": "gauge"}
"""OpenMetrics types that the text format does not have -> their type there."""


def compare_family(family: Family, metric: Metric, source: str) -> Iterator[Problem]:
    """The differences between a family and its declaration."""
    where, name = f"{source}:{family.line}", metric.name
    if wrong := _type(family, metric, source):
        yield from wrong
        return  # labels and buckets depend on the type
    if family.help is None or not family.help.strip():
        if not metric.foreign:
            yield Problem(where, "is exposed without a help text", "add # HELP", name, check="help")
    elif family.help != metric.help:
        yield Problem(
            where, f"is exposed with the help {family.help!r}, declared with {metric.help!r}", "use one text", name, check="help", severity="warning"
        )
    if family.unit and family.unit != str(metric.unit):
        yield Problem(where, f"is exposed in {family.unit}, declared in {metric.unit}", "fix the service or the catalog", name, check="unit")
    yield from _labels(family, metric, where)
    if isinstance(metric, Histogram):
        yield from _buckets(family, metric, where)
    series = len(family.series)
    if series > metric.cardinality:
        cure = "a label has too many values: see the findings of its labels"
        yield Problem(where, f"has {series} series, its labels allow {metric.cardinality}", cure, name, check="series-over-budget")


def _type(family: Family, metric: Metric, source: str) -> list[Problem]:
    wanted, found = scrape_type(metric), _TYPES.get(family.type, family.type)
    if found == wanted or (metric.foreign and found == "untyped"):
        return []
    what, cure = f"is exposed as {family.type}, declared as {wanted}", "fix the service or the catalog"
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
        cure = f"declare it (declared: {choices(labels)}), or remove it from the service"
        yield Problem(where, f"has the undeclared label {name!r}", cure, metric.name, check="label-undeclared")
    for name in labels:
        if name in missing and not metric.foreign:
            yield Problem(
                where,
                f"is exposed without its label {name!r}",
                "set it in the service, or remove it from the catalog",
                metric.name,
                check="label-missing",
            )
        undeclared = sorted(value for value in values.get(name, ()) if not labels[name].allows(value))
        if undeclared:
            rule = f"declared: {few(sorted(labels[name].values))}" if labels[name].values else f"it must match {labels[name].pattern}"
            problem = f"has undeclared values of {name!r}: {few(map(repr, undeclared))}"
            yield Problem(where, problem, f"map it to a declared value, or declare it ({rule})", metric.name, check="label-value")
        count = len(values.get(name, ()))
        if labels[name].bound and count > labels[name].bound:
            problem = f"has {count} values of {name!r}, its bound is {labels[name].bound}"
            yield Problem(where, problem, "limit its values in the service, or raise the bound", metric.name, check="label-over-bound")


def _buckets(family: Family, metric: Histogram, where: str) -> Iterator[Problem]:
    found: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
    for sample in family.samples:
        if sample.name == f"{family.name}_bucket":
            bound = next((value for name, value in sample.labels if name == "le"), "")
            try:
                at = float(bound)
            except ValueError:
                yield Problem(where, f"has a bucket with le={bound!r}", "le must be a number or +Inf", metric.name, check="buckets")
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
            yield Problem(where, "has a bucket with a smaller count than the one below it", "buckets are cumulative", metric.name, check="buckets")
            break
