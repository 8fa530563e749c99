"""What a target's scrapes leave in memory answers as all of its samples would."""

from __future__ import annotations

import random

from balance.catalog import standard
from balance.demo.history import KEPT, History
from balance.lb.catalog import metrics as m
from balance.promql import RATE_WINDOW, Window, increase, rate, series, sum_by
from balance.promql.evaluate import Database, Series, evaluate
from balance.promql.text import Scope

TARGET = {"job": "balance", "instance": "a:1"}
SCOPE = Scope('job="balance"', "8s")
REQUESTS = rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW))
GROWTH = increase(series(m.HTTP_REQUESTS).over(Window(300)))
BY_STATUS = sum_by(REQUESTS, "status")
HEALTHY = series(m.BACKEND_HEALTHY)


def line(name: str, value: float, **labels: str) -> str:
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}\n"


def history() -> History:
    return History(TARGET, SCOPE, (BY_STATUS, HEALTHY), 60, 2)


def test_rates_survive_restarts_and_dropped_samples() -> None:
    drawn, kept, count = random.Random(1), history(), 0.0
    samples = []
    for at in range(1, 3 * KEPT):
        count = 0.0 if drawn.random() < 0.01 else count + drawn.randrange(5)
        kept.scraped("# a comment\n" + line(m.HTTP_REQUESTS.name, count, method="GET", status="200"), at)
        samples.append((float(at), count))
    whole = Series(m.HTTP_REQUESTS.name, {"method": "GET", "status": "200", **TARGET}, samples)
    for expr in (REQUESTS, GROWTH, BY_STATUS):
        found = evaluate(expr, kept.database, 3 * KEPT - 1)
        assert found == evaluate(expr, Database([whole], SCOPE, (3, 0)), 3 * KEPT - 1)
        assert found
    assert len(kept.database.by_name[m.HTTP_REQUESTS.name][0].values) <= 2 * KEPT


def test_vanished_series_end() -> None:
    """A series that is missing from a scrape has ended; all have when the target does not answer."""
    kept = history()
    one, two = (line(m.BACKEND_HEALTHY.name, 1, backend=backend) for backend in ("one", "two"))
    kept.scraped(one + two, 1)
    assert len(evaluate(HEALTHY, kept.database, 1)) == 2
    kept.scraped(one, 2)
    assert len(evaluate(HEALTHY, kept.database, 2)) == 1
    kept.scraped(None, 3)
    assert evaluate(HEALTHY, kept.database, 3) == {}
    assert list(evaluate(series(standard.UP), kept.database, 3).values()) == [0.0]
    kept.scraped(one, 4)
    assert len(evaluate(HEALTHY, kept.database, 4)) == 1


def test_escaped_label_values() -> None:
    kept = history()
    kept.scraped(line(m.BACKEND_HEALTHY.name, 1, backend=r"a\"b\\c\nd, e=\"f\""), 1)
    (labels,) = evaluate(HEALTHY, kept.database, 1)
    assert dict(labels)["backend"] == 'a"b\\c\nd, e="f"'


def test_curves_over_a_growing_period() -> None:
    kept = history()
    for at in range(2, 100):
        kept.scraped(line(m.BACKEND_HEALTHY.name, at % 2, backend="one"), at)
        if not at % 2 and at != 50:
            kept.draw(at)
        if at == 10:
            assert (kept.period.start, kept.period.end) == (-50, 10)
    (curve,) = kept.ask(HEALTHY)
    assert (kept.period.start, kept.period.end, kept.period.step) == (38, 98, 2)
    assert curve.labels == {"backend": "one", **TARGET}
    assert curve.values == tuple(None if at == 50 else 0.0 for at in kept.period.times)


def test_firing_alerts_are_series() -> None:
    kept = history()
    firing = series(standard.ALERTS, alertstate="firing")
    kept.fired([("BalanceDown", {"job": "balance"})], 1)
    assert len(evaluate(firing, kept.database, 1)) == 1
    kept.fired([], 2)
    assert evaluate(firing, kept.database, 2) == {}
