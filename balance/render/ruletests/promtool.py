"""Cases in promtool's format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

from balance.errors import RenderError
from balance.promql.text import duration
from balance.render.ruletests.cases import Case
from balance.render.ruletests.timeline import AlertUnderTest, Timeline


def written(tested: AlertUnderTest, case: Case) -> Iterator[str]:
    """The lines of a case in a test file. Raises `RenderError` if the alert fires where it should not, or does not where it should."""
    timeline = Timeline(tested, case.segments, case.step)
    expected = timeline.expected()
    _check_outcome(tested, case, raised=timeline.raised, fired=any(any(one.firing.values()) for one in expected.values()))
    alert = tested.alert
    yield f"- name: {json.dumps(case.name)}"
    yield f"  interval: {duration(case.step)}"
    yield "  input_series:" if timeline.samples else "  input_series: []"
    for (series, fixed), values in timeline.samples.items():
        yield f"  - series: {_quoted(_series_name(series, fixed))}"
        yield f"    values: {_quoted(notation(values))}"
    yield "  alert_rule_test:"
    for number, one in expected.items():
        if one.annotations is None:
            continue
        firing = [labels for labels, fires in one.firing.items() if fires]
        yield f"  - eval_time: {duration(number * case.step)}"
        yield f"    alertname: {alert.name}"
        yield "    exp_alerts:" if firing else "    exp_alerts: []"
        for labels in firing:
            yield f"    - exp_labels: {_mapping({**dict(sorted(labels)), 'severity': alert.severity})}"
            yield "      exp_annotations:"
            for key, text in one.annotations[labels]:
                yield f"        {key}: {_quoted(text)}"
    yield "  promql_expr_test:"
    for number, one in expected.items():
        yield f"  - expr: {_quoted(_series_name('ALERTS', (('alertname', alert.name),)))}"
        yield f"    eval_time: {duration(number * case.step)}"
        yield "    exp_samples:" if one.firing else "    exp_samples: []"
        for labels, fires in one.firing.items():
            shown = {**dict(labels), "alertname": alert.name, "alertstate": "firing" if fires else "pending", "severity": alert.severity}
            yield f"    - labels: {_quoted(_series_name('ALERTS', tuple(sorted(shown.items()))))}"
            yield "      value: 1"


def _check_outcome(tested: AlertUnderTest, case: Case, *, raised: bool, fired: bool) -> None:
    """Raise `RenderError` unless the alert fires, or stays inactive, as the case says."""
    if case.fires == fired == raised:
        return
    what = "fires" if fired else "becomes pending" if raised else "does not fire"
    raise RenderError(
        f"the alert {what} in test case {case.name!r}", where=f"alert {tested.alert.name}", cure="correct the condition or its threshold"
    )


def _quoted(text: str) -> str:
    """A YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'" if "\n" not in text else json.dumps(text)


def _mapping(pairs: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items()) + "}"


def _series_name(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    return name + "{" + ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels) + "}"


def notation(values: list[float | None]) -> str:
    """Values in promtool's notation: ``0+5x3`` is 0 5 10 15, ``_x2`` is two missing samples."""
    pieces, at = [], 0
    while at < len(values):
        first = values[at]
        if first is None:
            end = next((number for number in range(at, len(values)) if values[number] is not None), len(values))
            pieces.append(f"_x{end - at}")
            at = end
            continue
        rise = _rise(values, at)
        end = at + 1
        while end < len(values) and (later := values[end]) is not None and later == first + rise * (end - at):
            end += 1
        if end - at < 3:
            pieces.append(_number(first))
            at += 1
            continue
        step = "" if not rise else f"{'+' if rise > 0 else '-'}{_number(abs(rise))}"
        pieces.append(f"{_number(first)}{step}x{end - at - 1}")
        at = end
    return " ".join(pieces)


def _rise(values: list[float | None], at: int) -> float:
    """The difference to the next value if both are whole numbers, else 0: other sums are not exact."""
    first, second = values[at], values[at + 1] if at + 1 < len(values) else None
    return second - first if first is not None and second is not None and first.is_integer() and second.is_integer() else 0.0


def _number(value: float) -> str:
    return format(Decimal(repr(value)).normalize(), "f")
