"""Dashboards as HTML pages, from synthetic samples or from Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator

from balance.live.prometheus import Prometheus
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.preview import recorded, synthetic
from balance.preview.curves import asking
from balance.preview.page import Stage, page
from balance.render.artifact import Artifact


def synthetic_stage(bundle: Bundle, settings: Settings) -> Stage:
    """The dashboards with synthetic samples, which are the same on every machine."""
    database = synthetic.database(bundle, settings)
    return Stage(bundle.dashboards, asking(database, synthetic.SPAN), synthetic.SPAN, database.scope, settings.runbook_base, "made-up samples")


def recorded_stage(bundle: Bundle, settings: Settings, prometheus: str, seconds: int) -> Stage:
    """The dashboards with what the Prometheus at a URL recorded over the last `seconds`."""
    span = recorded.span(int(time.time()), seconds, settings)
    scope = recorded.scope(span, settings)
    ask = recorded.asking(Prometheus(prometheus, timeout=recorded.PATIENCE), bundle, span, scope)
    return Stage(bundle.dashboards, ask, span, scope, settings.runbook_base, f"from {prometheus}")


def pages(stage: Stage, refresh: int = 0) -> Iterator[Artifact]:
    """A page for each dashboard, and an index that redirects to the main one. Pages reload every `refresh` seconds; 0: never."""
    first = next((dashboard for dashboard in stage.dashboards if dashboard.main), stage.dashboards[0])
    yield Artifact("index.html", f'<!DOCTYPE html><title>{first.name}</title><meta http-equiv="refresh" content="0; url={first.name}.html">\n')
    for dashboard in stage.dashboards:
        yield Artifact(f"{dashboard.name}.html", page(dashboard, stage, refresh))
