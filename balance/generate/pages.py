"""Dashboards as HTML pages, from synthetic samples or from Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator

from balance.live.prometheus import Prometheus
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.preview import recorded, synthetic
from balance.preview.curves import asking
from balance.preview.page import PageContext, page
from balance.render.artifact import Artifact


def synthetic_pages(bundle: Bundle, settings: Settings) -> PageContext:
    """The dashboards with synthetic samples, which are the same on every machine."""
    database = synthetic.database(bundle, settings)
    ask = asking(database, synthetic.SPAN)
    return PageContext(bundle.dashboards, ask, synthetic.SPAN, database.scope, settings.runbook_base, "synthetic samples")


def recorded_pages(bundle: Bundle, settings: Settings, prometheus: str, seconds: int) -> PageContext:
    """The dashboards with what the Prometheus at a URL recorded over the last `seconds`."""
    span = recorded.span(int(time.time()), seconds, settings)
    scope = recorded.scope(span, settings)
    ask = recorded.asking(Prometheus(prometheus, timeout=recorded.QUERY_TIMEOUT), bundle, span, scope)
    return PageContext(bundle.dashboards, ask, span, scope, settings.runbook_base, f"from {prometheus}")


def pages(context: PageContext, refresh: int = 0) -> Iterator[Artifact]:
    """A page for each dashboard, and an index that redirects to the main one. Pages reload every `refresh` seconds; 0: never."""
    first = next((dashboard for dashboard in context.dashboards if dashboard.main), context.dashboards[0])
    yield Artifact("index.html", f'<!DOCTYPE html><title>{first.name}</title><meta http-equiv="refresh" content="0; url={first.name}.html">\n')
    for dashboard in context.dashboards:
        yield Artifact(f"{dashboard.name}.html", page(dashboard, context, refresh))
