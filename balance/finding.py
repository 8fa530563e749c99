"""What `lint`, `verify`, `audit` and their like have to say: findings, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

FindingSeverity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found: which check, where, about what, what is wrong and how to mend it."""

    check: str
    severity: FindingSeverity
    where: str
    subject: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.severity}: {self.subject} {self.problem} ({self.cure}) [{self.check}]"


def annotation(finding: Finding) -> str:
    """The finding as GitHub Actions shows it beside a change: at the file if it is in one."""

    def escaped(text: str, also: str = "") -> str:
        for character in "%\r\n" + also:
            text = text.replace(character, f"%{ord(character):02X}")
        return text

    file = f"file={escaped(finding.where, ':,')}," if "/" in finding.where and " " not in finding.where else ""
    return f"::{finding.severity} {file}title={escaped(finding.check, ':,')}::{escaped(str(finding))}"


def report(findings: Iterable[Finding], summary: Mapping[str, Any], **more: Any) -> str:
    """One JSON object with the findings and a summary, and what else a command has to tell."""
    rows = [{name: getattr(finding, name) for name in ("check", "severity", "where", "subject", "problem", "cure")} for finding in findings]
    return json.dumps({"findings": rows, "summary": dict(summary), **more}, indent=2, ensure_ascii=False) + "\n"
