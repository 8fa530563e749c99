"""Dashboard data from a Prometheus, with limits on points, time and concurrent queries. What the server lacks stays empty."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from balance.errors import LiveError
from balance.live.prometheus import Prometheus
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.preview.curves import Ask, Curve, Span, in_order
from balance.promql.selectors import Expr
from balance.promql.text import Scope, duration, text

MAX_POINTS = 240
"""Maximum number of points: more than one for every three pixels would not be visible."""
CONCURRENT_QUERIES = 4
"""Queries that run at a time."""
QUERY_TIMEOUT, TOTAL_TIMEOUT = 10.0, 60.0
"""Seconds for one query, and for all of them."""


def span(now: int, length: int, settings: Settings) -> Span:
    """The last `length` seconds before `now` (seconds since 1970), in steps of the scrape interval or a multiple of it."""
    scrape = settings.prometheus.scrape_interval
    step = max(1, -(-length // (MAX_POINTS * scrape))) * scrape
    end = now // step * step
    return Span(end - length // step * step, end, step)


def scope(span: Span, settings: Settings) -> Scope:
    """A scope whose rate window follows the step of the span, as Grafana's `$__rate_interval` does."""
    scrape = settings.prometheus.scrape_interval
    return replace(settings.scope, rate_window=duration(max(span.step + scrape, 4 * scrape)))


def asking(server: Prometheus, bundle: Bundle, span: Span, scope: Scope) -> Ask:
    """Run all queries of the dashboards; the function returned has their results. Raises `LiveError` if the server cannot be reached."""
    list(server.range("vector(1)", span.end, span.end, span.step))
    until = time.monotonic() + TOTAL_TIMEOUT

    def answer(query: str) -> tuple[Curve, ...]:
        if time.monotonic() > until:
            raise LiveError(f"query skipped: the earlier ones took {TOTAL_TIMEOUT:g} s", cure="choose a shorter time span: --since")
        return curves(server, query, span)

    def written(expr: Expr, *, job: bool = False) -> str:
        return text(expr, replace(scope, selector=scope.recorded) if job else scope)

    queries = {written(query.expr) for board in bundle.dashboards for panel in board.panels for query in panel.queries}
    queries |= {written(annotation.expr, job=annotation.job) for board in bundle.dashboards for annotation in board.annotations}
    answers: dict[str, Future[tuple[Curve, ...]]] = {}
    with ThreadPoolExecutor(CONCURRENT_QUERIES) as pool:
        answers.update({query: pool.submit(answer, query) for query in sorted(queries)})
    return lambda expr, *, job=False: answers[written(expr, job=job)].result()


def curves(server: Prometheus, query: str, span: Span) -> tuple[Curve, ...]:
    """The result of a query over the span. Raises `LiveError`."""
    found: dict[tuple[tuple[str, str], ...], list[float | None]] = {}
    for piece in server.range(query, span.start, span.end, span.step):
        for labels, samples in piece.items():
            values = found.setdefault(labels, [None] * len(span.times))
            for at, value in samples:
                values[(at - span.start) // span.step] = value
    return in_order(found)
