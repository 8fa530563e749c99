"""Which panels can never show anything and which alerts can never fire, and why.

An expression is evaluated over three values instead of numbers: it can have a result (`live`), it never can (`dead`), or what is known does not
tell (`cannot-tell`). A sum of a dead thing is dead, of `a or b` the better one counts, of `a and b` or `a / b` the worse one; `absent` of whatever
is live, and so is `vector(0)`. What a recording rule of the audited files makes is as live as the rule.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import promql_parser as promql

from balance.errors import FindingSeverity, Problem
from balance.live.question import UNKNOWN_NAME, Question
from balance.live.world import LIVE, TARGET, Answer, Match, Verdict, World

_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
_STRINGS = re.compile(r"""("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|`[^`]*+`)""")
_BRACKETS = re.compile(r"[()\[\]{}]")
_OPERATIONS = re.compile(r"[-+*/%^<>]|==|\b(?:and|or|unless|atan2)\b")
_DEEPEST, _MOST_OPERATIONS = 150, 300
_STAND_INS = ("", "1")
"""A variable of which nothing is known is a name; where that is no PromQL, a number."""
_ALWAYS = frozenset(("absent", "absent_over_time", "vector", "time", "pi"))
_SCALARS = frozenset(("time", "pi", "scalar"))
_OF_COUNTERS = frozenset(("rate", "irate", "increase", "resets"))
_OF_NATIVE = frozenset(("histogram_count", "histogram_sum", "histogram_avg", "histogram_fraction", "histogram_stddev", "histogram_stdvar"))
_KEEP_ALL = frozenset(("topk", "bottomk", "limitk", "limit_ratio"))
_RELABEL = frozenset(("label_replace", "label_join", "absent", "absent_over_time", "info", "count_values"))
_SEVERITIES: dict[str, FindingSeverity] = {"type": "warning", "unreadable": "error"}
"""What is told of an expression although it is not dead."""
_NEVER = {
    "panel": "never shows anything", "annotation": "never marks anything", "variable": "never has a choice", "alert": "can never fire",
    "rule": "never records anything",
}  # fmt: skip


class Judged(NamedTuple):
    """A question with its verdict. `notes` tell what is wrong without making the verdict."""

    question: Question
    answer: Answer
    notes: tuple[Problem, ...]

    def __str__(self) -> str:
        question, (verdict, reasons) = self.question, self.answer
        return f"{question.where}: {str(verdict).replace('-', ' ')}: {question.subject}: {'; '.join(reason.what for reason in reasons)}"

    def row(self) -> dict[str, Any]:
        """The verdict for programs."""
        question = self.question
        return {
            "kind": question.kind,
            "subject": question.subject,
            "where": question.where,
            "verdict": str(self.answer.verdict),
            "reasons": [{"kind": reason.check, "problem": reason.what, "cure": reason.cure} for reason in (*self.answer.reasons, *self.notes)],
        }

    def findings(self) -> list[Problem]:
        """What there is to mend: why it is dead, or what is odd in it although it lives."""
        question, (verdict, reasons) = self.question, self.answer
        if verdict == Verdict.DEAD:
            never = _NEVER[question.kind]
            told = [replace(reason, what=f"{never}: {reason.what}") for reason in reasons]
        else:
            told = [replace(reason, severity=_SEVERITIES[reason.check]) for reason in (*self.notes, *reasons) if reason.check in _SEVERITIES]
        return [replace(reason, where=question.where, subject=question.subject) for reason in dict.fromkeys(told)]


class Audit(NamedTuple):
    """All verdicts, the findings that follow from them, and the metrics that nothing asks for."""

    judged: list[Judged]
    findings: list[Problem]
    unused: list[str]

    def summary(self) -> dict[str, Any]:
        """How many of each kind have which verdict. A panel is as live as the best of its queries."""
        counts: dict[str, Any] = {}
        for kind, words in (("panel", "panels"), ("alert", "alerts"), ("rule", "rules"), ("variable", "variables"), ("annotation", "annotations")):
            best: dict[str, Verdict] = {}
            for number, item in enumerate(self.judged):
                if item.question.kind == kind:
                    identity = item.question.panel or str(number)
                    best[identity] = max(best.get(identity, Verdict.DEAD), item.answer.verdict)
            tally = Counter(best.values())
            counts[words] = {"all": len(best), **{str(verdict): tally[verdict] for verdict in reversed(Verdict)}}
        counts["queries"] = sum(item.question.kind == "panel" for item in self.judged)
        return {**counts, "unused": len(self.unused), "errors": len([f for f in self.findings if f.severity == "error"]),
                "warnings": len([f for f in self.findings if f.severity == "warning"])}  # fmt: skip


def names(questions: Iterable[Question]) -> set[str]:
    """The names of all series that the expressions ask for."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            found.update(filter(None, (node.name, *(matcher.value for matcher in node.matchers.matchers if matcher.name == "__name__"))))

    for question in questions:
        for candidate in {text for stand_in in _STAND_INS for text in question.candidates(stand_in=stand_in)}:
            tree = _parsed(candidate)
            if not isinstance(tree, str):
                promql.walk(tree, visit)
    return found


def audit(questions: Iterable[Question], world: World, problems: Iterable[Problem] = ()) -> Audit:
    """Judge all questions. `problems` are what could not be read of the files that they come from."""
    asked = list(questions)
    judge = _Judge(world, asked)
    judged = [judge.question(question) for question in asked]
    findings = [replace(problem, subject="input", check="unreadable") for problem in problems]
    findings += [finding for item in judged for finding in item.findings()]
    return Audit(judged, findings, world.unused)


def _parsed(text: str) -> Any:
    """The tree of an expression, or why it is none. The parser would end the process over brackets nested thousands deep, and every look at a
    part of its tree is a copy of that part: a chain of thousands of operations would cost gigabytes."""
    bare = _STRINGS.sub("", text)
    depth = deepest = 0
    for sign in _BRACKETS.findall(bare):
        depth += 1 if sign in "([{" else -1
        deepest = max(deepest, depth)
    operations = len(_OPERATIONS.findall(bare))
    if deepest > _DEEPEST or operations > _MOST_OPERATIONS:
        return f"it is nested {deepest} deep and has {operations} operations: too much to look at"
    try:
        return promql.parse(text)
    except ValueError as error:
        return str(error)


class _Judge:
    def __init__(self, world: World, asked: list[Question]) -> None:
        self.world = world
        self.rules: dict[str, list[Question]] = {}
        for question in asked:
            if question.kind == "rule":
                self.rules.setdefault(question.subject, []).append(question)
        world.recorded = self.rules.keys()
        self.alerts = {question.subject for question in asked if question.kind == "alert"}
        self.recorded: dict[str, Answer] = {}
        self.answers: dict[str, tuple[Answer, tuple[Problem, ...]]] = {}
        self.notes: list[Problem] = []

    def question(self, question: Question) -> Judged:
        best: Judged | None = None
        fault = ""
        for stand_in in _STAND_INS:
            for candidate in question.candidates(stand_in=stand_in):
                found = self.expression(candidate)
                if isinstance(found, str):
                    fault = fault or found
                elif best is None or found[0].verdict > best.answer.verdict:
                    best = Judged(question, *found)
            if best is not None or not question.guessed:
                break
        if best is None:
            reason = Problem("", f"cannot be read: {fault}", "mend the expression", check="unreadable")
            if question.guessed:
                reason = Problem("", "cannot be read without the values of its variables", check="variable")
            best = Judged(question, Answer(Verdict.CANNOT_TELL, (reason,)), ())
        return best

    def expression(self, text: str) -> tuple[Answer, tuple[Problem, ...]] | str:
        """The answer to an expression and what is odd in it, or why it cannot be read."""
        if text not in self.answers:
            tree = _parsed(text)
            if isinstance(tree, str):
                return tree
            outer, self.notes = self.notes, []
            try:
                answer = self.value(tree)
            except RecursionError:
                return "it is nested too deep to look at"
            self.answers[text] = answer, tuple(self.notes)
            self.notes = outer
        return self.answers[text]

    def value(self, node: Any) -> Answer:
        match node:
            case promql.NumberLiteral() | promql.StringLiteral():
                return LIVE
            case promql.VectorSelector():
                return self.selector(node)
            case promql.MatrixSelector():
                return self.selector(node.vector_selector)
            case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self.value(node.expr)
            case promql.Call():
                return self.call(node)
            case promql.BinaryExpr():
                return self.binary(node)
            case _:
                return Answer(Verdict.CANNOT_TELL, (Problem("", f"{type(node).__name__} is not known here", check="unreadable"),))

    def call(self, node: Any) -> Answer:
        name = node.func.name
        if name in _ALWAYS:
            for argument in node.args:
                self.value(argument)  # its metrics are in use
            return LIVE
        answer = min((self.value(argument) for argument in node.args), default=LIVE, key=lambda answer: answer.verdict)
        if answer.verdict == Verdict.DEAD:
            if name in _OF_NATIVE and all(reason.check == "type" for reason in answer.reasons):
                what = f"{name}() is for native histograms, which a text scrape does not show"
                return Answer(Verdict.CANNOT_TELL, (Problem("", what, check="type"),))
            return answer
        if name in _OF_COUNTERS:
            for series in _names(node.args[0]):
                if self.world.kind(series) == "gauge":
                    self.notes.append(
                        Problem("", f"takes the {name} of {series}, which is a gauge", "use delta() or deriv(), or its value", check="type")
                    )
        if name == "histogram_quantile":
            labels = self.labels(node.args[1])
            if labels is not None and "le" not in labels:
                kinds = {self.world.kind(series) for series in _names(node.args[1])} - {""}
                if kinds == {"histogram"}:
                    return _dead("label", "histogram_quantile() gets series without 'le'", "keep it: sum by (le) (...) over the _bucket series")
                if kinds and not self.world.complete:
                    series = ", ".join(sorted(_names(node.args[1])))
                    return _dead(
                        "type",
                        f"histogram_quantile() of {series}, which is a {'/'.join(sorted(kinds))}",
                        "it takes the _bucket series of a histogram",
                    )
        return answer

    def binary(self, node: Any) -> Answer:
        left, right, operator = self.value(node.lhs), self.value(node.rhs), str(node.op)
        if operator == "or":
            best = max(left, right, key=lambda answer: answer.verdict)
            if best.verdict == Verdict.LIVE:
                self.notes += [*left.reasons, *right.reasons]
                return LIVE
            return Answer(best.verdict, tuple(dict.fromkeys((*left.reasons, *right.reasons))))
        if operator == "unless":
            return left
        worst = min(left.verdict, right.verdict)
        if worst == Verdict.DEAD:
            return Answer(worst, tuple(dict.fromkeys(reason for side in (left, right) if side.verdict == worst for reason in side.reasons)))
        if not _scalar(node.lhs) and not _scalar(node.rhs) and (mismatch := self.mismatch(node)):
            return mismatch
        return Answer(worst, tuple(dict.fromkeys((*left.reasons, *right.reasons))))

    def mismatch(self, node: Any) -> Answer | None:
        """Both sides of an operation, if their labels can never match."""
        keys = []
        for side in (node.lhs, node.rhs):
            labels = self.labels(side)
            if labels is None:
                return None
            keys.append(_matched(labels, node.modifier))
        if keys[0] == keys[1]:
            return None
        fill = getattr(node.modifier, "fill_values", None)
        if fill is not None and (fill.lhs is not None or fill.rhs is not None):
            return None
        shown = " and ".join(f"({', '.join(sorted(key))})" for key in keys)
        return _dead(
            "matching", f"the sides of {str(node.op)!r} never match: they have the labels {shown}", "match on the labels that both have: on (...)"
        )

    def selector(self, node: Any) -> Answer:
        if node.matchers.or_matchers:
            return Answer(Verdict.CANNOT_TELL, (Problem("", "matchers joined by `or` are not understood here", check="unreadable"),))
        matchers = tuple(Match(matcher.name, _OPERATORS[str(matcher.op)], matcher.value) for matcher in node.matchers.matchers)
        name = node.name or next((matcher.value for matcher in matchers if matcher.label == "__name__" and matcher.operator == "="), "")
        matchers = tuple(matcher for matcher in matchers if not (matcher.label == "__name__" and matcher.value == name))
        if not name:
            return self.world.find_all(matchers)
        if name in ("ALERTS", "ALERTS_FOR_STATE"):
            known = [matcher.value for matcher in matchers if matcher.label == "alertname" and matcher.operator == "="]
            if known and self.alerts and known[0] not in self.alerts and not self.world.complete:
                return Answer(Verdict.CANNOT_TELL, (Problem("", f"no alert {known[0]} in the given rule files", check="label-value"),))
            return LIVE
        if name in self.rules and name not in self.world.owner:
            return self.record(name, matchers)
        return self.world.find(name, matchers)

    def record(self, name: str, matchers: tuple[Match, ...]) -> Answer:
        """What a recording rule makes is as live as the rule; that it has the labels asked for can be told of those that it keeps."""
        if name not in self.recorded:
            self.recorded[name] = LIVE  # a rule that asks for itself
            made = [self.expression(rule.expr) for rule in self.rules[name]]
            answers = [answer[0] for answer in made if not isinstance(answer, str)]
            best = max(
                answers,
                default=Answer(Verdict.CANNOT_TELL, (Problem("", f"the rule {name} cannot be read", check="unreadable"),)),
                key=lambda a: a.verdict,
            )
            if best.verdict == Verdict.DEAD:
                why = f"{name} is recorded from nothing"
                best = Answer(Verdict.DEAD, tuple(replace(reason, what=f"{why}: {reason.what}") for reason in best.reasons))
            self.recorded[name] = best
        answer = self.recorded[name]
        asked = [matcher for matcher in matchers if matcher.label not in TARGET and not matcher.operator.startswith("!")]
        given = dict(pair for rule in self.rules[name] for pair in rule.labels)
        asked = [matcher for matcher in asked if given.get(matcher.label) != matcher.value]
        if answer.verdict == Verdict.LIVE and asked:
            return Answer(
                Verdict.CANNOT_TELL, (Problem("", f"whether {name} is recorded with such {asked[0].label!r} cannot be told", check="label-value"),)
            )
        return answer

    def labels(self, node: Any) -> frozenset[str] | None:
        """The labels that every series of the result has; None if that cannot be told."""
        match node:
            case promql.VectorSelector():
                return self.world.labels(node.name) if node.name and node.name in self.world.owner else None
            case promql.MatrixSelector():
                return self.labels(node.vector_selector)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self.labels(node.expr)
            case promql.AggregateExpr():
                return self.aggregated(node)
            case promql.Call():
                vectors = [argument for argument in node.args if not _scalar(argument)]
                labels = self.labels(vectors[0]) if len(vectors) == 1 and node.func.name not in _RELABEL | _ALWAYS else None
                return labels - {"le"} if labels is not None and node.func.name == "histogram_quantile" else labels
            case promql.BinaryExpr():
                return self.joined(node)
            case _:
                return None

    def aggregated(self, node: Any) -> frozenset[str] | None:
        operator = str(node.op)
        labels = self.labels(node.expr)
        if labels is None or operator == "count_values":
            return None
        if operator in _KEEP_ALL:
            return labels
        named = set(node.modifier.labels) if node.modifier else set()
        if any(label.startswith(UNKNOWN_NAME) for label in named):
            return None
        if node.modifier and str(node.modifier.type).endswith("Without"):
            return labels - named
        if named - labels and not self.world.complete:
            return None  # Prometheus may add them
        return labels & named

    def joined(self, node: Any) -> frozenset[str] | None:
        if _scalar(node.lhs) or _scalar(node.rhs):
            return self.labels(node.rhs if _scalar(node.lhs) else node.lhs)
        left, operator = self.labels(node.lhs), str(node.op)
        if left is None or operator in ("and", "unless"):
            return left
        if operator == "or" or (node.modifier and not str(node.modifier.card).endswith("OneToOne")):
            return None
        return _matched(left, node.modifier)


def _matched(labels: frozenset[str], modifier: Any) -> frozenset[str]:
    """The labels by which a side is matched."""
    matching = modifier.matching if modifier else None
    if matching is None:
        return labels
    named = frozenset(matching.labels)
    return labels & named if str(matching.type).endswith("Include") else labels - named


def _scalar(node: Any) -> bool:
    match node:
        case promql.NumberLiteral() | promql.StringLiteral():
            return True
        case promql.ParenExpr() | promql.UnaryExpr():
            return _scalar(node.expr)
        case promql.BinaryExpr():
            return _scalar(node.lhs) and _scalar(node.rhs)
        case promql.Call():
            return node.func.name in _SCALARS
        case _:
            return False


def _names(node: Any) -> set[str]:
    """Names of the series within an expression."""
    found: set[str] = set()

    def visit(part: Any) -> None:
        if isinstance(part, promql.VectorSelector) and part.name:
            found.add(part.name)

    promql.walk(node, visit)
    return found


def _dead(kind: str, problem: str, cure: str) -> Answer:
    return Answer(Verdict.DEAD, (Problem("", problem, cure, check=kind),))
