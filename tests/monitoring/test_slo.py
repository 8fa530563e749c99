from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from balance.catalog.model import number
from balance.commands.cli import main
from balance.errors import BalanceError
from balance.lb.catalog import metrics as m
from balance.monitoring.settings import Settings
from balance.monitoring.slo import PACES, Slo
from balance.promql import series, text
from balance.promql.evaluate import Database, Series, evaluate
from balance.render import ruletests
from rules_src.objectives import slos

AVAILABILITY, LATENCY = slos(Settings())
WINDOWS = {"1h": 0, "6h": 0, "1d": 1, "3d": 1}


def slo(**changes: Any) -> Slo:
    return replace(AVAILABILITY, **changes)


@pytest.mark.parametrize(
    ("objective", "days", "thresholds"),
    [
        ("0.999", 30, ["0.0144", "0.006", "0.003", "0.001"]),
        ("0.99", 30, ["0.144", "0.06", "0.03", "0.01"]),
        ("0.9995", 30, ["0.0072", "0.003", "0.0015", "0.0005"]),
        ("0.99999", 30, ["0.000144", "6e-05", "3e-05", "1e-05"]),
        ("0.999", 28, ["0.01344", "0.0056", "0.0028", "0.0009333333333333333"]),
    ],
)
def test_thresholds_are_exact_decimals(objective: str, days: int, thresholds: list[str]) -> None:
    chosen = slo(objective=Decimal(objective), days=days)
    assert [number(chosen.threshold(pair).value) for pace in PACES for pair in pace.pairs] == thresholds


def test_factors_of_the_workbook() -> None:
    assert [AVAILABILITY.factor(pair) for pace in PACES for pair in pace.pairs] == [Decimal("14.4"), 6, Decimal("2.4") * Decimal("1.25"), 1]
    assert [(pace.severity, [(pair.long, pair.short) for pair in pace.pairs]) for pace in PACES] == [
        ("critical", [(3600, 300), (21600, 1800)]),
        ("warning", [(86400, 7200), (259200, 21600)]),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: slo(objective=Decimal("1")), "objective 'availability': invalid objective 1 (must be between 0 and 1"),
        (lambda: slo(objective=Decimal("0")), "objective 'availability': invalid objective 0"),
        (lambda: slo(objective=Decimal("0.93")), "0.93 is too low: not even 100% errors would reach the burn rates (choose a higher objective)"),
        (lambda: slo(bad=None), "needs exactly one of bad= and good="),
        (lambda: slo(good=AVAILABILITY.bad), "needs exactly one of bad= and good="),
        (lambda: slo(name="a-b"), "objective 'a-b': invalid name (use letters, digits and _)"),
        (lambda: series(m.HTTP_REQUEST_DURATION).within(1.2), "1.2 is not a bucket bound (bounds: 0.001"),
    ],
)
def test_invalid_objectives_are_rejected(make: Callable[[], object], message: str) -> None:
    with pytest.raises(BalanceError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("objectives.availabilty=0.99", "--set: objectives.availabilty: unknown objective (did you mean 'availability'?)"),
        ("objectives.latency=0.5", "objective 'latency': 0.5 is too low: not even 100% errors would reach the burn rates"),
        ("objectives.latency=high", "--set: objectives.latency: invalid number 'high' (must be a number)"),
    ],
)
def test_invalid_objective_settings_are_rejected(assignment: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--set", assignment]) == 2
    assert message in capsys.readouterr().err


def test_settings_choose_the_objective(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--set", "objectives.availability=0.9995"]) == 0
    printed = capsys.readouterr().out
    assert 'job:availability_errors:ratio_rate1h{job="balance"} > 0.0072 and job:availability_errors:ratio_rate5m{job="balance"} > 0.0072' in printed
    assert 'job:availability_errors:ratio_rate1h{job="balance"} * 2000\n' in printed
    assert "where 99.95% over 30 days are to be good" in printed


def test_latency_bound_as_prometheus_2_and_3_write_it() -> None:
    fast = series(m.HTTP_REQUEST_DURATION).within(1)
    assert text(fast) == 'balance_http_request_duration_seconds_bucket{le=~"1(\\\\.0)?"}'
    for written, found in (("1", 1), ("1.0", 1), ("1.5", 0), ("10", 0), ("100", 0)):
        bucket = Series("balance_http_request_duration_seconds_bucket", {"le": written}, [(0, 1)])
        assert len(Database([bucket]).select(fast)) == found
    assert text(series(m.HTTP_REQUEST_DURATION).within(0.25)).endswith('{le=~"0\\\\.25"}')


def test_no_page_before_the_window_is_recorded() -> None:
    """After one good hour, a fifth of the requests fails: the 6 h window has one hour of data and would page in the second minute."""
    alert = AVAILABILITY.alerts[0]
    onset, step = 60, 60
    good = [(minute * step, 80.0 * minute if minute > onset else 100.0 * minute) for minute in range(onset)]
    good += [(minute * step, 100.0 * onset + 80 * (minute - onset)) for minute in range(onset, 2 * onset)]
    bad = [(minute * step, 20.0 * max(0, minute - onset)) for minute in range(2 * onset)]
    labels = {"job": "balance", "instance": "a", "method": "GET"}
    made = Database([Series(m.HTTP_REQUESTS.name, {**labels, "status": status}, values) for status, values in (("200", good), ("502", bad))])
    six_hours = alert.condition.branches[1]

    def first(condition: Any) -> int | None:
        return next((minute - onset for minute in range(onset, 2 * onset) if evaluate(condition.whole, made, minute * step)), None)

    assert first(alert.condition) == 5, "60 minutes x 0.0144 / 0.2 = 4.32 minutes"
    assert first(replace(six_hours, also=six_hours.also[:2])) == 2, "what the guard is for"
    assert first(six_hours) is None


def test_every_pair_of_windows_has_its_own_tests() -> None:
    for objective in (AVAILABILITY, LATENCY):
        for alert in objective.alerts:
            settings = Settings(job="balance")
            from balance.generate import collect

            tested = next(one for one in ruletests.alerts(collect.collect(settings)[0], settings) if one.alert.name == alert.name)
            names = [case.name for case in ruletests.cases(tested)]
            for way in (1, 2):
                mine = [name for name in names if name.endswith(f"way {way} of 2")]
                assert {name.partition(",")[0] for name in mine} >= {
                    "fires", "silent: just not beyond the threshold", "silent: beyond it over the short window only",
                    "over when it is not beyond it over the short window",
                }  # fmt: skip
