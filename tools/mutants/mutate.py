"""Wrong versions of an alerting rule, one change each.

Left out are changes that make no difference: a factor in a ratio or a quantile; how an increase is computed if only its existence matters
(the one with an offset); and `>` instead of `>=` where a recorded ratio over a long window is compared beside one over a short window, because
floating-point results never hit the threshold exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from balance.config.units import parse_duration

Rule = dict[str, Any]

_OPERATORS = {">": (">=", "<"), "<": ("<=", ">"), "==": ("!=", ">"), "!=": ("==",), ">=": (">", "<"), "<=": ("<", ">")}
_COMPARISON = re.compile(r" (>=|<=|==|!=|>|<) (-?[\d.]+(?:e-?\d+)?)")
_MATCHER = re.compile(r'([a-z_]+)(=~|=)"([^"]*)"')


def mutants(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Every wrong version of the rule, after a description of the change."""
    expr = rule["expr"]
    for what, changed in _expressions(expr):
        yield what, {**rule, "expr": changed}
    for key in ("for", "keep_firing_for"):
        if key in rule:
            given = int(parse_duration(rule[key]) or 0)
            for factor, more in ((1, 60), (2, 120), (0, 0)):
                if (wrong := given * factor + more) != given:
                    yield f"{key} {rule[key]} -> {wrong}s", {**rule, key: f"{wrong}s"}
    severity = {"critical": "warning", "warning": "critical"}[rule["labels"]["severity"]]
    yield "severity", {**rule, "labels": {**rule["labels"], "severity": severity}}
    yield "another label", {**rule, "labels": {**rule["labels"], "team": "x"}}
    for name, text in rule["annotations"].items():
        yield f"a word of {name}", {**rule, "annotations": {**rule["annotations"], name: text.replace("e", "ee", 1)}}
        yield f"no {name}", {**rule, "annotations": {other: words for other, words in rule["annotations"].items() if other != name}}
        for function, other in (("humanizePercentage", "humanize"), ("humanizeDuration", "humanize"), ("humanize1024", "humanize")):
            if f"$value | {function}" in text:
                changed = text.replace(f"$value | {function}", f"$value | {other}")
                yield f"{name}: {other}", {**rule, "annotations": {**rule["annotations"], name: changed}}


def _expressions(expr: str) -> Iterator[tuple[str, str]]:
    def at(match: re.Match[str], text: str) -> str:
        return expr[: match.start()] + text + expr[match.end() :]

    for match in _COMPARISON.finditer(expr):
        operator, number = match.groups()
        for other in _OPERATORS[operator][expr[: match.start()].endswith("}") and "_errors:" in expr :]:
            yield f"{match[0]} -> {other}", at(match, f" {other} {number}")
        value = float(number)
        for another in (value * 1.05, value * 0.95) if value not in (0, 1) else (1 - value,):
            yield f"{match[0]} -> {another!r}", at(match, f" {operator} {another!r}")
    for match in _MATCHER.finditer(expr):
        label, operator, word = match.groups()
        for other in ("", *({"5..": ("4..", "50.", "..."), "open": ("closed",)}.get(word, ("x" + word,)))):
            yield f"{match[0]} -> {other!r}", at(match, f'{label}{operator}"{other}"')
    for match in re.finditer(r" by \(([^)]*)\)", expr):
        labels = match[1].split(", ")
        for kept in (*([name for name in labels if name != gone] for gone in labels), [*labels, "instance"] if "instance" not in labels else []):
            yield f"{match[0]} -> {kept}", at(match, f" by ({', '.join(kept)})")
    asked = [match.span() for match in re.finditer(r"sum by \([^)]*\) \(increase\([^)]* offset [^)]*\)\)", expr)]

    def exists(match: re.Match[str]) -> bool:
        return any(begin <= match.start() < end for begin, end in asked)

    for match in re.finditer(r"\b(sum|rate|increase|max|min)\b", expr):
        if exists(match):
            continue
        other = {"sum": "count", "rate": "increase", "increase": "rate", "max": "min", "min": "max"}[match[1]]
        if match[1] != "rate" or ("/" not in expr and "quantile" not in expr):  # a factor changes no ratio and no quantile
            yield f"{match[0]} -> {other}", at(match, other)
    for match in re.finditer(r"\[([0-9smhdw]+)\]", expr):
        for factor in (3, 1 / 3) if not exists(match) else ():
            yield f"{match[0]} times {factor:.1f}", at(match, f"[{int((parse_duration(match[1]) or 0) * factor)}s]")
    for match in re.finditer(r" offset ([0-9smhdw]+)", expr):
        yield f"no{match[0]}", at(match, "")
    for match in re.finditer(r"histogram_quantile\(([\d.]+)", expr):
        yield f"{match[0]} -> 0.9", at(match, "histogram_quantile(0.9")
    for match in re.finditer(r" (and|or|unless)\b( on \([^)]*\))?", expr):
        rest = expr[match.end() :]
        depth = end = 0
        for end, character in enumerate(rest):
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth < 0 or (depth == 0 and end and re.match(r" (and|or|unless)\b", rest[end:])):
                break
        else:
            end = len(rest)
        yield f"without{match[0]}{rest[:end]}", expr[: match.start()] + rest[end:]
    for match in re.finditer(r" - time\(\)", expr):
        yield f"{match[0]} -> + time()", at(match, " + time()")
