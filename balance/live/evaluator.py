"""Whether PromQL expressions can have a result.

Theory. An expression is evaluated over three values instead of numbers: it can have a result (live), it never can (dead), or the index does not
tell (cannot tell). A sum of something dead is dead; of `a or b` the better side counts, of `a and b` or `a / b` the worse one; `absent` of anything
is live, and so is `vector(0)`. A series that a recording rule of the audited files records is as live as the rule. What is wrong without making the
expression dead, such as the rate of a gauge, becomes a note.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import promql_parser as promql

from balance.errors import Problem
from balance.live.audited_query import AuditedQuery
from balance.live.liveness import LIVE, Assessment, Liveness, cannot_tell, dead
from balance.live.matchers import LabelMatcher
from balance.live.result_labels import matching_labels, result_labels
from balance.live.series_index import TARGET_LABELS, SeriesIndex
from balance.live.trees import is_scalar, parse, series_names

Notes = tuple[Problem, ...]
STAND_INS = ("", "1")
"""What is tried for a variable of which nothing is known: a name, and where that is invalid PromQL, a number."""
_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_ALWAYS_LIVE = frozenset(("absent", "absent_over_time", "vector", "time", "pi"))
_OF_COUNTERS = frozenset(("rate", "irate", "increase", "resets"))
_OF_NATIVE = frozenset(("histogram_count", "histogram_sum", "histogram_avg", "histogram_fraction", "histogram_stddev", "histogram_stdvar"))


class Evaluator:
    """Evaluates the expressions of `queries` over an index; the recording rules among the queries are taken into account."""

    def __init__(self, index: SeriesIndex, queries: Iterable[AuditedQuery]) -> None:
        self._index = index
        self._rules: dict[str, list[AuditedQuery]] = {}
        self._alerts: set[str] = set()
        for query in queries:
            if query.kind == "rule":
                self._rules.setdefault(query.subject, []).append(query)
            elif query.kind == "alert":
                self._alerts.add(query.subject)
        index.recorded = self._rules.keys()
        self._recorded: dict[str, Assessment] = {}
        self._evaluated: dict[str, tuple[Assessment, Notes]] = {}
        self._notes: list[Problem] = []

    def query(self, query: AuditedQuery) -> tuple[Assessment, Notes]:
        """The best assessment over all that its variables can be, and the notes on it."""
        best: tuple[Assessment, Notes] | None = None
        fault = ""
        for stand_in in STAND_INS:
            for candidate in query.candidates(stand_in=stand_in):
                found = self._expression(candidate)
                if isinstance(found, str):
                    fault = fault or found
                elif best is None or found[0].liveness > best[0].liveness:
                    best = found
            if best is not None or not query.guessed:
                break
        if best is not None:
            return best
        if query.guessed:
            return cannot_tell("variable", "cannot be parsed without the values of its variables"), ()
        return cannot_tell("unreadable", f"cannot be parsed: {fault}", "fix the expression"), ()

    def _expression(self, text: str) -> tuple[Assessment, Notes] | str:
        """The assessment of an expression and its notes, or a string that says why it cannot be parsed."""
        if text not in self._evaluated:
            tree = parse(text)
            if isinstance(tree, str):
                return tree
            outer, self._notes = self._notes, []
            try:
                assessment = self._value(tree)
            except RecursionError:
                return "too deeply nested"
            self._evaluated[text] = assessment, tuple(self._notes)
            self._notes = outer
        return self._evaluated[text]

    def _value(self, node: Any) -> Assessment:
        match node:
            case promql.NumberLiteral() | promql.StringLiteral():
                return LIVE
            case promql.VectorSelector():
                return self._selector(node)
            case promql.MatrixSelector():
                return self._selector(node.vector_selector)
            case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self._value(node.expr)
            case promql.Call():
                return self._call(node)
            case promql.BinaryExpr():
                return self._binary(node)
            case _:
                return cannot_tell("unreadable", f"unsupported expression {type(node).__name__}")

    def _call(self, node: Any) -> Assessment:
        name = node.func.name
        if name in _ALWAYS_LIVE:
            for argument in node.args:
                self._value(argument)  # marks its metrics as used
            return LIVE
        worst = min((self._value(argument) for argument in node.args), default=LIVE, key=lambda one: one.liveness)
        if worst.liveness == Liveness.DEAD:
            if name in _OF_NATIVE and all(reason.check == "type" for reason in worst.reasons):
                return cannot_tell("type", f"{name}() is for native histograms, which a text scrape does not show")
            return worst
        if name in _OF_COUNTERS:
            gauges = (series for series in series_names(node.args[0]) if self._index.kind(series) == "gauge")
            cure = "use delta() or deriv(), or its value"
            self._notes += [Problem("", f"takes the {name} of {series}, which is a gauge", cure, check="type") for series in gauges]
        return self._quantile(node.args[1]) or worst if name == "histogram_quantile" else worst

    def _quantile(self, buckets: Any) -> Assessment | None:
        """Dead, if what histogram_quantile() gets are no buckets."""
        labels = result_labels(buckets, self._index)
        if labels is None or "le" in labels:
            return None
        names = series_names(buckets)
        kinds = {self._index.kind(series) for series in names} - {""}
        if kinds == {"histogram"}:
            return dead("label", "histogram_quantile() gets series without 'le'", "keep it: sum by (le) (...) over the _bucket series")
        if kinds and not self._index.complete:
            what = f"histogram_quantile() of {', '.join(sorted(names))}, which is a {'/'.join(sorted(kinds))}"
            return dead("type", what, "it takes the _bucket series of a histogram")
        return None

    def _binary(self, node: Any) -> Assessment:
        left, right, operator = self._value(node.lhs), self._value(node.rhs), str(node.op)
        both = tuple(dict.fromkeys((*left.reasons, *right.reasons)))
        if operator == "or":
            best = max(left.liveness, right.liveness)
            if best == Liveness.LIVE:
                self._notes += [*left.reasons, *right.reasons]
                return LIVE
            return Assessment(best, both)
        if operator == "unless":
            return left
        worst = min(left.liveness, right.liveness)
        if worst == Liveness.DEAD:
            return Assessment(worst, tuple(dict.fromkeys(reason for side in (left, right) if side.liveness == worst for reason in side.reasons)))
        if not is_scalar(node.lhs) and not is_scalar(node.rhs) and (mismatch := self._mismatch(node)):
            return mismatch
        return Assessment(worst, both)

    def _mismatch(self, node: Any) -> Assessment | None:
        """Dead, if the labels of the two sides can never match."""
        keys = []
        for side in (node.lhs, node.rhs):
            labels = result_labels(side, self._index)
            if labels is None:
                return None
            keys.append(matching_labels(labels, node.modifier))
        if keys[0] == keys[1]:
            return None
        fill = getattr(node.modifier, "fill_values", None)
        if fill is not None and (fill.lhs is not None or fill.rhs is not None):
            return None
        shown = " and ".join(f"({', '.join(sorted(key))})" for key in keys)
        what = f"the sides of {str(node.op)!r} never match: they have the labels {shown}"
        return dead("matching", what, "match on the labels that both have: on (...)")

    def _selector(self, node: Any) -> Assessment:
        if node.matchers.or_matchers:
            return cannot_tell("unreadable", "matchers joined by `or` are not supported")
        matchers = tuple(LabelMatcher(matcher.name, _OPERATORS[str(matcher.op)], matcher.value) for matcher in node.matchers.matchers)
        name = node.name or next((matcher.value for matcher in matchers if matcher.label == "__name__" and matcher.operator == "="), "")
        matchers = tuple(matcher for matcher in matchers if not (matcher.label == "__name__" and matcher.value == name))
        if not name:
            return self._index.find_all(matchers)
        if name in ("ALERTS", "ALERTS_FOR_STATE"):
            known = [matcher.value for matcher in matchers if matcher.label == "alertname" and matcher.operator == "="]
            if known and self._alerts and known[0] not in self._alerts and not self._index.complete:
                return cannot_tell("label-value", f"no alert {known[0]} in the given rule files")
            return LIVE
        if name in self._rules and name not in self._index.owner:
            return self._record(name, matchers)
        return self._index.find(name, matchers)

    def _record(self, name: str, matchers: tuple[LabelMatcher, ...]) -> Assessment:
        """As live as the rules that record the series; whether it has the labels asked for is known only of those that they set."""
        if name not in self._recorded:
            self._recorded[name] = LIVE  # for a rule that selects its own result
            made = [self._expression(rule.expr) for rule in self._rules[name]]
            unreadable = cannot_tell("unreadable", f"the expression of rule {name} cannot be parsed")
            best = max((one[0] for one in made if not isinstance(one, str)), default=unreadable, key=lambda one: one.liveness)
            if best.liveness == Liveness.DEAD:
                reasons = (replace(reason, what=f"{name} is recorded from missing series: {reason.what}") for reason in best.reasons)
                best = Assessment(Liveness.DEAD, tuple(reasons))
            self._recorded[name] = best
        asked = [matcher for matcher in matchers if matcher.label not in TARGET_LABELS and not matcher.operator.startswith("!")]
        given = dict(pair for rule in self._rules[name] for pair in rule.labels)
        asked = [matcher for matcher in asked if given.get(matcher.label) != matcher.value]
        if self._recorded[name].liveness == Liveness.LIVE and asked:
            return cannot_tell("label-value", f"cannot tell whether {name} has the label {asked[0].label!r} with this value")
        return self._recorded[name]
