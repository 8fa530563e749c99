"""Findings for programs: as JSON, and as annotations of GitHub Actions. For people, `str(problem)` is enough."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from balance.errors import Problem


def annotation(finding: Problem) -> str:
    """The workflow command with which GitHub Actions shows a finding beside a change, at its file if `where` is one."""

    def escaped(text: str, also: str = "") -> str:
        for character in "%\r\n" + also:
            text = text.replace(character, f"%{ord(character):02X}")
        return text

    file = f"file={escaped(finding.where, ':,')}," if "/" in finding.where and " " not in finding.where else ""
    return f"::{finding.severity} {file}title={escaped(finding.check, ':,')}::{escaped(str(finding))}"


def report(findings: Iterable[Problem], summary: Mapping[str, Any], **more: Any) -> str:
    """One JSON object: `findings`, a `summary`, and `more` of a command's own keys."""
    rows = [
        {
            "check": finding.check,
            "severity": finding.severity,
            "where": finding.where,
            "subject": finding.subject,
            "problem": finding.what,
            "cure": finding.cure,
        }
        for finding in findings
    ]
    return json.dumps({"findings": rows, "summary": dict(summary), **more}, indent=2, ensure_ascii=False) + "\n"
