"""Which panels can never show anything and which alerts can never fire, and why: `evaluator` says it of expressions, this of a whole audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from balance.errors import FindingSeverity, Problem
from balance.live.audited_query import AuditedQuery
from balance.live.evaluator import STAND_INS, Evaluator, Notes
from balance.live.liveness import Assessment, Liveness
from balance.live.series_index import SeriesIndex
from balance.live.trees import parse, series_names

_SEVERITIES: dict[str, FindingSeverity] = {"type": "warning", "unreadable": "error"}
"""Reasons that are findings even where the expression is not dead."""
_DEAD = {
    "panel": "never shows anything",
    "annotation": "never marks anything",
    "variable": "never has a choice",
    "alert": "can never fire",
    "rule": "never records anything",
}


@dataclass(frozen=True)
class AssessedQuery:
    """A query and its assessment. `notes` say what is wrong with it without making it dead."""

    query: AuditedQuery
    assessment: Assessment
    notes: Notes

    def __str__(self) -> str:
        reasons = "; ".join(reason.what for reason in self.assessment.reasons)
        return f"{self.query.where}: {str(self.assessment.liveness).replace('-', ' ')}: {self.query.subject}: {reasons}"

    def row(self) -> dict[str, Any]:
        """The verdict as it stands in the JSON report."""
        return {
            "kind": self.query.kind,
            "subject": self.query.subject,
            "where": self.query.where,
            "verdict": str(self.assessment.liveness),
            "reasons": [{"kind": reason.check, "problem": reason.what, "cure": reason.cure} for reason in (*self.assessment.reasons, *self.notes)],
        }

    def findings(self) -> list[Problem]:
        """Why the query is dead, or what is wrong with it although it is not."""
        reasons = self.assessment.reasons
        if self.assessment.liveness == Liveness.DEAD:
            told = [replace(reason, what=f"{_DEAD[self.query.kind]}: {reason.what}") for reason in reasons]
        else:
            told = [replace(reason, severity=_SEVERITIES[reason.check]) for reason in (*self.notes, *reasons) if reason.check in _SEVERITIES]
        return [replace(reason, where=self.query.where, subject=self.query.subject) for reason in dict.fromkeys(told)]


@dataclass(frozen=True)
class Audit:
    """All queries with their assessments, the findings that follow from them, and the metrics that nothing selects."""

    assessed: list[AssessedQuery]
    findings: list[Problem]
    unused: list[str]

    def summary(self) -> dict[str, Any]:
        """How many of each kind have which verdict. A panel is as live as the best of its queries."""
        counts: dict[str, Any] = {}
        for kind in ("panel", "alert", "rule", "variable", "annotation"):
            best: dict[str, Liveness] = {}
            for number, item in enumerate(self.assessed):
                if item.query.kind == kind:
                    identity = item.query.panel or str(number)
                    best[identity] = max(best.get(identity, Liveness.DEAD), item.assessment.liveness)
            tally = Counter(best.values())
            counts[f"{kind}s"] = {"all": len(best), **{str(liveness): tally[liveness] for liveness in reversed(Liveness)}}
        severities = Counter(finding.severity for finding in self.findings)
        queries = sum(item.query.kind == "panel" for item in self.assessed)
        return {**counts, "queries": queries, "unused": len(self.unused), "errors": severities["error"], "warnings": severities["warning"]}


def audit(queries: Iterable[AuditedQuery], index: SeriesIndex, problems: Iterable[Problem] = ()) -> Audit:
    """Assess all queries. `problems` are what could not be read of the files that they come from; each becomes a finding."""
    asked = list(queries)
    evaluator = Evaluator(index, asked)
    assessed = [AssessedQuery(query, *evaluator.query(query)) for query in asked]
    findings = [replace(problem, subject="input", check="unreadable") for problem in problems]
    findings += [finding for item in assessed for finding in item.findings()]
    return Audit(assessed, findings, index.unused)


def selected_names(queries: Iterable[AuditedQuery]) -> set[str]:
    """The names of all series that the expressions select."""
    candidates = {text for query in queries for stand_in in STAND_INS for text in query.candidates(stand_in=stand_in)}
    trees = (parse(candidate) for candidate in candidates)
    return {name for tree in trees if not isinstance(tree, str) for name in series_names(tree)}
