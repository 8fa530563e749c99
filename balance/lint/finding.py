"""What `lint` and its like have to say: findings, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from balance.record import Record

FindingSeverity = Literal["error", "warning"]


class Finding(Record):
    """One thing that a check found: which check, where, about what, what is wrong and how to mend it."""

    check: str
    severity: FindingSeverity
    where: str
    subject: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.severity}: {self.subject} {self.problem} ({self.cure}) [{self.check}]"


def report(findings: Iterable[Finding], summary: Mapping[str, Any]) -> str:
    """One JSON object with the findings and a summary."""
    rows = [{name: getattr(finding, name) for name in ("check", "severity", "where", "subject", "problem", "cure")} for finding in findings]
    return json.dumps({"findings": rows, "summary": dict(summary)}, indent=2, ensure_ascii=False) + "\n"
