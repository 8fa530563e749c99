"""`balance-gen preview`: dashboards as HTML pages, from samples made up or from a Prometheus, in a directory or served."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator

from balance.commandline import FINE
from balance.config.units import length
from balance.errors import BalanceError
from balance.gen import store
from balance.live.prometheus import Prometheus
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.preview import recorded, synthetic
from balance.preview.curves import asking
from balance.preview.page import Stage, page
from balance.render.artifact import Artifact

SINCE = "6h"


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Write a page for each dashboard, or serve them."""
    if (options.out is None) == (options.serve is None):
        raise BalanceError("needs a directory for its pages, or an address to serve them", where="preview", cure="give --out DIR or --serve")
    if options.since and not options.prometheus:
        raise BalanceError("looks back in a Prometheus", where="--since", cure="give --prometheus URL as well")
    if options.serve is not None:
        from balance.gen.serving import serve

        return serve(options)
    stage = _measured(options, bundle, settings) if options.prometheus else made_up(bundle, settings)
    store.apply(options.out, (store.Change(artifact.path, None, artifact.text) for artifact in pages(stage, options.refresh)))
    return FINE


def made_up(bundle: Bundle, settings: Settings) -> Stage:
    """Samples that are made up, the same on every machine."""
    database = synthetic.database(bundle, settings)
    return Stage(bundle.dashboards, asking(database, synthetic.SPAN), synthetic.SPAN, database.scope, settings.runbook_base, "made-up samples")


def _measured(options: Namespace, bundle: Bundle, settings: Settings) -> Stage:
    seconds = int(length(options.since or SINCE) or 0)
    if not seconds:
        raise BalanceError(f"invalid duration {options.since!r}", where="--since", cure="write a number with its unit: 30m, 6h, 7d")
    span = recorded.span(int(time.time()), seconds, settings)
    scope = recorded.scope(span, settings)
    ask = recorded.asking(Prometheus(options.prometheus, timeout=recorded.PATIENCE), bundle, span, scope)
    return Stage(bundle.dashboards, ask, span, scope, settings.runbook_base, f"from {options.prometheus}")


def pages(stage: Stage, refresh: int = 0) -> Iterator[Artifact]:
    """Every dashboard, and an index that leads to the main one."""
    first = next((dashboard for dashboard in stage.dashboards if dashboard.main), stage.dashboards[0])
    yield Artifact("index.html", f'<!DOCTYPE html><title>{first.name}</title><meta http-equiv="refresh" content="0; url={first.name}.html">\n')
    for dashboard in stage.dashboards:
        yield Artifact(f"{dashboard.name}.html", page(dashboard, stage, refresh))
