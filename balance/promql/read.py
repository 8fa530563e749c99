"""Check hand-written PromQL against a catalog: the series that it selects, and their labels. Not a parser: it looks at names only.

Prometheus says whether a text is valid PromQL; only the catalog knows whether its names exist.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import cast

from balance.catalog.model import TARGET_LABELS, StateSet
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, Problem, QueryError, choices
from balance.promql.selectors import Matcher, MatchOperator, Selector

_STRING = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TOKEN = re.compile(
    rf"""{_STRING} | \#[^\n]* | [0-9][0-9a-zA-Z.]*
      | \b(?:by|without|on|ignoring|group_left|group_right)\s*\((?P<grouped>[^)]*)\)
      | {_NAME}(?=\s*\()
      | (?P<name>{_NAME})(?P<inside>\s*\{{(?:{_STRING}|[^}}"'])*\}})?""",
    re.VERBOSE,
)
_MATCHER = re.compile(rf"""({_NAME})\s*(=~|!~|!=|=)\s*({_STRING})""")
_WORDS = {
    "and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "group_left", "group_right",
    "sum", "min", "max", "avg", "count", "group", "topk", "bottomk", "quantile", "stddev", "stdvar", "count_values",
}  # fmt: skip


def checked(query: str, catalog: Catalog, selector: str = "", recorded: Collection[str] = ()) -> str:
    """Check a query and return it with `selector` (such as ``job="balance"``) added to every selector.

    `recorded` are names of recording rules, which may be selected too. Raises `QueryError` with every series, label and value that the
    catalog does not have.
    """
    problems: list[Problem] = []
    grouped: set[str] = set()
    known = {"le", *TARGET_LABELS}

    def rewrite(token: re.Match[str]) -> str:
        grouped.update(re.findall(_NAME, token["grouped"] or ""))
        name, inside = token["name"], (token["inside"] or "").strip()
        if name is None or name.lower() in _WORDS:
            return token[0]
        matchers = [Matcher(label, cast(MatchOperator, operator), _unquoted(value)) for label, operator, value in _MATCHER.findall(inside)]
        try:
            known.update(_labels(name, matchers, catalog, recorded))
        except BalanceError as error:
            problems.extend(error.problems)
        own = inside[1:-1].strip(", ")
        joined = ",".join(part for part in (own, selector) if part)
        return f"{name}{{{joined}}}" if joined else name

    made = _TOKEN.sub(rewrite, query)
    if not problems:  # the labels of an unknown series are unknown too
        problems = [
            Problem("", f"groups by {label!r}, which none of its series has", f"labels: {choices(known)}") for label in sorted(grouped - known)
        ]
    if problems:
        raise QueryError(problems=problems)
    return made


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _labels(name: str, matchers: list[Matcher], catalog: Catalog, recorded: Collection[str]) -> set[str]:
    """The labels that series of that name have. Raises `BalanceError` for the first name that the catalog does not have."""
    if name in recorded:
        return set(name.partition(":")[0].split("_"))
    metric = catalog.metric(name)
    if name not in metric.samples:
        raise QueryError(f"a {metric.kind} has no series of this name", where=name, cure=f"series: {choices(metric.samples)}")
    carried = {*metric.label_names, *TARGET_LABELS, *({metric.state_label} if isinstance(metric, StateSet) else ())}
    Selector(metric, tuple(matcher for matcher in matchers if matcher.label not in ("le", *TARGET_LABELS)))
    return carried
